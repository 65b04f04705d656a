"""Losses beside lightly's own, on the same embeddings, where lightly is installed (it brings torchvision along)."""

from importlib.util import find_spec

import pytest
import torch

from medssl.losses import barlow_twins, dino, nt_xent, vicreg

if find_spec("torchvision") and not torch.version.cuda:
    # PyPI's torchvision is compiled for CUDA. Beside a torch without it, it imports only when these are declared.
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for _operator in ("nms", "qnms"):
        _library.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
lightly = pytest.importorskip("lightly.loss", reason="lightly is not installed")


def views(count: int = 24, channels: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(count, channels, generator=generator)
    return first, first + 0.3 * torch.randn(count, channels, generator=generator)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (barlow_twins, lightly.BarlowTwinsLoss(lambda_param=5e-3)),
        (vicreg, lightly.VICRegLoss()),
        (nt_xent, lightly.NTXentLoss(temperature=0.5)),
    ],
    ids=["barlow_twins", "vicreg", "nt_xent"],
)
def test_two_views_have_the_value_and_the_gradient_of_lightly(ours, theirs) -> None:
    found = []
    for loss in (ours, theirs):
        first, second = (view.requires_grad_() for view in views())
        value = loss(first, second)
        value.backward()
        found.append((value.detach(), first.grad, second.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_dino_has_the_value_of_lightly() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(count, 6, 20, generator=generator) for count in (4, 2))
    theirs, centre = lightly.DINOLoss(output_dim=20), torch.randn(20, generator=generator)
    theirs.center.copy_(centre.view_as(theirs.center))  # which it moves after it was asked
    expected = theirs(list(teacher), list(student), teacher_temp=0.04)
    torch.testing.assert_close(dino(student, teacher, centre), expected)
