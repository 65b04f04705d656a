"""Masked patches, holes and distortions against loops over single images, and how the answers are measured."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl.networks import Backbone, build_backbone
from medssl.networks.decoder import LinearDecoder
from medssl.pretext import MIM, Inpainting, ModelsGenesis, PretextOutput, PretextTask, build_task
from medssl.pretext.reconstruction import reconstruction_metrics
from medssl.training import read_recipe
from medssl.transforms import BezierIntensity, LocalShuffle, Painting, RandomFlips

SIZES = [(16, 24), (18, 13), (12, 9, 8)]
every_size = pytest.mark.parametrize("image_size", SIZES)


@lru_cache
def shared_backbone(spatial_dims: int, channels: int) -> Backbone:
    """One for all tests, drawn alike whichever comes first; none of them reads what it has learned."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_backbone("resnet10_quarter", spatial_dims, channels)


def set_up(name: str, image_size: Sequence[int], channels: int = 1, **values: Any) -> tuple[PretextTask, Backbone]:
    backbone = shared_backbone(len(image_size), channels)
    decoder = {} if name == "mim" and len(image_size) == 3 else {"decoder": "light"}
    return build_task(name, backbone, image_size, image_channels=channels, **decoder, **values), backbone


def give(task: PretextTask, backbone: Backbone, images: Tensor, answer: Tensor, seed: int = 3) -> PretextOutput:
    """What the task makes of an answer that is given to it, on the same puzzle for the same seed."""
    handle = task.head.register_forward_hook(lambda module, inputs, output: answer)
    torch.manual_seed(seed)
    output = task(backbone, images)
    handle.remove()
    return output


def patches(image_size: Sequence[int], grid: int) -> list[tuple[slice, ...]]:
    """The windows of a grid; of a side that does not divide, voxel v lies in patch floor(v · grid / side)."""
    along = [
        [
            slice(min(of), max(of) + 1)
            for cell in range(grid)
            if (of := [v for v in range(side) if v * grid // side == cell])
        ]
        for side in image_size
    ]
    return list(product(*along))


@every_size
@pytest.mark.parametrize(
    ("grid", "mask_ratio", "masked"),
    [
        (4, 1 / 16, {2: 1, 3: 4}),
        (4, 0.5, {2: 8, 3: 32}),
        (3, 0.01, {2: 1, 3: 1}),  # at least one
        (2, 0.99, {2: 3, 3: 7}),  # never all
    ],
)
def test_mim_sets_so_many_patches_to_zero_and_leaves_the_rest(
    image_size: tuple[int, ...], grid: int, mask_ratio: float, masked: dict[int, int]
) -> None:
    task, _ = set_up("mim", image_size, channels=2, grid=grid, mask_ratio=mask_ratio)
    windows = patches(image_size, grid)
    assert len(windows) == grid ** len(image_size)
    images = 1 + torch.rand(300, 2, *image_size)
    inputs, hidden = task.puzzle(images)
    assert hidden.shape == (300, 1, *image_size)
    drawn = []
    for b in range(300):
        zeros = [place for place, window in enumerate(windows) if (inputs[b][:, *window] == 0).all()]
        assert len(zeros) == masked[len(image_size)]
        expected, mask = images[b].clone(), torch.zeros(image_size, dtype=torch.bool)
        for place in zeros:
            expected[:, *windows[place]] = 0
            mask[windows[place]] = True
        assert torch.equal(inputs[b], expected)
        assert torch.equal(hidden[b, 0], mask)
        drawn += zeros
    # Every patch is drawn, none much more often than another.
    counts = np.bincount(drawn, minlength=len(windows))
    share = masked[len(image_size)] / len(windows)
    assert np.abs(counts - 300 * share).max() < 5 * (300 * share * (1 - share)) ** 0.5


def test_mim_takes_the_heads_of_the_paper() -> None:
    layer = MIM(shared_backbone(2, 1), (64, 96)).head.layer
    assert (layer.kernel_size, layer.stride, layer.padding) == ((64, 64), (32, 32), (16, 16))
    assert MIM(shared_backbone(2, 1), (224, 224)).masked == 1  # one of sixteen
    in_3d = MIM(shared_backbone(3, 1), (32, 32, 32))
    assert in_3d.masked == 4
    assert sum(weight.numel() for weight in in_3d.head.parameters()) < 1e6


@pytest.mark.parametrize("image_size", [(8, 11), (5, 7, 6)])
@pytest.mark.parametrize("hole", [0.5, 0.3])
def test_inpainting_cuts_one_box_anywhere_and_fills_it_with_the_mean(image_size: tuple[int, ...], hole: float) -> None:
    task, _ = set_up("inpainting", image_size, channels=2, hole=hole)
    sides = [max(1, round(hole * side)) for side in image_size]
    images = torch.randn(1500, 2, *image_size)
    inputs, hidden = task.puzzle(images)
    assert hidden.shape == (1500, 1, *image_size)
    corners = set()
    for b in range(1500):
        marked = hidden[b, 0].nonzero()
        corner = marked.amin(dim=0).tolist()
        corners.add(tuple(corner))
        box = tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))
        expected, mask = images[b].clone(), torch.zeros(image_size, dtype=torch.bool)
        mask[box] = True
        for c in range(2):
            expected[c][box] = float(images[b, c].double().mean())
        assert torch.equal(hidden[b, 0], mask)
        torch.testing.assert_close(inputs[b], expected, rtol=0, atol=1e-6)
        assert torch.equal(inputs[b][:, ~mask], images[b][:, ~mask])
    assert corners == set(product(*(range(full - side + 1) for full, side in zip(image_size, sides, strict=True))))


