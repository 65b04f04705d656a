"""The tiles along a route, traced back to where they were cut."""

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl.networks import build_backbone
from medssl.pretext.puzzles.route_puzzle import RoutePuzzle

CASES = [  # image, tile (None: the default)
    ((32, 32), None),
    ((31, 45), None),
    ((23, 31), (7, 10)),
    ((14, 20), (7, 10)),  # one place for the crop
    ((24, 24, 24), None),
    ((20, 27, 16), (7, 8, 5)),
    ((16, 16, 6), None),  # few slices
]


def numbered_images(count: int, image_size: tuple[int, ...]) -> Tensor:
    """Images in which every pixel has a number of its own, so that a tile tells where it comes from."""
    size = int(np.prod(image_size))
    assert count * size < 2**24  # exact in float32
    return torch.arange(count * size, dtype=torch.float32).view(count, 1, *image_size)


@pytest.mark.parametrize(("image_size", "tile_size"), CASES)
def test_tiles_lie_on_one_grid_with_half_overlap_and_follow_the_named_route(
    image_size: tuple[int, ...], tile_size: tuple[int, ...] | None
) -> None:
    puzzle = RoutePuzzle(build_backbone("resnet10_quarter", len(image_size)), image_size, tile_size)
    tile = puzzle.tile_size
    images = numbered_images(300, image_size)
    tiles, route = puzzle(images)
    assert tiles.shape == (300, 2 * len(image_size) + 1, 1, *tile)
    crops, drawn = set(), set(route.tolist())
    for b in range(300):
        places = puzzle.routes[route[b]].tolist()
        corners = set()
        for m, place in enumerate(places):
            number = int(tiles[b, m].flatten()[0])
            image, *start = np.unravel_index(number, (300, *image_size))
            assert image == b
            window = tuple(slice(first, first + side) for first, side in zip(start, tile, strict=True))
            assert torch.equal(tiles[b, m, 0], images[b, 0][window])
            # Tiles start at 0, half a tile and a whole tile from the corner of the crop, along each axis.
            offset = [(0, side // 2, side)[step] for step, side in zip(place, tile, strict=True)]
            corners.add(tuple(int(first) - shift for first, shift in zip(start, offset, strict=True)))
        assert len(corners) == 1  # all tiles of an image belong to one crop
        crops |= corners
    free = [side - 2 * length for side, length in zip(image_size, tile, strict=True)]
    for axis, room in enumerate(free):
        assert {crop[axis] for crop in crops} == set(range(room + 1))
    assert len(drawn) > 0.9 * len(puzzle.routes)


@pytest.mark.parametrize(
    ("name", "image_size", "tile_size"),
    [
        ("resnet10_quarter", (224, 224), (98, 98)),  # 7/16 of the image
        ("resnet10_quarter", (64, 64, 32), (28, 28, 14)),
        ("resnet10_quarter", (31, 45), (13, 19)),
        ("densenet121", (64, 128), (29, 56)),  # what the backbone needs
        ("vgg11", (64, 96), (32, 42)),  # up to half the image
    ],
)
def test_default_tiles_fit_the_image_and_the_backbone(
    name: str, image_size: tuple[int, ...], tile_size: tuple[int, ...]
) -> None:
    assert RoutePuzzle(build_backbone(name, len(image_size)), image_size).tile_size == tile_size


def test_the_pool_belongs_to_the_state_and_not_to_the_weights() -> None:
    puzzle = RoutePuzzle(build_backbone("resnet10_quarter", 3), (16, 16, 16), pool_seed=3)
    assert list(puzzle.state_dict()) == ["routes"]
    assert list(puzzle.parameters()) == []
    assert puzzle.routes.shape == (48, 7, 3)
    assert puzzle.route_length == 7
