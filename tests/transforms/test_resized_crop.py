"""Resized crops: their sizes, proportions and places, and the resizing against scipy."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import ndimage

from medssl.transforms.contrastive_view import draw_resized_crops, resize_crops

CPU = torch.device("cpu")
DRAWS = 20_000


def assert_uniform(numbers: torch.Tensor, low: float, high: float) -> None:
    shares = torch.histc(numbers.float(), 10, low, high) / len(numbers)
    assert (shares - 0.1).abs().max() < 6 * (0.1 * 0.9 / len(numbers)) ** 0.5


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize(
    ("scale", "ratio"),  # small enough that no crop is longer than the image
    [
        ((0.2, 0.5), (3 / 4, 4 / 3)),
        ((0.1, 0.25), (0.5, 2.0)),
        ((0.01, 0.02), (1 / 3, 3.0)),
        ((0.2, 1.0), (1.0, 1.0)),
        ((0.3, 0.3), (0.8, 1.25)),
    ],
)
def test_crops_lie_inside_the_image_and_keep_share_and_proportions(
    spatial_dims: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    centres, sides = draw_resized_crops(DRAWS, spatial_dims, scale, ratio, CPU)
    assert centres.shape == sides.shape == (DRAWS, spatial_dims)
    assert (centres - sides / 2).min() >= -1e-6
    assert (centres + sides / 2).max() <= 1 + 1e-6
    share = sides.prod(dim=1)
    assert share.min() >= scale[0] - 1e-5
    assert share.max() <= scale[1] + 1e-5
    if scale[0] < scale[1]:
        assert_uniform(share, *scale)
    for first, second in combinations(range(spatial_dims), 2):
        proportion = sides[:, first] / sides[:, second]
        assert proportion.min() == pytest.approx(ratio[0], rel=0.05)
        assert proportion.max() == pytest.approx(ratio[1], rel=0.05)
        assert proportion.min() >= ratio[0] - 1e-5
        assert proportion.max() <= ratio[1] + 1e-5
    place = (centres - sides / 2) / (1 - sides)
    for axis in range(spatial_dims):
        assert_uniform(place[:, axis], 0, 1)
    assert torch.corrcoef(place.T).sub(torch.eye(spatial_dims)).abs().max() < 6 / DRAWS**0.5


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_large_crops_end_at_the_border_and_keep_their_proportions(spatial_dims: int) -> None:
    centres, sides = draw_resized_crops(DRAWS, spatial_dims, (0.2, 1.0), (3 / 4, 4 / 3), CPU)
    assert (centres - sides / 2).min() >= -1e-6
    assert (centres + sides / 2).max() <= 1 + 1e-6
    assert sides.max() == 1
    proportion = sides[:, :, None] / sides[:, None]
    assert proportion.min() >= 3 / 4 - 1e-5
    assert proportion.max() <= 4 / 3 + 1e-5
    assert sides.prod(dim=1).min() >= 0.2 - 1e-5


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("scale", [(0.9, 1.0), (1.0, 1.0)])
def test_large_crops_keep_their_share(spatial_dims: int, scale: tuple[float, float]) -> None:
    _, sides = draw_resized_crops(DRAWS, spatial_dims, scale, (3 / 4, 4 / 3), CPU)
    assert sides.prod(dim=1).min() >= scale[0] - 1e-5


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_crops_follow_the_global_generator(spatial_dims: int) -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn += [torch.cat(draw_resized_crops(5, spatial_dims, (0.2, 1.0), (3 / 4, 4 / 3), CPU)) for _ in range(2)]
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], drawn[3])
    assert not any(torch.equal(drawn[0], other) for other in (drawn[1], drawn[4]))


def resize_by_scipy(image: np.ndarray, centre: np.ndarray, side: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Look up each voxel of the crop ``[C, *spatial]`` where it lies in the image."""
    coordinates = []
    for axis, voxels in enumerate(image.shape[1:]):
        along = (np.arange(voxels) + 0.5) / voxels  # middles of the voxels, in shares of the crop
        if mirrored[axis]:
            along = along[::-1]
        coordinates.append((centre[axis] + (along - 0.5) * side[axis]) * voxels - 0.5)
    grid = np.meshgrid(*coordinates, indexing="ij")
    return np.stack([ndimage.map_coordinates(channel, grid, order=1, mode="nearest") for channel in image])


SHAPES = [(1, 16, 16), (3, 9, 21), (1, 8, 8, 8), (2, 12, 7, 5)]  # channels, then the image


@pytest.mark.parametrize("shape", SHAPES)
def test_crops_are_resized_as_scipy_does_it(shape: tuple[int, ...]) -> None:
    dims = len(shape) - 1
    images = torch.randn(12, *shape)
    centres, sides = draw_resized_crops(12, dims, (0.05, 1.0), (0.5, 2.0), CPU)
    centres[0], sides[0] = 0.15, 0.3  # in the first corner
    centres[1], sides[1] = 0.85, 0.3  # in the last
    mirrored = torch.rand(12, dims) < 0.5
    mirrored[:2] = torch.tensor([[False], [True]])
    before = images.clone()
    resized = resize_crops(images, centres, sides, mirrored)
    assert resized.shape == images.shape
    for number, result in enumerate(resized.numpy()):
        image, centre, side, mirror = (one[number].double().numpy() for one in (images, centres, sides, mirrored))
        expected = resize_by_scipy(image, centre, side, mirror)
        np.testing.assert_allclose(result, expected, atol=2e-5)
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_whole_image_is_itself_and_mirrored_it_is_flipped(shape: tuple[int, ...]) -> None:
    dims = len(shape) - 1
    images = torch.rand(2**dims, *shape)
    mirrored = torch.cartesian_prod(*[torch.tensor([False, True])] * dims)
    whole = torch.ones(2**dims, dims)
    resized = resize_crops(images, whole / 2, whole, mirrored)
    for image, result, axes in zip(images, resized, mirrored, strict=True):
        flipped = image.flip([1 + int(axis) for axis in axes.nonzero()])
        torch.testing.assert_close(result, flipped, atol=1e-5, rtol=0)


def test_half_of_an_image_enlarged_by_hand() -> None:
    image = torch.tensor([[0.0, 1.0, 2.0, 3.0]] * 4)[None, None]
    right_half = resize_crops(image, torch.tensor([[0.5, 0.75]]), torch.tensor([[1.0, 0.5]]), torch.zeros(1, 2).bool())
    torch.testing.assert_close(right_half[0, 0], torch.tensor([[1.75, 2.25, 2.75, 3.0]] * 4))
    with_mirror = resize_crops(
        image, torch.tensor([[0.5, 0.25]]), torch.tensor([[1.0, 0.5]]), torch.tensor([[False, True]])
    )
    torch.testing.assert_close(with_mirror[0, 0], torch.tensor([[1.25, 0.75, 0.25, 0.0]] * 4))
