"""Grid masks and boxes: how many, where, and how often; the masks of boxes against loops."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from medssl.pretext.mim import draw_grid_masks
from medssl.transforms.boxes import box_masks, draw_boxes

CPU = torch.device("cpu")

GRIDS = [  # image, grid, marked cells
    ((12, 12), 4, 10),
    ((10, 7), 3, 4),  # sides that the grid does not divide
    ((5, 5), 5, 1),  # a cell is a voxel
    ((6, 9), 3, 0),
    ((4, 6), 2, 4),
    ((6, 6, 6), 3, 20),
    ((8, 8, 5), 2, 3),
    ((7, 10, 4), 3, 9),
]


def boundaries(side: int, grid: int) -> list[int]:
    return [-(-number * side // grid) for number in range(grid + 1)]


@pytest.mark.parametrize(("image_size", "grid", "cells"), GRIDS)
def test_exactly_the_asked_number_of_whole_cells_is_marked(image_size: tuple[int, ...], grid: int, cells: int) -> None:
    masks = draw_grid_masks(20, image_size, [grid] * len(image_size), cells, CPU).numpy()
    assert masks.shape == (20, 1, *image_size)
    assert masks.dtype == bool
    limits = [boundaries(side, grid) for side in image_size]
    for limit in limits:
        widths = np.diff(limit)
        assert widths.max() - widths.min() <= 1
    for mask in masks[:, 0]:
        marked = 0
        for cell in product(range(grid), repeat=len(image_size)):
            window = mask[tuple(slice(*limit[place : place + 2]) for limit, place in zip(limits, cell, strict=True))]
            assert window.size > 0
            assert window.all() or not window.any()
            marked += bool(window.all())
        assert marked == cells


@pytest.mark.parametrize(
    ("image_size", "grid", "cells"), [((12, 12), 4, 10), ((10, 7), 3, 4), ((7, 10, 4), 3, 9), ((4, 4, 2), 2, 3)]
)
def test_all_cells_and_all_pairs_of_cells_are_marked_equally_often(
    image_size: tuple[int, ...], grid: int, cells: int
) -> None:
    draws, count = 4000, grid ** len(image_size)
    corners = np.ix_(*[boundaries(side, grid)[:-1] for side in image_size])
    masks = draw_grid_masks(draws, image_size, [grid] * len(image_size), cells, CPU)[:, 0].numpy()
    marked = masks[(slice(None), *corners)].reshape(draws, count).astype(float)
    share = cells / count
    assert np.abs(marked.mean(axis=0) - share).max() < 5 * (share * (1 - share) / draws) ** 0.5
    both = share * (cells - 1) / (count - 1)  # without replacement
    pairs = (marked.T @ marked / draws)[~np.eye(count, dtype=bool)]
    assert np.abs(pairs - both).max() < 6 * (both * (1 - both) / draws) ** 0.5


@pytest.mark.parametrize(
    ("image_size", "shares"),
    [
        ((32, 20), (1 / 6, 1 / 3)),
        ((17, 40), (3 / 7, 4 / 7)),
        ((9, 9), (0.2, 0.99)),
        ((16, 10, 23), (1 / 6, 0.55)),
        ((15, 15, 5), (0.3, 0.7)),
    ],
)
def test_boxes_lie_inside_the_image_and_reach_its_borders_with_all_sides_between_the_shares(
    image_size: tuple[int, ...], shares: tuple[float, float]
) -> None:
    starts, sides = draw_boxes(4000, 3, image_size, shares, CPU)
    assert starts.shape == sides.shape == (4000, 3, len(image_size))
    ends = starts + sides
    for axis, side in enumerate(image_size):
        assert starts[..., axis].min() == 0
        assert ends[..., axis].max() == side
        expected = range(max(1, round(shares[0] * side)), round(shares[1] * side) + 1)
        assert sides[..., axis].unique().tolist() == list(expected)
    # The boxes of an image, the axes of a box, its sides and its place are drawn for themselves.
    middles = starts + sides / 2
    related = torch.corrcoef(torch.cat([middles, sides], dim=2).flatten(1).T.double())
    assert related.fill_diagonal_(0).abs().max() < 6 / 4000**0.5


@pytest.mark.parametrize(("image_size", "shares"), [((12, 12), (1 / 6, 1 / 3)), ((10, 10), (0.2, 1.0))])
def test_the_longest_side_occurs(image_size: tuple[int, ...], shares: tuple[float, float]) -> None:
    _, sides = draw_boxes(4000, 3, image_size, shares, CPU)
    assert sides.max() == round(shares[1] * image_size[0])


@pytest.mark.parametrize(
    ("image_size", "share", "box"),
    [((8, 12), 0.25, (2, 3)), ((8, 8), 0.01, (1, 1)), ((6, 4), 1.0, (6, 4)), ((4, 8, 6), 0.5, (2, 4, 3))],
)
def test_boxes_of_one_size_lie_at_every_place_equally_often(
    image_size: tuple[int, ...], share: float, box: tuple[int, ...]
) -> None:
    starts, sides = draw_boxes(5000, 2, image_size, (share, share), CPU)
    assert (sides == torch.tensor(box)).all()
    rooms = [side - length + 1 for side, length in zip(image_size, box, strict=True)]
    draws, places = 10_000, np.prod(rooms)
    counts = np.bincount(
        np.ravel_multi_index(tuple(starts.flatten(0, 1).T.contiguous().numpy()), rooms), minlength=places
    )
    assert len(counts) == places
    assert np.abs(counts - draws / places).max() <= 6 * (draws / places) ** 0.5


@pytest.mark.parametrize("image_size", [(11, 7), (9, 9), (6, 9, 4)])
@pytest.mark.parametrize("boxes", [1, 4])
def test_box_masks_mark_every_voxel_of_every_box(image_size: tuple[int, ...], boxes: int) -> None:
    sides = torch.stack([torch.randint(1, side // 2 + 1, (6, boxes)) for side in image_size], dim=-1)
    starts = (torch.rand(sides.shape) * (torch.tensor(image_size) - sides + 1)).long()
    starts[0, 0], sides[0, 0] = 0, torch.tensor(image_size)  # the whole image
    starts[1, 0], sides[1, 0] = torch.tensor(image_size) - 1, 1  # the last voxel
    masks = box_masks(starts, sides, image_size)
    assert masks.shape == (6, 1, *image_size)
    assert masks.dtype == torch.bool
    for mask, corners, lengths in zip(masks[:, 0], starts.tolist(), sides.tolist(), strict=True):
        for voxel in product(*map(range, image_size)):
            inside = any(
                all(start <= place < start + length for place, start, length in zip(voxel, corner, size, strict=True))
                for corner, size in zip(corners, lengths, strict=True)
            )
            assert bool(mask[voxel]) == inside


@pytest.mark.parametrize("image_size", [(12, 9), (8, 6, 5)])
def test_masks_and_boxes_follow_the_global_generator(image_size: tuple[int, ...]) -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        for _ in range(2):
            numbers = (
                draw_grid_masks(5, image_size, [3] * len(image_size), 4, CPU),
                *draw_boxes(5, 2, image_size, (0.2, 0.7), CPU),
            )
            drawn.append(torch.cat([one.flatten() for one in numbers]))
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], drawn[3])
    assert not any(torch.equal(drawn[0], other) for other in (drawn[1], drawn[4]))


def test_boundaries_of_cells_by_hand() -> None:
    assert [end - start for start, end in pairwise(boundaries(10, 3))] == [4, 3, 3]
    mask = draw_grid_masks(200, (10, 10), [3, 3], 4, CPU)
    edges = (mask[:, :, 1:] != mask[:, :, :-1]).any(dim=3).any(dim=0)[0]
    assert edges.nonzero().flatten().tolist() == [3, 6]
