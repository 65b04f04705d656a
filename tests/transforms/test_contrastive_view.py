"""Contrastive views against scipy, and against the recipe for photographs with all its steps in colour."""

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from medssl.transforms import ContrastiveView
from medssl.transforms.contrastive_view import REFERENCE_SIDE, draw_resized_crops
from medssl.transforms.intensity import jitter_intensity

SHAPES = [(1, 24, 24), (1, 16, 30), (3, 20, 14), (1, 12, 12, 12), (2, 16, 12, 7)]  # channels, then the image
WHOLE: dict[str, Any] = {"scale": (1, 1), "ratio": (1, 1)}
NOTHING: dict[str, Any] = {**WHOLE, "mirror_axes": (), "jitter": 0, "blur": 0}


def hounsfield(count: int, shape: tuple[int, ...]) -> Tensor:
    return 400 * torch.randn(count, *shape) - 300 * torch.rand(count, *[1] * len(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_views_keep_shape_type_and_range(shape: tuple[int, ...]) -> None:
    images = hounsfield(32, shape)
    images[5] = -1000.0  # nothing but air
    before = images.clone()
    views = ContrastiveView(jitter=1, strength=1, blur=1, sigma=(0, 20))(images)
    assert views.shape == images.shape
    assert views.dtype == images.dtype
    assert views.isfinite().all()
    for view, image in zip(views, images, strict=True):
        tolerance = 1e-5 * (image.max() - image.min()) + 1e-3  # of values up to some thousands
        assert view.min() >= image.min() - tolerance
        assert view.max() <= image.max() + tolerance
    torch.testing.assert_close(views[5], images[5])
    assert torch.equal(images, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_views_keep_the_number_type(dtype: torch.dtype) -> None:
    assert ContrastiveView()(torch.rand(2, 1, 16, 16, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("shape", SHAPES)
def test_views_follow_the_global_generator(shape: tuple[int, ...]) -> None:
    images, view = hounsfield(8, shape), ContrastiveView()
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(view(images))
    assert torch.equal(drawn[0], drawn[1])
    assert not (drawn[0] == drawn[2]).flatten(1).all(dim=1).any()
    assert not (drawn[2] == view(images)).flatten(1).all(dim=1).any()
    same = view(images[:1].expand(8, *shape))  # each image of a batch gets its own numbers
    assert len({tuple(one.flatten().tolist()) for one in same}) == 8


@pytest.mark.parametrize("shape", SHAPES)
def test_a_view_with_nothing_to_change_is_the_image(shape: tuple[int, ...]) -> None:
    images = torch.randn(5, *shape)
    torch.testing.assert_close(ContrastiveView(**NOTHING)(images), images, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("image_size", "mirror_axes", "expected"),
    [
        ((6, 8), None, (1,)),  # left-right in a radiograph
        ((6, 8), (0,), (0,)),
        ((6, 8), (0, 1), (0, 1)),
        ((6, 8), (), ()),
        ((4, 5, 3), None, (0,)),  # left-right in a volume
        ((4, 5, 3), (2,), (2,)),
        ((4, 5, 3), (0, 1, 2), (0, 1, 2)),
    ],
)
def test_half_of_the_views_are_mirrored_along_each_of_the_named_axes_alone(
    image_size: tuple[int, ...], mirror_axes: Sequence[int] | None, expected: tuple[int, ...]
) -> None:
    draws = 1000
    # A ramp along each axis tells whether that axis was mirrored.
    ramps = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, side) for side in image_size], indexing="ij"))
    views = ContrastiveView(**{**NOTHING, "mirror_axes": mirror_axes})(ramps.expand(draws, *ramps.shape))
    flips = (views.flatten(2)[..., 0] > 0.5).long()  # where the ramps are 0
    for view, flip in zip(views, flips, strict=True):
        torch.testing.assert_close(view, ramps.flip([1 + int(axis) for axis in flip.nonzero()]), atol=1e-5, rtol=0)
    kinds = torch.unique(flips, dim=0, return_counts=True)
    assert len(kinds[0]) == 2 ** len(expected)
    assert {axis for axis in range(len(image_size)) if flips[:, axis].any()} == set(expected)
    share = 1 / len(kinds[0])
    assert ((kinds[1] / draws - share).abs() <= 6 * (share * (1 - share) / draws) ** 0.5).all()


@pytest.mark.parametrize("change", ["jitter", "blur"])
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_the_share_of_changed_views_is_the_probability(change: str, probability: float) -> None:
    images = torch.rand(600, 1, 12, 12)
    views = ContrastiveView(**{**NOTHING, change: probability, "strength": 0.9, "sigma": (10, 30)})(images)
    changed = ((views - images).abs().amax(dim=(1, 2, 3)) > 1e-4).float().mean().item()
    assert changed == pytest.approx(probability, abs=6 * (probability * (1 - probability) / 600) ** 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": (0, 1)},
        {"scale": (0.5, 0.2)},
        {"scale": (0.5, 1.1)},
        {"ratio": (0, 1)},
        {"ratio": (2, 1)},
        {"ratio": (0.5, 1.5)},
        {"sigma": (-1, 2)},
        {"sigma": (2, 1)},
        {"jitter": 1.2},
        {"jitter": -0.1},
        {"strength": 1.5},
        {"blur": 2},
        {"degrees": -1},
        {"degrees": 181},
    ],
)
def test_impossible_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))}.*must (rise|lie|be 1 / r)"):
        ContrastiveView(**wrong)


