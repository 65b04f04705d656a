"""The augmentation of fine-tuning, written out image by image with scipy; off it changes nothing."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medssl.errors import UserError
from medssl.transforms import ClinicalAugmentation
from medssl.transforms.affine import rotations, sample

SHAPES = [(1, 17, 24), (3, 20, 20), (1, 10, 14, 7), (2, 12, 12, 12)]  # channels, then the image


def turned_by_scipy(image: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """An image looked up at `matrix` · place + `shift`, both in voxels from the centre."""
    centre = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(image, matrix, centre - matrix @ centre + shift, order=1, mode="nearest")


def rotation_by_scipy(angles: np.ndarray) -> np.ndarray:
    if len(angles) == 1:
        (angle,) = angles
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return Rotation.from_euler("XYZ", angles).as_matrix()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("anisotropic", [False, True])
def test_images_are_turned_shifted_zoomed_and_mirrored_as_scipy_does_it(
    shape: tuple[int, ...], anisotropic: bool
) -> None:
    torch.manual_seed(1)
    dims, batch = len(shape) - 1, 6
    spacing = (0.7, 1.0, 2.5)[-dims:] if anisotropic else (1.0,) * dims
    images = torch.randn(batch, *shape)
    angles = torch.randn(batch, 1 if dims == 2 else 3) * 0.4
    shifts, zooms = torch.randn(batch, dims) * 0.1, 1 + 0.3 * torch.rand(batch)
    mirrored = torch.rand(batch, dims) < 0.5
    places = ClinicalAugmentation(spacing=spacing)._places(angles, shifts, zooms, mirrored, shape[1:])
    result = sample(images, *places)
    for number in range(batch):
        scale = np.diag(spacing)
        turn = np.linalg.inv(scale) @ rotation_by_scipy(angles[number].double().numpy()) @ scale
        matrix = turn @ np.diag(np.where(mirrored[number], -1, 1)) / zooms[number].item()
        shift = -shifts[number].double().numpy() * shape[1:]
        for channel in range(shape[0]):
            expected = turned_by_scipy(images[number, channel].double().numpy(), matrix, shift)
            np.testing.assert_allclose(result[number, channel], expected, atol=2e-4)


@pytest.mark.parametrize("planes", [1, 3])
def test_rotation_matrices_are_scipys(planes: int) -> None:
    angles = torch.randn(5, planes, dtype=torch.float64)
    for matrix, one in zip(rotations(angles), angles, strict=True):
        np.testing.assert_allclose(matrix, rotation_by_scipy(one.numpy()), atol=1e-12)


def test_turning_keeps_a_cross_of_unequal_voxels_at_right_angles() -> None:
    # Voxels five times as long along the last axis: in mm the image of a line at right angles stays so.
    places, _ = ClinicalAugmentation(spacing=(1.0, 5.0))._places(
        torch.tensor([[math.radians(30)]]),
        torch.zeros(1, 2),
        torch.ones(1),
        torch.zeros(1, 2, dtype=torch.bool),
        (20, 4),
    )
    in_mm = torch.diag(torch.tensor([20.0, 4.0 * 5])) @ places[0] @ torch.diag(1 / torch.tensor([20.0, 4.0 * 5]))
    torch.testing.assert_close(in_mm @ in_mm.T, torch.eye(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_repeats_it_and_the_images_given_stay(shape: tuple[int, ...]) -> None:
    images = torch.randn(4, *shape)
    before, drawn = images.clone(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(ClinicalAugmentation()(images))
    assert drawn[0].shape == images.shape
    assert torch.equal(images, before)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert len({float(image.sum()) for image in drawn[0]}) == 4  # each by its own numbers
    low, high = images.flatten(1).amin(1), images.flatten(1).amax(1)
    assert (drawn[0].flatten(1).amin(1) >= low - 1e-5).all()
    assert (drawn[0].flatten(1).amax(1) <= high + 1e-5).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_strength_zero_changes_nothing_and_draws_nothing(shape: tuple[int, ...]) -> None:
    images, state = torch.randn(2, *shape), torch.get_rng_state()
    assert ClinicalAugmentation(strength=0)(images) is images
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dims", [2, 3])
def test_half_of_the_images_are_mirrored_left_and_right(dims: int) -> None:
    images = torch.rand(400, 1, *[6] * dims)
    still: dict[str, Any] = dict.fromkeys(("rotate_range", "translate_range", "scale_range", "intensity_range"), 0.0)
    axis = 3 if dims == 2 else 2
    result = ClinicalAugmentation(**still)(images)
    same = (result - images).flatten(1).abs().amax(1) < 1e-5
    mirrored = (result - images.flip(axis)).flatten(1).abs().amax(1) < 1e-5
    assert bool((same ^ mirrored).all())
    assert 140 < int(mirrored.sum()) < 260


def test_intensity_changes_by_its_share_only() -> None:
    images = torch.linspace(-1, 1, 64).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    nowhere: dict[str, Any] = dict.fromkeys(("rotate_range", "translate_range", "scale_range"), 0.0)
    result = ClinicalAugmentation(**nowhere, mirror_axes=())(images)
    middle = (result[:, 0, 4, 0] + 1) / 2  # of 0 … 1, a little above a half
    factors = middle / ((images[0, 0, 4, 0] + 1) / 2)
    assert factors.min() > 0.85 * 0.99
    assert factors.max() < 1.15 * 1.01
    assert factors.std() > 0.05


@pytest.mark.parametrize(
    "arguments",
    [{"strength": -1}, {"rotate_range": float("nan")}, {"scale_range": 0.5, "strength": 2}, {"intensity_range": 1.1}],
)
def test_numbers_that_mean_nothing_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"augmentation"):
        ClinicalAugmentation(**arguments)


@pytest.mark.parametrize("arguments", [{"mirror_axes": (2,)}, {"spacing": (1, 1, 5)}])
def test_axes_that_the_images_do_not_have_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="2 spatial axes"):
        ClinicalAugmentation(**arguments)(torch.zeros(2, 1, 8, 8))


def test_a_constant_image_stays_one() -> None:
    assert torch.equal(ClinicalAugmentation()(torch.full((3, 1, 9, 9), 0.25)), torch.full((3, 1, 9, 9), 0.25))


@pytest.mark.parametrize("size", [(11, 8), (9, 8, 7)])
def test_masks_go_with_their_images_to_the_nearest_voxel(size: tuple[int, ...]) -> None:
    images, bits = torch.rand(3, 1, *size), torch.randint(0, 2**40, (3, 1, *size))
    augmentation = ClinicalAugmentation(strength=2.0)
    torch.manual_seed(3)
    drawn = augmentation._draw(images)
    torch.manual_seed(3)
    changed, moved = augmentation.with_masks(images, bits)
    torch.manual_seed(3)
    torch.testing.assert_close(changed, augmentation(images))
    theta = torch.cat([drawn.matrices.flip(1, 2), drawn.shifts.flip(1)[..., None]], dim=2)
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False).double()
    for bit in range(40):  # float64 holds one bit
        one = (bits >> bit & 1).double()
        expected = torch.nn.functional.grid_sample(
            one, grid, mode="nearest", padding_mode="border", align_corners=False
        )
        assert ((moved >> bit & 1) == expected).float().mean() > 0.995  # but for places halfway between two voxels
    kept = ClinicalAugmentation(strength=0.0).with_masks(images, bits)
    assert kept[0] is images
    assert kept[1] is bits