@every_size
@pytest.mark.parametrize(
    "probabilities", [{}, {"shuffle": 1, "intensity": 0.3, "paint": 0.6, "inner": 0.1, "flip": 0.7}]
)
def test_models_genesis_is_its_flips_and_distortions_one_after_the_other(
    image_size: tuple[int, ...], probabilities: dict[str, float]
) -> None:
    task, _ = set_up("models_genesis", image_size, channels=2, **probabilities)
    chances = {
        "shuffle": 0.5,
        "intensity": 0.9,
        "paint": 0.9,
        "inner": 0.2,
        "flip": 0.4,
    } | probabilities  # the original's
    images = torch.randn(40, 2, *image_size)
    torch.manual_seed(11)
    inputs, target = task.puzzle(images)
    torch.manual_seed(11)
    mirrored = RandomFlips(chances["flip"])(images)
    assert torch.equal(target, mirrored)
    assert not torch.equal(target, images)
    expected = LocalShuffle(chances["shuffle"])(mirrored)
    expected = BezierIntensity(chances["intensity"])(expected)
    expected = Painting(chances["paint"], chances["inner"])(expected)
    assert torch.equal(inputs, expected)
    assert not torch.equal(inputs, images)


@every_size
def test_each_distortion_of_models_genesis_can_be_left_out(image_size: tuple[int, ...]) -> None:
    images = torch.randn(30, 1, *image_size)
    none = {"shuffle": 0, "intensity": 0, "paint": 0, "flip": 0}

    def distorted(**values: float) -> Tensor:
        return set_up("models_genesis", image_size, **{**none, **values})[0].puzzle(images)[0]

    assert torch.equal(distorted(), images)
    shuffled = distorted(shuffle=1)
    assert not torch.equal(shuffled, images)
    # Windows overlap, so that some voxels are seen twice and others not at all, but none comes from elsewhere.
    assert all(torch.isin(one, image).all() for one, image in zip(shuffled, images, strict=True))
    # A curve keeps the order of the grey values or turns it round; each image keeps its range.
    for bent, image in zip(distorted(intensity=1).flatten(1), images.flatten(1), strict=True):
        steps = bent[image.argsort()].diff()
        assert (steps >= -1e-5).all() or (steps <= 1e-5).all()
        torch.testing.assert_close(bent.aminmax(), image.aminmax(), rtol=0, atol=1e-5)
    # Five boxes of noise, a third of each side at most, leave more than five boxes of about half of each side.
    dims = len(image_size)
    # (One in twenty has no box of noise.)
    inside, outside = ((distorted(paint=1, inner=inner) == images).flatten(1).float().mean(dim=1) for inner in (1, 0))
    assert 1 - 5 / 3**dims < inside.min() <= inside.median() < 1
    assert 1 / 3**dims < outside.min()
    assert outside.mean() < inside.mean() - 0.05