class Draws:
    """The random numbers of a view, drawn as ``ContrastiveView`` draws them."""

    def __init__(self, seed: int, images: Tensor, scale: Sequence[float], ratio: Sequence[float]) -> None:
        torch.manual_seed(seed)
        dims = images.ndim - 2
        crops = draw_resized_crops(len(images), dims, scale, ratio, images.device)
        self.centres, self.sides = (numbers.double().numpy() for numbers in crops)
        self.random = torch.rand(6, len(images)).double().numpy()
        self.coins = (torch.rand(len(images), dims) < 0.5).numpy()

    def crop(self, number: int, image: np.ndarray, mirror_axes: Sequence[int]) -> np.ndarray:
        coordinates = []
        for axis, voxels in enumerate(image.shape[1:]):
            along = (np.arange(voxels) + 0.5) / voxels
            if axis in mirror_axes and self.coins[number, axis]:
                along = along[::-1]
            place = self.centres[number, axis] + (along - 0.5) * self.sides[number, axis]
            coordinates.append(place * voxels - 0.5)
        grid = np.meshgrid(*coordinates, indexing="ij")
        return np.stack([ndimage.map_coordinates(channel, grid, order=1, mode="nearest") for channel in image])


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_mirroring_and_blur_are_those_of_scipy(shape: tuple[int, ...]) -> None:
    images, axes, sigma = torch.randn(24, *shape), (0, len(shape) - 2), (5.0, 25.0)
    view = ContrastiveView(mirror_axes=axes, jitter=0, blur=0.6, sigma=sigma)
    torch.manual_seed(4)
    views = view(images).numpy()
    draws = Draws(4, images, view.scale, view.ratio)
    narrow, wide = (width * max(shape[1:]) / REFERENCE_SIDE for width in sigma)
    for number, image in enumerate(images.double().numpy()):
        expected = draws.crop(number, image, axes)
        if draws.random[4, number] < 0.6:
            width = narrow + draws.random[5, number] * (wide - narrow)
            for axis in range(1, len(shape)):
                radius = max(1, round(3 * wide))
                expected = ndimage.gaussian_filter1d(expected, width, axis=axis, mode="nearest", radius=radius)
        np.testing.assert_allclose(views[number], expected, atol=5e-5)


# The weights of red, green and blue in a grey value: as in Pillow, and as torchvision rounds them for tensors.
PILLOW, TORCHVISION = (0.299, 0.587, 0.114), (0.2989, 0.587, 0.114)


def turn_hue(image: np.ndarray, turn: float) -> np.ndarray:
    turned = np.empty_like(image)
    for pixel in np.ndindex(*image.shape[1:]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[(slice(None), *pixel)])
        turned[(slice(None), *pixel)] = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
    return turned


