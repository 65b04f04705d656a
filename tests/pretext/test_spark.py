"""SparK: a masked pass against loops over the visible voxels, its target against loops over patches, nothing hidden."""

import copy
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.networks.layers import Conv, Norm, Pool
from torch import Tensor, nn

from medssl.networks import build_backbone, checkpoint_activations
from medssl.networks.pyramids import resnet_pyramid
from medssl.phantoms.batch import draw_batch
from medssl.pretext import build_task
from medssl.pretext.masked_pass import Masked
from medssl.pretext.reconstruction import normalise_patches

SIZES = [(8, 12), (8, 4, 6)]
CHANNELS, IMAGES = 4, torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
every_size = pytest.mark.parametrize("image_size", SIZES)


def draw(image_size: Sequence[int], images: int = 3) -> tuple[Tensor, Tensor]:
    """Images in double precision that are zero where they are hidden, and which cells of 2 voxels are visible."""
    cells = torch.rand(images, 1, *[side // 2 for side in image_size]) < 0.5
    cells[:, :, *[0] * len(image_size)] = True  # something of each
    visible = cells
    for axis in range(len(image_size)):
        visible = visible.repeat_interleave(2, dim=2 + axis)
    return torch.randn(images, CHANNELS, *image_size, dtype=torch.float64) * visible, visible


def statistics(layer: nn.Module, images: Tensor, visible: Tensor) -> list[tuple[list[tuple[int, int]], np.ndarray]]:
    """For each set of (image, channel) that a layer normalises together, its visible numbers."""
    count = len(images)
    if isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d)):
        sets = [[(image, channel) for image in range(count)] for channel in range(CHANNELS)]
    else:
        wide = CHANNELS // layer.num_groups if isinstance(layer, nn.GroupNorm) else 1
        starts = range(0, CHANNELS, wide)
        sets = [[(image, start + k) for k in range(wide)] for image in range(count) for start in starts]
    return [
        (members, np.concatenate([images[image, channel][visible[image, 0]].numpy() for image, channel in members]))
        for members in sets
    ]


@every_size
@pytest.mark.parametrize("norm", ["batch", ("group", {"num_groups": 2}), ("instance", {"affine": True})])
def test_statistics_are_those_of_the_visible_voxels(image_size: tuple[int, ...], norm: Any) -> None:
    name, values = (norm, {}) if isinstance(norm, str) else norm
    shape = (values["num_groups"], CHANNELS) if name == "group" else (CHANNELS,)
    affine = {"affine": True} if name == "instance" else {}
    layer = Norm[name, len(image_size)](*shape, **affine).double()
    nn.init.normal_(layer.weight), nn.init.normal_(layer.bias)
    images, visible = draw(image_size)
    with Masked(layer, visible):
        found = layer(images)
    for members, numbers in statistics(layer, images, visible):
        for image, channel in members:
            seen = images[image, channel].numpy()
            slow = (seen - numbers.mean()) / np.sqrt(numbers.var() + layer.eps)
            slow = slow * layer.weight[channel].item() + layer.bias[channel].item()
            slow = np.where(visible[image, 0].numpy(), slow, 0)
            np.testing.assert_allclose(found[image, channel].detach().numpy(), slow, atol=1e-9)
        if name == "batch":  # torch's rule: a tenth of the newest, of the variance the unbiased one
            channel = members[0][1]
            assert layer.running_mean[channel].item() == pytest.approx(0.1 * numbers.mean())
            assert layer.running_var[channel].item() == pytest.approx(0.9 + 0.1 * numbers.var(ddof=1))
    # Without a mask it is torch's layer again, and so it is with nothing hidden; in evaluation, too.
    for _ in range(2):
        with Masked(layer, torch.ones_like(visible)):
            everything = layer(images)
        torch.testing.assert_close(everything, layer(images))
        layer.eval()


@every_size
def test_a_mask_is_applied_after_every_convolution_and_pooling(image_size: tuple[int, ...]) -> None:
    dims = len(image_size)
    convolution = Conv[Conv.CONV, dims](CHANNELS, 2, kernel_size=3, padding=1).double()
    network = nn.Sequential(convolution, nn.ReLU(), Pool[Pool.MAX, dims](2))
    images, visible = draw(image_size)
    with Masked(network, visible):
        found = network(images)
    once = F.relu(convolution(images)) * visible
    for image, at in product(range(len(images)), np.ndindex(*found.shape[2:])):
        window = tuple(slice(2 * place, 2 * place + 2) for place in at)
        slow = once[image][(slice(None), *window)].flatten(1).amax(dim=1) * visible[image, 0][window].any()
        torch.testing.assert_close(found[image][(slice(None), *at)], slow)
    assert not torch.equal(network(images), found)


