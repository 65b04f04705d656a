"""Nothing leaks: on images without content no puzzle can be solved, unless its own rules show the answer.

Each task is trained on fresh noise, or on constant images, and must stay at chance; then on the same noise with a ramp
of brightness across it, which gives the places away, to see that so short a training would have found a leak.

Where chance is not to be expected, by design:

- ``src``, ``mcpc``, ``sc_assl`` on noise: neighbouring tiles overlap by half and are matched by what they share;
- ``rvrm``: the mixture's grey values are made of λ (``disguise`` hides it from single pixels, not from the whole);
- ``simsiam``, ``simclr`` on noise: two views of one image share its noise. So their images are all the same here.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from medssl.pretext import build_task

BATCH = 24
SIZES = {2: (32, 32), 3: (16, 16, 16)}
STEPS = 100
TRAINED_IN = [2, pytest.param(3, marks=pytest.mark.slow)]
"""One class is for both: trainings on boxes are left to ``make test-all``."""
VALUES: dict[str, dict[str, Any]] = {
    "mim": {"decoder": "light"},
    "cpc": {"grid": 3},
    "simsiam": {"hidden_channels": 64, "out_channels": 128},
}
"""Smaller heads and grids than the defaults, for speed."""


class SmallBackbone(nn.Module):
    """Three strided convolutions: enough to find a leak, and many times as fast as the real backbones."""

    name = "small"
    in_channels, out_channels, stride, smallest_side = 1, 64, 8, 1
    channels, strides = (16, 32, 64), (2, 4, 8)

    def __init__(self, spatial_dims: int, in_channels: int) -> None:
        super().__init__()
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        widths = [in_channels, 16, 32, 64]
        self.layers = nn.Sequential(
            *(
                Convolution(spatial_dims, a, b, strides=2, adn_ordering="NA", act="RELU", norm="BATCH")
                for a, b in pairwise(widths)
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        maps = [images]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[1:]

    def pool(self, feature_map: Tensor) -> Tensor:
        return feature_map.flatten(2).mean(dim=2)


def noise(size: tuple[int, ...]) -> Tensor:
    return torch.randn(BATCH, 1, *size)


def constant(size: tuple[int, ...]) -> Tensor:
    """Every image and every voxel the same; from step to step another value."""
    return torch.randn(1).expand(BATCH, 1, *size).clone()


def alike(size: tuple[int, ...]) -> Tensor:
    """One noise image, as often as the mini-batch is long."""
    return torch.randn(1, 1, *size).repeat(BATCH, *[1] * (len(size) + 1))


def ramp(size: tuple[int, ...]) -> Tensor:
    """Noise that is curved and grows brighter along every axis, at different paces."""
    images = noise(size)
    for axis, side in enumerate(size):
        along = torch.linspace(0, 2 + axis, side) ** 2
        images += along.view(-1, *[1] * (len(size) - 1 - axis))
    return images


def measure(name: str, dims: int, draw: Callable[[tuple[int, ...]], Tensor], steps: int = STEPS) -> dict[str, float]:
    """Metrics on fresh images after a short training; batch statistics are on, so that they may leak as well."""
    size = SIZES[dims]
    backbone = SmallBackbone(dims, in_channels=3 if name == "rvrm" else 1)
    task = build_task(name, backbone, size, **VALUES.get(name, {}))
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=3e-3, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        task(backbone, draw(size)).loss.backward()
        optimizer.step()
    with torch.no_grad():
        outputs = [task(backbone, draw(size)).metrics for _ in range(10)]
    return {key: torch.stack([metrics[key] for metrics in outputs]).mean().item() for key in outputs[0]}


def highest_by_chance(chance: float, answers: int) -> float:
    """Four standard deviations above a guess."""
    return chance + 4 * (chance * (1 - chance) / answers) ** 0.5


@pytest.mark.parametrize("dims", TRAINED_IN)
@pytest.mark.parametrize(
    ("name", "draw"),
    [
        *((name, noise) for name in ("rotation", "jigsaw", "rubiks_cube", "cpc")),
        *((name, constant) for name in ("rotation", "jigsaw", "rubiks_cube", "cpc", "src", "sc_assl")),
        *((name, alike) for name in ("simsiam", "simclr")),
    ],
)
def test_images_without_content_leave_a_guess(name: str, draw: Callable[[tuple[int, ...]], Tensor], dims: int) -> None:
    metrics = measure(name, dims, draw)
    answers = 10 * BATCH
    for key in [key for key in metrics if key.endswith("accuracy")]:
        assert metrics[key] <= highest_by_chance(metrics[key.replace("accuracy", "chance")], answers), metrics


@pytest.mark.parametrize("dims", TRAINED_IN)
@pytest.mark.parametrize(
    ("name", "error"), [("mim", "hidden_error"), ("inpainting", "error"), ("models_genesis", "error")]
)
def test_noise_cannot_be_foretold(name: str, error: str, dims: int) -> None:
    metrics = measure(name, dims, noise, STEPS // 2)
    assert metrics[error] > 0.98 * metrics[error.replace("error", "baseline")], metrics


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["mim", "inpainting"])
@pytest.mark.parametrize("decoder", ["light", "pyramid"])
def test_the_answer_does_not_depend_on_what_is_hidden(decoder: str, name: str, dims: int) -> None:
    backbone = SmallBackbone(dims, in_channels=1)
    task = build_task(name, backbone, SIZES[dims], decoder=decoder)
    images = torch.randint(-4, 5, (BATCH, 1, *SIZES[dims])).float()  # their mean is exact in any order
    torch.manual_seed(1)
    _, hidden = task.puzzle(images)
    others = images.clone()
    for other, mask in zip(others, hidden, strict=True):
        other[mask] = other[mask].flip(0)  # of the same mean, which fills the hole
    assert not torch.equal(others, images)
    answers: list[Tensor] = []
    task.head.register_forward_hook(lambda module, inputs, output: answers.append(output))
    for each in (images, others):
        torch.manual_seed(1)
        task(backbone, each)
    assert torch.equal(*answers)


@pytest.mark.parametrize("dims", TRAINED_IN)
@pytest.mark.parametrize("name", ["rotation", "jigsaw", "rubiks_cube"])
def test_a_leak_would_be_found(name: str, dims: int) -> None:
    metrics = measure(name, dims, ramp)
    keys = [key for key in metrics if key.endswith("accuracy")]
    assert any(
        metrics[key] > 2 * highest_by_chance(metrics[key.replace("accuracy", "chance")], 10 * BATCH)
        or metrics[key] > 0.9
        for key in keys
    ), metrics
