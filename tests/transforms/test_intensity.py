"""Changes of grey values against numpy and scipy, image by image."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from medssl.transforms.intensity import (
    CURVE_PARTS,
    CURVE_POINTS,
    apply_tables,
    bezier_tables,
    blur,
    jitter_intensity,
    to_unit_range,
)

SHAPES = [(1, 17, 23), (3, 12, 12), (1, 11, 14, 9), (2, 10, 10, 8)]  # channels, then the image


@pytest.mark.parametrize("shape", SHAPES)
def test_each_image_is_mapped_onto_0_to_1_by_its_own_range(shape: tuple[int, ...]) -> None:
    images = torch.randn(4, *shape) * torch.tensor([1.0, 300, 0.01, 7]).view(-1, *[1] * len(shape)) - 20
    images[3] = -1000.3  # constant
    unit, low, span = to_unit_range(images)
    for number, image in enumerate(images.double().numpy()):
        expected = (image - image.min()) / (np.ptp(image) or 1)
        np.testing.assert_allclose(unit[number].double().numpy(), expected, atol=1e-6)
    assert unit[:3].flatten(1).amin(dim=1).tolist() == [0, 0, 0]
    assert unit[:3].flatten(1).amax(dim=1).tolist() == [1, 1, 1]
    assert not unit[3].any()
    torch.testing.assert_close(unit * span + low, images, atol=1e-3, rtol=0)
    assert torch.equal((unit * span + low)[3], images[3])


def color_jitter(image: np.ndarray, brightness: float, contrast: float, contrast_first: bool) -> np.ndarray:
    """torchvision's ``ColorJitter`` for a grey image with both factors fixed."""

    def blend(one: np.ndarray, other: np.ndarray | float, factor: float) -> np.ndarray:
        return np.clip(factor * one + (1 - factor) * other, 0, 1)

    def adjust_brightness(image: np.ndarray) -> np.ndarray:
        return blend(image, 0.0, brightness)

    def adjust_contrast(image: np.ndarray) -> np.ndarray:
        return blend(image, image.mean(), contrast)

    if contrast_first:
        return adjust_brightness(adjust_contrast(image))
    return adjust_contrast(adjust_brightness(image))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_brightness_and_contrast_are_those_of_torchvision_in_either_order(
    shape: tuple[int, ...], strength: float
) -> None:
    images = torch.rand(16, *shape)
    brightness, contrast = 1 + strength * (2 * torch.rand(2, 16) - 1)
    contrast_first = torch.arange(16) % 2 == 0
    brightness[:2], contrast[:2] = 1 + strength, torch.tensor([1 + strength, 1 - strength])
    before = images.clone()
    changed = jitter_intensity(images, brightness, contrast, contrast_first).double().numpy()
    clamped = order_matters = False
    for number, image in enumerate(images.double().numpy()):
        factors = brightness[number].item(), contrast[number].item()
        first = bool(contrast_first[number])
        expected = color_jitter(image, *factors, first)
        np.testing.assert_allclose(changed[number], expected, atol=1e-6)
        clamped |= (expected == 0).any() and (expected == 1).any()
        order_matters |= np.abs(color_jitter(image, *factors, not first) - expected).max() > 0.05
    assert clamped  # else the test would not see a missing clamp
    assert order_matters
    assert torch.equal(images, before)


def test_factors_of_one_change_nothing() -> None:
    images, one = torch.rand(2, 1, 9, 9), torch.ones(2)
    assert torch.equal(jitter_intensity(images, one, one, torch.tensor([True, False])), images)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("largest", [0.2, 1.1, 2.0])
def test_each_image_is_blurred_by_its_own_width_as_scipy_blurs_it(shape: tuple[int, ...], largest: float) -> None:
    sigma = largest * torch.tensor([1.0, 0.0, 0.5, 0.8, 0.0, 0.3])
    images = 100 * torch.randn(6, *shape)
    images[3] = 42.0  # stays constant up to the border
    before = images.clone()
    blurred = blur(images, sigma, largest)
    for number, width in enumerate(sigma.tolist()):
        if width == 0:
            assert torch.equal(blurred[number], images[number])
            continue
        expected = images[number].double().numpy()
        for axis in range(1, len(shape)):  # not across the channels
            radius = max(1, round(3 * largest))
            expected = ndimage.gaussian_filter1d(expected, width, axis=axis, mode="nearest", radius=radius)
        np.testing.assert_allclose(blurred[number].double().numpy(), expected, atol=1e-4)
    if largest > 1:
        assert blurred[0].std() < 0.6 * images[0].std()
    torch.testing.assert_close(blurred[3], images[3])
    assert torch.equal(images, before)


def bezier_curve(control: np.ndarray, at: np.ndarray) -> np.ndarray:
    t = np.linspace(0, 1, 100_001)
    points = np.stack([np.zeros(2), *control.astype(float), np.ones(2)])
    weights = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    x, y = points.T @ weights
    return np.interp(at, x, y)


def test_curves_are_monotone_bezier_curves_from_0_to_1() -> None:
    control = torch.rand(60, 2, 2)
    control[0] = torch.tensor([[1 / 3, 1 / 3], [2 / 3, 2 / 3]])  # a straight line
    control[1] = torch.tensor([[0.0, 1.0], [0.0, 1.0]])  # as bright as can be
    control[2] = torch.tensor([[0.9, 0.0], [0.9, 0.0]])
    rising = bezier_tables(control, torch.zeros(60, dtype=torch.bool))
    assert rising.shape == (60, CURVE_POINTS)
    places = np.linspace(0, 1, CURVE_POINTS)
    for table, points in zip(rising.numpy(), control.numpy(), strict=True):
        curve = bezier_curve(points, places)
        np.testing.assert_allclose(table[::CURVE_PARTS], curve[::CURVE_PARTS], atol=2e-4)
        assert (np.abs(table - curve) > 1e-3).mean() < 1e-3  # next to where a curve is vertical
    torch.testing.assert_close(rising[0], torch.linspace(0, 1, CURVE_POINTS))
    assert rising.diff(dim=1).min() >= -1e-6
    assert not rising[:, 0].any()
    assert (rising[:, -1] == 1).all()
    inverted = torch.rand(60) < 0.5
    tables = bezier_tables(control, inverted)
    torch.testing.assert_close(tables[inverted], 1 - rising[inverted])
    assert torch.equal(tables[~inverted], rising[~inverted])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("points", [2, 7, 256])
def test_grey_values_are_sent_to_the_nearest_entry_of_the_table_of_their_own_image(
    shape: tuple[int, ...], points: int
) -> None:
    images, tables = torch.rand(5, *shape), torch.rand(5, points)
    images[0].view(-1)[:4] = torch.tensor([0.0, 1.0, -0.3, 1.5])  # the ends belong to the table, and serve beyond it
    sent = apply_tables(images, tables)
    places = np.linspace(0, 1, points)
    for image, table, result in zip(images.numpy(), tables.numpy(), sent.numpy(), strict=True):
        distances = np.abs(image.reshape(-1, 1) - places)
        nearest = distances.min(axis=1, keepdims=True)
        allowed = distances <= nearest + 1e-6  # two entries may be equally near
        assert (allowed & (table == result.reshape(-1, 1))).any(axis=1).all()
    assert sent[0].view(-1)[:4].tolist() == tables[0, [0, -1, 0, -1]].tolist()