@pytest.mark.parametrize("architecture", ["resnet10_quarter", "densenet121", "vgg11"])
def test_what_is_hidden_reaches_no_map_of_a_backbone_nor_its_statistics(architecture: str) -> None:
    backbone = build_backbone(architecture, 2).double()
    images, visible = torch.randn(4, 1, 64, 96).double(), torch.zeros(4, 1, 2, 3)
    visible[0, 0, 0, 1] = visible[1, 0, 1, 2] = visible[2, 0, 0] = visible[3, 0, 1] = 1
    full = F.interpolate(visible, (64, 96)) > 0
    with Masked(backbone, full):
        maps = backbone.pyramid(images * full)
    for features in maps:
        hidden = F.interpolate(visible, features.shape[2:]) == 0
        assert (features.masked_select(hidden) == 0).all()
        assert features.abs().sum() > 0
    # In a wider image of which the rest is hidden it is the same: nothing came from outside.
    wide = F.pad(images * full, (32, 32, 32, 32))
    again = build_backbone(architecture, 2).double()
    again.load_state_dict(backbone.state_dict())
    with Masked(again, F.pad(full, (32, 32, 32, 32))):
        outer = again.pyramid(wide)[-1]
    torch.testing.assert_close(outer[:, :, 1:-1, 1:-1], maps[-1])
    # Afterwards it is as it was.
    assert not any("forward" in vars(module) or module._forward_hooks for module in backbone.modules())


def test_blocks_that_are_computed_again_are_masked_again() -> None:
    backbone = build_backbone("resnet10_quarter", 2)
    task = build_task("spark", backbone, (64, 64))
    found = []
    for again in (False, True):
        both = nn.ModuleList([copy.deepcopy(task), copy.deepcopy(backbone)])
        checkpoint_activations(both[1].network, "resnet10_quarter", again)
        torch.manual_seed(2)
        both[0](both[1], IMAGES).loss.backward()
        found.append(([weight.grad for weight in both.parameters()], dict(both.named_buffers())))
    torch.testing.assert_close(*found)


def test_the_stem_is_masked_where_it_is_padded_by_hand() -> None:
    backbone = build_backbone("resnet10_quarter", 3)
    images, visible = torch.randn(1, 1, 6, 32, 32), torch.zeros(1, 1, 6, 32, 32, dtype=torch.bool)
    visible[..., :16] = True
    with Masked(backbone, visible):
        stem = resnet_pyramid(backbone.network, images * visible)[0]
    assert stem[..., 8:].abs().sum() == 0 < stem[..., :8].abs().sum()


@pytest.mark.parametrize(("image_size", "grid"), [((8, 9), (2, 2)), ((6, 5, 7), (3, 2, 2))])
def test_patches_are_normalised_each_by_itself(image_size: tuple[int, ...], grid: tuple[int, ...]) -> None:
    images = 3 + 2 * torch.randn(2, 2, *image_size)
    normalised, means, deviations = normalise_patches(images, grid)
    slow = torch.full_like(images, torch.nan)
    for image, cell in product(range(2), np.ndindex(*grid)):
        own = [
            [v for v in range(side) if v * n // side == place]
            for side, n, place in zip(image_size, grid, cell, strict=True)
        ]
        window = np.ix_([image], [0, 1], *own)
        patch = images.numpy()[window].astype(np.float64)
        deviation = np.sqrt(patch.var(ddof=1) + 1e-6)
        slow.numpy()[window] = (patch - patch.mean()) / deviation
        np.testing.assert_allclose(means.numpy()[np.ix_([image], [0], *own)], patch.mean(), rtol=1e-5)
        np.testing.assert_allclose(deviations.numpy()[np.ix_([image], [0], *own)], deviation, rtol=1e-5)
    torch.testing.assert_close(normalised, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("image_size", [(64, 96), (32, 64, 32)])
def test_the_loss_is_the_squared_error_of_the_hidden_patches_and_the_answer_knows_nothing_of_them(
    image_size: tuple[int, ...],
) -> None:
    backbone = build_backbone("resnet10_quarter", len(image_size))
    task = build_task("spark", backbone, image_size)
    answers: list[Tensor] = []
    task.head.register_forward_hook(lambda module, inputs, output: answers.append(output.detach()))
    images = torch.randn(2, 1, *image_size)
    torch.manual_seed(1)
    inputs, hidden = task.puzzle(images)
    share = task.masked / np.prod([side / 32 for side in image_size])
    assert hidden.float().mean().item() == pytest.approx(share)
    torch.manual_seed(1)
    output = task(backbone, images)
    slow = []
    for image, cell in product(range(2), np.ndindex(*[side // 32 for side in image_size])):
        window = (image, 0, *(slice(32 * place, 32 * place + 32) for place in cell))
        if hidden[window].all():
            patch = images[window].double()
            slow.append(((patch - patch.mean()) / patch.std() - answers[0][window]).square().mean().item())
        else:
            assert torch.equal(inputs[window], images[window])
    assert len(slow) == 2 * task.masked
    assert output.loss.item() == pytest.approx(np.mean(slow), rel=1e-4)
    others = torch.where(hidden, torch.randn_like(images), images)
    torch.manual_seed(1)
    shown = task(backbone, others).pictures
    assert torch.equal(*answers)
    assert torch.equal(shown.answer[~hidden[:, 0]], images[:, 0][~hidden[:, 0]])


def test_it_learns_what_is_hidden() -> None:
    train, unseen = draw_batch((32, 32), 96, 0), draw_batch((32, 32), 32, 1)
    backbone = build_backbone("resnet10_quarter", 2)
    task = build_task("spark", backbone, (32, 32), patch=8)
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=2e-3, fused=True)
    for _ in range(30):
        optimizer.zero_grad()
        task(backbone, train[torch.randperm(len(train))[:16]]).loss.backward()
        optimizer.step()
    backbone.eval(), task.eval()
    with torch.no_grad():
        metrics = task(backbone, unseen).metrics
    assert metrics["error"] < 0.8 * metrics["baseline"], metrics