def numpy_metrics(images: np.ndarray, answer: np.ndarray, hidden: np.ndarray) -> dict[str, float]:
    """Written out: the mean over all voxels, and over the hidden ones of all channels."""
    errors, baselines, hidden_errors, hidden_baselines = [], [], [], []
    for image, guess, mask in zip(images, answer, hidden, strict=True):
        for channel, guessed in zip(image, guess, strict=True):
            mean = channel.mean()
            for place in np.ndindex(channel.shape):
                errors.append((guessed[place] - channel[place]) ** 2)
                baselines.append((mean - channel[place]) ** 2)
                if mask[0][place]:
                    hidden_errors.append(errors[-1])
                    hidden_baselines.append(baselines[-1])
    named = {
        "error": errors,
        "baseline": baselines,
        "hidden_error": hidden_errors,
        "hidden_baseline": hidden_baselines,
    }
    return {name: float(np.mean(values)) for name, values in named.items()}


@every_size
def test_metrics_are_mean_squares_over_the_image_and_over_what_is_hidden(image_size: tuple[int, ...]) -> None:
    images = 5 + 2 * torch.randn(3, 2, *image_size)
    answer = torch.randn(3, 2, *image_size, requires_grad=True)
    hidden = torch.rand(3, 1, *image_size) < 0.2
    metrics = reconstruction_metrics(images, answer, hidden)
    expected = numpy_metrics(images.double().numpy(), answer.detach().double().numpy(), hidden.numpy())
    assert {name: value.item() for name, value in metrics.items()} == pytest.approx(expected, rel=1e-5)
    assert not any(value.requires_grad for value in metrics.values())
    assert set(reconstruction_metrics(images, answer)) == {"error", "baseline"}


@pytest.mark.parametrize("name", ["mim", "inpainting", "models_genesis"])
@every_size
def test_a_task_reports_the_loss_and_the_metrics_of_the_answer(name: str, image_size: tuple[int, ...]) -> None:
    task, backbone = set_up(name, image_size, channels=2)
    images, answer = 1 + torch.randn(2, 3, 2, *image_size)
    torch.manual_seed(3)
    inputs, hidden = task.puzzle(images)
    answer.requires_grad_()
    output = give(task, backbone, images, answer)
    if name == "models_genesis":
        images = hidden  # what is to be given back was mirrored
    mask = hidden if name != "models_genesis" else torch.ones_like(images[:, :1], dtype=torch.bool)
    expected = numpy_metrics(images.double().numpy(), answer.detach().double().numpy(), mask.numpy())
    if name == "inpainting":  # outside the hole nothing is asked
        expected = {"error": expected["hidden_error"], "baseline": expected["hidden_baseline"]}
    if name == "models_genesis":
        expected = {"error": expected["error"], "baseline": expected["baseline"]}
        expected["unchanged"] = float(np.mean((inputs.double().numpy() - images.double().numpy()) ** 2))
    assert {key: value.item() for key, value in output.metrics.items()} == pytest.approx(expected, rel=1e-5)
    assert output.loss.item() == pytest.approx(expected["error"], rel=1e-5)

    # The derivative of a mean of squares, over the whole image or over the hole alone.
    (gradient,) = torch.autograd.grad(output.loss, answer)
    counted = hidden.expand_as(images) if name == "inpainting" else torch.ones_like(images, dtype=torch.bool)
    slow = torch.where(counted, 2 * (answer.detach() - images), 0) / counted.sum()
    torch.testing.assert_close(gradient, slow, rtol=1e-4, atol=1e-9)

    pictures = output.pictures
    assert pictures.answered_by_images
    assert torch.equal(pictures.panels, inputs[:, :1])
    assert torch.equal(pictures.target, images[:, 0])
    shown = torch.where(hidden, answer, images) if name == "inpainting" else answer
    assert torch.equal(pictures.answer, shown[:, 0])


