"""Each loss of views that agree against its formula, written out as loops over numbers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from monai.losses import BarlowTwinsLoss

from medssl.losses import barlow_twins, negative_cosine, variance_floor, vicreg


@pytest.mark.parametrize(("batch", "width"), [(1, 2), (5, 3), (8, 16)])
def test_negative_cosine_is_the_mean_and_pulls_at_the_prediction_alone(batch: int, width: int) -> None:
    prediction, target = 3 * torch.randn(2, batch, width, dtype=torch.float64)
    prediction.requires_grad_(), target.requires_grad_()
    loss = negative_cosine(prediction, target)
    slow = [(-p @ z / (p.norm() * z.norm())).item() for p, z in zip(prediction, target, strict=True)]
    assert loss.item() == pytest.approx(sum(slow) / batch, rel=1e-9)
    loss.backward()
    assert target.grad is None
    for p, z, gradient in zip(prediction.detach(), target.detach(), prediction.grad, strict=True):
        # d/dp of −p·z / |p||z|, over the batch.
        unit = p / p.norm()
        expected = -(z / z.norm() - unit * (unit @ z) / z.norm()) / p.norm() / batch
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-9)
    assert negative_cosine(target, 5 * target).item() == pytest.approx(-1)
    assert negative_cosine(target, -target).item() == pytest.approx(1)


def test_barlow_twins_is_the_correlation_matrix_written_out() -> None:
    first, second = torch.randn(6, 4).double(), torch.randn(6, 4).double()
    slow = 0.0
    for i in range(4):
        for j in range(4):
            correlation = np.corrcoef(first[:, i].numpy(), second[:, j].numpy())[0, 1]
            slow += (1 - correlation) ** 2 if i == j else 0.1 * correlation**2
    assert barlow_twins(first, second, 0.1).item() == pytest.approx(slow, rel=1e-3)
    # MONAI's differs by the factor (B - 1) / B of its correlations alone.
    many, others = torch.randn(500, 4), torch.randn(500, 4)
    assert barlow_twins(many, others, 0.1).item() == pytest.approx(BarlowTwinsLoss(0.1)(many, others).item(), rel=0.01)
    assert barlow_twins(many, many, 1e-9).item() == pytest.approx(0, abs=1e-6)


def test_vicreg_is_its_three_terms_written_out() -> None:
    views = [torch.randn(6, 4).double(), 0.1 * torch.randn(6, 4).double()]
    apart = np.mean([(a - b) ** 2 for a, b in zip(*(view.flatten().tolist() for view in views), strict=True)])
    flat, redundant = [], []
    for view in views:
        numbers = view.numpy()
        flat += [max(0, 1 - math.sqrt(numbers[:, d].var(ddof=1) + 1e-4)) for d in range(4)]
        covariance = np.cov(numbers.T)
        redundant.append(sum(covariance[i, j] ** 2 for i in range(4) for j in range(4) if i != j) / 4)
    slow = 3 * apart + 5 * np.mean(flat) + 7 * sum(redundant)
    assert vicreg(*views, 3.0, 5.0, 7.0).item() == pytest.approx(slow, rel=1e-9)
    assert variance_floor(torch.randn(5000, 8) * 2).item() == 0


@pytest.mark.parametrize("loss", [barlow_twins, vicreg])
def test_a_loss_of_views_under_autocast_is_computed_in_full_precision(loss: Any) -> None:
    first, second = torch.randn(32, 16), torch.randn(32, 16)
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(first, second)
    assert half.dtype == torch.float32
    assert torch.equal(half, loss(first, second))