def jitter_in_colour(
    image: np.ndarray, factors: dict[str, float], order: Sequence[str], greyscale: bool, weights: Sequence[float]
) -> np.ndarray:
    """torchvision's ``ColorJitter`` and ``RandomGrayscale`` for RGB ``[3, *spatial]``, with fixed numbers."""

    def grey(rgb: np.ndarray) -> np.ndarray:
        return np.tensordot(weights, rgb, axes=1)[None]

    def blend(one: np.ndarray, other: np.ndarray | float, factor: float) -> np.ndarray:
        return np.clip(factor * one + (1 - factor) * other, 0, 1)

    for name in order:
        factor = factors[name]
        if name == "brightness":
            image = blend(image, 0.0, factor)
        elif name == "contrast":
            image = blend(image, grey(image).mean(), factor)
        elif name == "saturation":
            image = blend(image, grey(image), factor)
        else:
            image = turn_hue(image, factor)
    return np.repeat(grey(image), 3, axis=0) if greyscale else image


def draw_colour_steps(contrast_first: bool, generator: np.random.Generator) -> tuple[dict[str, float], list[str], bool]:
    """What the recipe draws beside brightness and contrast, whose order is given."""
    order = list(generator.permutation(["brightness", "contrast", "saturation", "hue"]))
    if (order.index("contrast") < order.index("brightness")) != contrast_first:
        first, second = order.index("contrast"), order.index("brightness")
        order[first], order[second] = order[second], order[first]
    steps = {"saturation": generator.uniform(0.6, 1.4), "hue": generator.uniform(-0.1, 0.1)}
    return steps, order, bool(generator.uniform() < 0.2)


@pytest.mark.parametrize(("weights", "tolerance"), [(PILLOW, 1e-5), (TORCHVISION, 5e-4)])
@pytest.mark.parametrize("image_size", [(9, 13), (4, 6, 5)])
def test_brightness_and_contrast_in_grey_equal_the_whole_recipe_in_colour(
    image_size: tuple[int, ...], weights: Sequence[float], tolerance: float
) -> None:
    generator = np.random.default_rng(0)
    images = torch.rand(40, 1, *image_size)
    brightness, contrast = 0.6 + 0.8 * torch.rand(2, 40)
    contrast_first = torch.rand(40) < 0.5
    in_grey = jitter_intensity(images, brightness, contrast, contrast_first).numpy()
    greyscales = 0
    for number, image in enumerate(images.double().numpy()):
        steps, order, greyscale = draw_colour_steps(bool(contrast_first[number]), generator)
        factors = {"brightness": brightness[number].item(), "contrast": contrast[number].item(), **steps}
        coloured = jitter_in_colour(np.repeat(image, 3, axis=0), factors, order, greyscale, weights)
        in_colour = np.tensordot(weights, coloured, axes=1)
        np.testing.assert_allclose(in_grey[number, 0], in_colour, atol=tolerance)
        greyscales += greyscale
    assert 0 < greyscales < 40


def test_the_recipe_in_colour_does_change_colours() -> None:
    # Else the test above would compare with nothing: the steps that grey images do not feel are there.
    image = np.random.default_rng(0).uniform(0.2, 0.8, (3, 4, 4))
    for step in ({"saturation": 0.5}, {"hue": 0.3}):
        assert np.abs(jitter_in_colour(image, step, list(step), False, PILLOW) - image).max() > 0.05
    greyscale = jitter_in_colour(image, {}, [], True, PILLOW)
    assert np.ptp(greyscale, axis=0).max() == 0
    np.testing.assert_allclose(turn_hue(np.array([1.0, 0.0, 0.0]).reshape(3, 1), 1 / 3).ravel(), [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize("image_size", [(12, 16), (7, 6, 8)])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.1, 0.3)])
