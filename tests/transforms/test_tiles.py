"""Cutting tiles against slicing one after the other."""

from itertools import product

import pytest
import torch
from torch import Tensor

from medssl.transforms import cut_tiles, draw_crop_starts


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
