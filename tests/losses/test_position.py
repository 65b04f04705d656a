"""The loss of VoCo against its formula, written out."""

import math

import pytest
import torch
from torch import Tensor

from medssl.losses import voco


def draw(images: int = 2, crops: int = 3, bases: int = 4, width: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    overlaps = torch.rand(images, crops, bases, dtype=torch.float64)
    overlaps[:, :, 0] = 0
    embedded = torch.randn(images, crops + bases, width, dtype=torch.float64)
    return embedded[:, :crops], embedded[:, crops:], overlaps / overlaps.sum(dim=2, keepdim=True)


def cosine(one: Tensor, other: Tensor) -> float:
    return (one @ other / (one.norm() * other.norm())).item()


def test_crops_are_to_be_as_alike_to_bases_as_they_overlap_and_bases_unlike_one_another() -> None:
    crops, bases, overlaps = draw()
    wrong, alike, similar = [], [], []
    for image in range(2):
        for k in range(3):
            for n in range(4):
                similar.append(max(0.0, cosine(crops[image, k], bases[image, n])))
                wrong.append(-math.log(1 - abs(overlaps[image, k, n].item() - similar[-1])))
        alike += [abs(cosine(bases[image, n], bases[image, m])) for n in range(4) for m in range(n)]
    loss, similarities = voco(crops, bases, overlaps, weight=0.3)
    assert loss.item() == pytest.approx(sum(wrong) / len(wrong) + 0.3 * sum(alike) / len(alike))
    assert similarities.flatten().tolist() == pytest.approx(similar)


def test_bases_learn_from_one_another_alone() -> None:
    crops, bases, overlaps = (part.requires_grad_() for part in draw())
    voco(crops, bases, overlaps.detach(), weight=0)[0].backward()
    assert crops.grad.abs().sum() > 0
    assert bases.grad.abs().sum() == 0
    voco(crops, bases, overlaps.detach())[0].backward()
    assert bases.grad.abs().sum() > 0


def test_what_is_infinitely_wrong_has_a_finite_loss_and_half_precision_is_not_used() -> None:
    crops, bases, overlaps = (part.float() for part in draw())
    crops[0, 0] = bases[0, 0]  # with which it has no overlap
    with torch.autocast("cpu", torch.bfloat16):
        loss = voco(crops, bases, overlaps)[0]
    assert loss.isfinite()
    assert torch.equal(loss, voco(crops, bases, overlaps)[0])
