"""The loss of LeJEPA against its formula, written out, and its statistic against the closed form of the integral."""

import cmath
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.losses import lejepa, sigreg


def draw(views: int = 2, images: int = 5, width: int = 3, directions: int = 4) -> tuple[Tensor, Tensor]:
    along = F.normalize(torch.randn(width, directions, dtype=torch.float64), dim=0)
    return 1.5 * torch.randn(views, images, width, dtype=torch.float64) + 0.3, along


def closed_form(numbers: list[float]) -> float:
    """B ∫ |φ − exp(−t²/2)|² exp(−t²/2) dt over all t, by ∫ exp(itx − at²/2) dt = √(2π / a) exp(−x² / 2a)."""
    among = sum(math.exp(-((one - other) ** 2) / 2) for one in numbers for other in numbers) / len(numbers) ** 2
    between = sum(math.exp(-(one**2) / 4) for one in numbers) / len(numbers) / math.sqrt(2)
    return len(numbers) * math.sqrt(2 * math.pi) * (among - 2 * between + 1 / math.sqrt(3))


def test_the_statistic_is_that_of_epps_and_pulley() -> None:
    embeddings, directions = draw()
    projected = np.einsum("vbd,ds->vsb", embeddings.numpy(), directions.numpy()).reshape(-1, 5)
    slow = np.mean([closed_form(row.tolist()) for row in projected])
    assert sigreg(embeddings, directions, reach=9, knots=400).item() == pytest.approx(slow, rel=1e-6)


def test_lejepa_is_agreement_and_the_statistic_on_the_authors_knots() -> None:
    embeddings, directions = draw()
    apart = [
        (embeddings[view, image, d] - embeddings[:, image, d].mean()).item() ** 2
        for view in range(2)
        for image in range(5)
        for d in range(3)
    ]
    statistics = []
    for view in embeddings:
        for direction in directions.T:
            numbers, total = [(row @ direction).item() for row in view], 0.0
            for knot in range(-16, 17):  # both halves
                t = 3 * knot / 16
                empirical = sum(cmath.exp(1j * t * number) for number in numbers) / 5
                part = abs(empirical - math.exp(-(t**2) / 2)) ** 2 * math.exp(-(t**2) / 2)
                total += part * 3 / 16 / (2 if abs(knot) == 16 else 1)
            statistics.append(5 * total)
    assert sigreg(embeddings, directions).item() == pytest.approx(np.mean(statistics), rel=1e-9)
    slow = 0.7 * np.mean(apart) + 0.3 * np.mean(statistics)
    assert lejepa(embeddings, directions, 0.3).item() == pytest.approx(slow, rel=1e-9)


def test_a_gaussian_scores_lower_than_what_is_collapsed_flat_or_shifted() -> None:
    gaussian = torch.randn(1, 500, 8)
    directions = F.normalize(torch.randn(8, 64), dim=0)
    low = sigreg(gaussian, directions)
    flat = gaussian * torch.tensor([1.0] * 4 + [0.0] * 4)
    for other in (torch.zeros_like(gaussian), flat, gaussian + 0.5, 2 * gaussian):
        assert sigreg(other, directions) > 5 * low


def test_every_view_has_a_gradient() -> None:
    embeddings, directions = draw()
    embeddings.requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: lejepa(rows, directions, 0.3), embeddings)
    lejepa(embeddings, directions).backward()
    assert (embeddings.grad.abs().sum(dim=(1, 2)) > 0).all()


def test_under_autocast_it_is_computed_in_full_precision() -> None:
    embeddings, directions = (part.float() for part in draw())
    with torch.autocast("cpu", torch.bfloat16):
        half = lejepa(embeddings, directions)
    assert half.dtype == torch.float32
    assert torch.equal(half, lejepa(embeddings, directions))
