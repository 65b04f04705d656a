"""Cutting tiles against slicing one after the other; where they lie, and their brightness against numpy."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl.pretext.puzzles import (
    cut_tiles,
    draw_cell_starts,
    draw_crop_starts,
    half_overlapping_starts,
    normalise_tiles,
)


def slice_tiles(images: Tensor, starts: Tensor, tile_size: tuple[int, ...]) -> Tensor:
    rows = []
    for image, places in zip(images, starts.tolist(), strict=True):
        tiles = []
        for place in places:
            window = tuple(slice(start, start + side) for start, side in zip(place, tile_size, strict=True))
            tiles.append(image[(slice(None), *window)])
        rows.append(torch.stack(tiles))
    return torch.stack(rows)


CASES = [  # image, tile
    ((11, 11), (5, 5)),
    ((9, 14), (3, 7)),
    ((13, 7), (13, 2)),  # as long as the image
    ((7, 7), (7, 7)),  # the image itself
    ((8, 8), (1, 1)),
    ((9, 9, 9), (4, 4, 4)),
    ((12, 12, 5), (5, 5, 2)),  # anisotropic, as a CT of few slices
    ((7, 10, 6), (3, 5, 6)),
]


@pytest.mark.parametrize(("image_size", "tile_size"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_equal_slices(image_size: tuple[int, ...], tile_size: tuple[int, ...], channels: int) -> None:
    images = torch.rand(4, channels, *image_size)
    before = images.clone()
    free = [side - tile + 1 for side, tile in zip(image_size, tile_size, strict=True)]
    starts = torch.stack([torch.randint(room, (4, 6)) for room in free], dim=-1)
    starts[0, 0] = 0
    starts[0, 1] = torch.tensor(free) - 1  # the last place there is
    tiles = cut_tiles(images, starts, tile_size)
    assert tiles.shape == (4, 6, channels, *tile_size)
    assert torch.equal(tiles, slice_tiles(images, starts, tile_size))
    tiles.zero_()  # a copy: what becomes of the tiles does not reach the images
    assert torch.equal(images, before)


def test_tiles_of_strided_images_and_their_gradients() -> None:
    images = torch.rand(2, 12, 10, 1).permute(0, 3, 2, 1).requires_grad_()
    starts = torch.tensor([[[0, 0], [2, 3]], [[6, 8], [2, 3]]])
    (gradient,) = torch.autograd.grad(cut_tiles(images, starts, (4, 4)).sum(), images)
    (expected,) = torch.autograd.grad(slice_tiles(images, starts, (4, 4)).sum(), images)
    assert torch.equal(gradient, expected)
    assert gradient.max() == 2  # where two tiles overlap


@pytest.mark.parametrize(("image_size", "tile_size"), [((8, 8), (9, 4)), ((8, 8, 4), (4, 4, 5))])
def test_a_tile_larger_than_the_image_is_refused(image_size: tuple[int, ...], tile_size: tuple[int, ...]) -> None:
    starts = torch.zeros(1, 1, len(image_size), dtype=torch.int64)
    with pytest.raises(ValueError, match="do not fit into images"):
        cut_tiles(torch.rand(1, 1, *image_size), starts, tile_size)


@pytest.mark.parametrize(("image_size", "crop_size"), [((7, 9), (5, 6)), ((6, 5, 8), (4, 5, 6)), ((4, 4), (4, 4))])
def test_crops_start_at_every_place_that_fits_equally_often(
    image_size: tuple[int, ...], crop_size: tuple[int, ...]
) -> None:
    draws = 20_000
    starts = draw_crop_starts(draws, image_size, crop_size, torch.device("cpu"))
    assert starts.shape == (draws, len(image_size))
    places = list(product(*(range(side - crop + 1) for side, crop in zip(image_size, crop_size, strict=True))))
    counts = dict.fromkeys(places, 0)
    for start in starts.tolist():
        counts[tuple(start)] += 1  # a place that does not fit would be a KeyError
    expected = draws / len(places)
    assert all(abs(count - expected) < 6 * expected**0.5 for count in counts.values())


def test_crops_follow_the_global_generator_and_must_fit() -> None:
    device = torch.device("cpu")
    torch.manual_seed(3)
    first = draw_crop_starts(16, (32, 32), (8, 8), device)
    torch.manual_seed(3)
    assert torch.equal(draw_crop_starts(16, (32, 32), (8, 8), device), first)
    with pytest.raises(ValueError, match=r"crop of \[9, 8\] does not fit into images of \[8, 8\]"):
        draw_crop_starts(2, (8, 8), (9, 8), device)


@pytest.mark.parametrize(
    ("image_size", "grid", "tile_size"),
    [
        ((12, 9), 3, (3, 2)),
        ((14, 10), 3, (2, 3)),  # sides that the grid does not divide
        ((6, 6), 2, (3, 3)),  # no free room: the cells themselves
        ((8, 6, 4), 2, (3, 2, 2)),
        ((9, 9, 6), 3, (2, 3, 1)),
    ],
)
def test_each_tile_lies_in_its_own_cell_and_takes_every_place_there_equally_often(
    image_size: tuple[int, ...], grid: int, tile_size: tuple[int, ...]
) -> None:
    draws = 6000
    starts = draw_cell_starts(draws, image_size, grid, tile_size, torch.device("cpu")).numpy()
    cell_size = [side // grid for side in image_size]
    rooms = [cell - tile + 1 for cell, tile in zip(cell_size, tile_size, strict=True)]
    cells = list(product(range(grid), repeat=len(image_size)))  # the last axis runs fastest
    assert starts.shape == (draws, len(cells), len(image_size))
    places = np.prod(rooms)
    for number, cell in enumerate(cells):
        in_cell = starts[:, number] - np.multiply(cell, cell_size)
        assert (in_cell >= 0).all()
        assert (in_cell < rooms).all()  # so the tile ends before the cell does
        counts = np.bincount(np.ravel_multi_index(np.ascontiguousarray(in_cell.T), rooms), minlength=places)
        assert np.abs(counts - draws / places).max() <= 6 * (draws / places) ** 0.5
    if places > 1:  # each tile is placed for itself
        in_cells = starts - np.multiply(cells, cell_size)
        together = (in_cells[:, 0] == in_cells[:, -1]).all(axis=1).mean()
        assert abs(together - 1 / places) < 6 / (places * draws) ** 0.5


def test_cell_starts_follow_the_global_generator_and_tiles_must_fit_into_their_cell() -> None:
    device = torch.device("cpu")
    torch.manual_seed(3)
    first = draw_cell_starts(8, (32, 32), 2, (8, 8), device)
    torch.manual_seed(3)
    assert torch.equal(draw_cell_starts(8, (32, 32), 2, (8, 8), device), first)
    assert not torch.equal(draw_cell_starts(8, (32, 32), 2, (8, 8), device), first)
    draw_cell_starts(1, (32, 30), 3, (10, 10), device)
    with pytest.raises(ValueError, match=r"do not fit into cells of"):  # into the image it would
        draw_cell_starts(1, (32, 30), 3, (10, 11), device)


@pytest.mark.parametrize(("grid", "stride"), [(3, (4, 5)), (1, (7, 7)), (7, (2, 3)), (3, (4, 6, 2)), (2, (1, 2, 3))])
def test_half_overlapping_tiles_share_half_of_each_axis_with_their_neighbour(
    grid: int, stride: tuple[int, ...]
) -> None:
    starts = half_overlapping_starts(grid, stride)
    assert starts.shape == (*[grid] * len(stride), len(stride))
    for place in product(range(grid), repeat=len(stride)):
        assert starts[place].tolist() == [number * step for number, step in zip(place, stride, strict=True)]
    # Side by side along one axis, the second half of one tile is the first half of the next.
    tile_size = [2 * step for step in stride]
    image = torch.rand(1, 1, *[(grid + 1) * step for step in stride])
    tiles = cut_tiles(image, starts.view(1, -1, len(stride)), tile_size)
    tiles = tiles.view(*starts.shape[:-1], *tile_size)
    for axis, step in enumerate(stride if grid > 1 else ()):
        one, following = tiles.select(axis, 0), tiles.select(axis, 1)
        across = one.ndim - len(stride) + axis
        assert torch.equal(one.narrow(across, step, step), following.narrow(across, 0, step))


@pytest.mark.parametrize("tile_size", [(6, 9), (5, 4, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_tiles_have_mean_zero_and_standard_deviation_one(tile_size: tuple[int, ...], channels: int) -> None:
    # In Hounsfield units: brightness and contrast differ by much from tile to tile.
    contrast = torch.tensor([30.0, 400.0, 2.0, 90.0]).view(1, 4, 1, *[1] * len(tile_size))
    tiles = torch.randn(2, 4, channels, *tile_size) * contrast + contrast.flip(1) - 500
    tiles[1, 3] = -1000.3
    before = tiles.clone()
    normalised = normalise_tiles(tiles).double().numpy()
    assert torch.equal(tiles, before)
    for image, number in product(range(2), range(4)):
        tile = tiles[image, number].double().numpy()
        deviation = tile.std()
        expected = (tile - tile.mean()) / deviation if (image, number) != (1, 3) else np.zeros_like(tile)
        np.testing.assert_allclose(normalised[image, number], expected, atol=1e-3)
    assert not normalised[1, 3].any()
    np.testing.assert_allclose(np.delete(normalised.reshape(8, -1).std(axis=1), 7), 1, atol=1e-5)