@every_size
def test_what_is_answered_outside_the_hole_changes_nothing_and_for_mim_it_does(image_size: tuple[int, ...]) -> None:
    images, answer = torch.randn(2, 3, 1, *image_size)
    for name in ("inpainting", "mim"):
        task, backbone = set_up(name, image_size)
        torch.manual_seed(3)
        _, hidden = task.puzzle(images)
        changed = torch.where(hidden, answer, answer + 100 * torch.randn_like(answer))
        plain, other = give(task, backbone, images, answer), give(task, backbone, images, changed)
        assert isinstance(task, (Inpainting, MIM))
        if name == "inpainting":
            assert torch.equal(plain.loss, other.loss)
            assert plain.metrics == other.metrics
        else:
            assert other.loss > 100 * plain.loss
            assert torch.equal(plain.metrics["hidden_error"], other.metrics["hidden_error"])


def test_the_backbone_sees_the_puzzle_and_not_the_image() -> None:
    for name, kind in (("mim", MIM), ("inpainting", Inpainting), ("models_genesis", ModelsGenesis)):
        task, backbone = set_up(name, (24, 24))
        assert type(task) is kind
        images, seen = torch.randn(2, 1, 24, 24), []
        handle = backbone.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(inputs[0]))
        output = task(backbone, images)
        handle.remove()
        assert len(seen) == 1
        assert torch.equal(seen[0], output.pictures.panels)
        assert not torch.equal(seen[0], images)


@every_size
def test_simmim_is_mim_with_the_absolute_error_of_what_is_hidden(image_size: tuple[int, ...]) -> None:
    recipe = read_recipe("simmim", "pretrain", len(image_size))["tasks"]
    assert list(recipe) == ["mim"]
    backbone = shared_backbone(len(image_size), 2)
    task = build_task("mim", backbone, image_size, image_channels=2, **recipe["mim"])
    images, answer = torch.randn(2, 3, 2, *image_size)
    torch.manual_seed(3)
    _, hidden = task.puzzle(images)
    patches_of_one = recipe["mim"]["grid"] ** len(image_size)
    assert task.masked == round(0.6 * patches_of_one)
    errors = [
        abs(answer[b, c][at] - images[b, c][at]).item()
        for b, c, at in product(range(3), range(2), np.ndindex(image_size))
        if hidden[b, 0][at]
    ]
    assert give(task, backbone, images, answer).loss.item() == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("image_size", [(64, 45), (32, 40, 33)])
def test_the_linear_decoder_gives_each_place_the_voxels_it_stands_for(image_size: tuple[int, ...]) -> None:
    backbone = shared_backbone(len(image_size), 1)
    decoder = LinearDecoder(backbone, image_size, 1)
    places = [ceil(side / 32) for side in image_size]
    features = torch.randn(1, backbone.out_channels, *places)
    images = decoder(features)[0, 0]
    assert images.shape == image_size
    weight, bias = decoder.layer.weight.flatten(1), decoder.layer.bias
    for at in ((0,) * len(image_size), (31, 32, 20)[: len(image_size)], tuple(side - 1 for side in image_size)):
        place = features[(0, slice(None), *(voxel // 32 for voxel in at))]
        layer = np.ravel_multi_index([voxel % 32 for voxel in at], [32] * len(at))
        assert images[at].item() == pytest.approx((weight[layer] @ place + bias[layer]).item(), rel=1e-4, abs=1e-5)
    decoder(features[..., :1])  # of a network that leaves out what is no whole stride