def test_a_view_equals_the_recipe_in_colour_from_the_crop_to_the_blur(
    image_size: tuple[int, ...], scale: tuple[float, float]
) -> None:
    colours = np.random.default_rng(1)
    images, axes, sigma, ratio = torch.rand(16, 1, *image_size), (0,), (5.0, 25.0), (1.0, 1.0)
    # Whole numbers of grey values from 0 to 1000, as a radiograph is stored.
    images = (1000 * (images - images.flatten(1).amin(dim=1).view(-1, *[1] * (images.ndim - 1)))).round()
    images = images * 1000 / images.flatten(1).amax(dim=1).view(-1, *[1] * (images.ndim - 1))
    view = ContrastiveView(scale, ratio, axes, jitter=0.8, strength=0.4, blur=0.5, sigma=sigma)
    torch.manual_seed(9)
    views = view(images).numpy()
    draws = Draws(9, images, scale, ratio)
    narrow, wide = (width * max(image_size) / REFERENCE_SIDE for width in sigma)
    jittered = blurred = 0
    for number, image in enumerate(images.double().numpy()):
        jitter, first, second, order_coin, blur, width = draws.random[:, number]
        coloured = np.repeat(draws.crop(number, image / 1000, axes), 3, axis=0)
        if jitter < 0.8:
            steps, order, greyscale = draw_colour_steps(order_coin < 0.5, colours)
            factors = {"brightness": 0.6 + 0.8 * first, "contrast": 0.6 + 0.8 * second, **steps}
            coloured = jitter_in_colour(coloured, factors, order, greyscale, PILLOW)
            jittered += 1
        if blur < 0.5:
            for axis in range(1, coloured.ndim):
                radius = max(1, round(3 * wide))
                spread = narrow + width * (wide - narrow)
                coloured = ndimage.gaussian_filter1d(coloured, spread, axis=axis, mode="nearest", radius=radius)
            blurred += 1
        in_grey = 1000 * np.tensordot(PILLOW, coloured, axes=1)
        np.testing.assert_allclose(views[number, 0], in_grey, atol=0.02)  # 2e-5 of the range
    assert 0 < jittered < 16
    assert 0 < blurred < 16


def test_noise_that_means_nothing_is_refused() -> None:
    for noise in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="noise not below 0, got"):
            ContrastiveView(noise=noise)


@pytest.mark.parametrize("shape", [(1, 24, 24), (2, 16, 30), (1, 12, 10, 14)])
def test_a_view_is_turned_by_up_to_so_many_degrees_each_by_its_own(shape: tuple[int, ...]) -> None:
    # The gradient of a ramp tells the angle by which it was turned, seen away from the border that repeats.
    dims, degrees = len(shape) - 1, 20.0
    axes = torch.meshgrid(*[torch.arange(side).float() for side in shape[1:]], indexing="ij")
    images = axes[0].expand(64, *shape)
    views = ContrastiveView(**{**NOTHING, "degrees": degrees})(images)
    middle = tuple(slice(side // 2 - 2, side // 2 + 2) for side in shape[1:])
    slopes = torch.stack(
        [views[:, 0].diff(dim=1 + axis)[(slice(None), *middle)].flatten(1).mean(1) for axis in range(dims)]
    )
    torch.testing.assert_close(slopes.norm(dim=0), torch.ones(64), rtol=0, atol=1e-2)  # turned in voxels: no shearing
    angles = torch.rad2deg(slopes[0].clamp(-1, 1).arccos())
    assert angles.max() < degrees * dims**0.5
    assert angles.max() > degrees / 2
    assert len(set(angles.round(decimals=3).tolist())) > 32


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_has_at_most_the_share_of_the_range_that_was_asked_for(shape: tuple[int, ...]) -> None:
    images = hounsfield(64, shape)
    spans = images.flatten(1).amax(1) - images.flatten(1).amin(1)
    shares = (ContrastiveView(**{**NOTHING, "noise": 0.1})(images) - images).flatten(1).std(dim=1) / spans
    assert shares.max() < 0.12
    assert shares.mean().item() == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("shape", SHAPES)
def test_renormalised_views_have_no_brightness_and_nothing_remains_of_an_even_one(shape: tuple[int, ...]) -> None:
    images = hounsfield(8, shape)
    images[3] = -1000.0
    views = ContrastiveView(renormalise=True)(images)
    mean, deviation = views.flatten(1).mean(1), views.flatten(1).std(1, correction=0)
    torch.testing.assert_close(mean, torch.zeros(8), rtol=0, atol=1e-4)
    expected = torch.ones(8)
    expected[3] = 0
    torch.testing.assert_close(deviation, expected, rtol=0, atol=1e-3)
    plain = ContrastiveView(**NOTHING)(images)
    again = ContrastiveView(**{**NOTHING, "renormalise": True})(images)
    slow = (plain - plain.flatten(1).mean(1).view(8, *[1] * len(shape))) / plain.flatten(1).std(1, correction=0).view(
        8, *[1] * len(shape)
    ).clamp(min=1e-3)
    torch.testing.assert_close(again, slow, rtol=0, atol=1e-3)
