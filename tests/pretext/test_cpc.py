"""Contrastive predictive coding: the grid of tiles, what is predicted from what, and its loss written out."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.networks import Backbone, build_backbone
from medssl.pretext import CPC, PretextOutput

BATCH = 2
CASES: list[tuple[tuple[int, ...], int]] = [  # image, grid
    ((16, 16), 3),
    ((23, 19), 4),  # sides that leave room for the crop
    ((8, 12), 3),  # one place for the crop
    ((10, 8, 9), 3),
    ((12, 10, 11), 4),
]
every_size = pytest.mark.parametrize(("image_size", "grid"), CASES)
ANSWERED = [((20, 24), 4), ((16, 16, 18), 3)]  # small tiles of a backbone that is run


def numbered_images(count: int, image_size: Sequence[int]) -> Tensor:
    """Images in which every pixel has a number of its own, so that a tile tells where it comes from."""
    size = int(np.prod(image_size))
    assert count * size < 2**24  # exact in float32
    return torch.arange(count * size, dtype=torch.float32).view(count, 1, *image_size)


def targets(count: int, grid: int, dims: int) -> list[tuple[int, int, int, int]]:
    """For each prediction in its order: the image, the column, the row that is read last, and the row predicted."""
    rows = []
    for distance in range(2, grid):
        for image in range(count):
            for column in range(grid ** (dims - 1)):
                for row in range(grid - distance):
                    rows.append((image, column, row, row + distance))
    return rows


@every_size
def test_tiles_lie_on_one_grid_with_half_overlap(image_size: tuple[int, ...], grid: int) -> None:
    dims, count = len(image_size), 200
    task = CPC(build_backbone("resnet10_quarter", dims), image_size, grid)
    stride = [side // (grid + 1) for side in image_size]
    assert task.tile_size == tuple(2 * step for step in stride)
    images = numbered_images(count, image_size)
    tiles, _ = task.puzzle(images)
    cells = list(product(range(grid), repeat=dims))
    assert tiles.shape == (count, len(cells), 1, *task.tile_size)
    crops = set()
    for b in range(count):
        corners = set()
        for cell, tile in zip(cells, tiles[b], strict=True):  # the first axis runs slowest
            image, *start = np.unravel_index(int(tile.flatten()[0]), (count, *image_size))
            assert image == b
            window = tuple(slice(first, first + 2 * step) for first, step in zip(start, stride, strict=True))
            assert torch.equal(tile[0], images[b, 0][window])
            corners.add(tuple(int(first) - of * step for first, of, step in zip(start, cell, stride, strict=True)))
        assert len(corners) == 1  # all tiles of an image belong to one crop
        crops |= corners
    free = [side - step * (grid + 1) for side, step in zip(image_size, stride, strict=True)]
    for axis, room in enumerate(free):
        assert {crop[axis] for crop in crops} == set(range(room + 1))


@every_size
def test_each_target_is_the_tile_so_many_rows_further_down_and_shows_nothing_that_was_read(
    image_size: tuple[int, ...], grid: int
) -> None:
    dims = len(image_size)
    task = CPC(build_backbone("resnet10_quarter", dims), image_size, grid)
    tiles, target = task.puzzle(numbered_images(BATCH, image_size))
    columns = grid ** (dims - 1)
    expected = targets(BATCH, grid, dims)
    assert target.tolist() == [(image * grid + row) * columns + column for image, column, _, row in expected]
    pixels = [set(tile.flatten().tolist()) for tile in tiles.flatten(0, 1)]
    for number, (image, column, last, _) in zip(target.tolist(), expected, strict=True):
        read = [pixels[(image * grid + row) * columns + column] for row in range(last + 1)]
        assert not pixels[number] & set.union(*read)
    # The row between would have shown half of what is to be predicted.
    assert pixels[0] & pixels[columns]


def run(task: CPC, backbone: Backbone, images: Tensor) -> tuple[PretextOutput, Tensor, Tensor]:
    """The output, all predictions in their order, and the codes of all tiles; nothing is learned or remembered."""
    predictions: list[Tensor] = []
    codes: list[Tensor] = []
    handles = [
        head.register_forward_hook(lambda module, inputs, output: predictions.append(output.flatten(0, 1)))
        for head in task.heads.values()
    ]
    handles.append(task.code.register_forward_hook(lambda module, inputs, output: codes.append(output)))
    backbone.eval()
    torch.manual_seed(4)
    with torch.no_grad():
        output = task(backbone, images)
    for handle in handles:
        handle.remove()
    return output, torch.cat(predictions), codes[0]


@pytest.mark.parametrize(("image_size", "grid"), [((40, 25), 4), ((32, 16, 16), 3)])
def test_a_prediction_sees_its_column_down_to_its_row_and_nothing_else(image_size: tuple[int, ...], grid: int) -> None:
    dims = len(image_size)
    backbone = build_backbone("resnet10_quarter", dims)
    task = CPC(backbone, image_size, grid)
    images = torch.randn(BATCH, 1, *image_size)
    step = image_size[0] // (grid + 1)
    assert tuple(task.covered) == image_size  # one place for the crop, so rows of pixels are rows of tiles
    _, before, _ = run(task, backbone, images)
    expected = targets(BATCH, grid, dims)
    for row in range(grid):
        # Everything below the tiles of this row, in the first image alone.
        changed = images.clone()
        changed[0, :, (row + 2) * step :] += torch.randn_like(changed[0, :, (row + 2) * step :])
        _, after, _ = run(task, backbone, changed)
        difference = (after - before).abs().amax(dim=1)
        for moved, (image, _, last, _) in zip(difference.tolist(), expected, strict=True):
            assert (moved > 1e-3) if (image == 0 and last > row) else (moved < 1e-5)
    # And of the other axis: the right half of the last column's tiles is seen by the last column alone.
    changed = images.clone()
    changed[..., -(image_size[-1] // (grid + 1)) :] += 3
    _, after, _ = run(task, backbone, changed)
    for moved, (_, column, _, _) in zip((after - before).abs().amax(dim=1).tolist(), expected, strict=True):
        assert (moved > 1e-3) if column % grid == grid - 1 else (moved < 1e-5)


@pytest.mark.parametrize(("image_size", "grid"), ANSWERED)
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_loss_is_info_nce_over_all_tiles_of_the_mini_batch(
    image_size: tuple[int, ...], grid: int, temperature: float
) -> None:
    dims = len(image_size)
    backbone = build_backbone("resnet10_quarter", dims)
    task = CPC(backbone, image_size, grid, temperature=temperature)
    images = torch.randn(BATCH, 1, *image_size)
    output, predictions, codes = run(task, backbone, images)
    columns = grid ** (dims - 1)
    assert len(codes) == BATCH * grid**dims
    expected = targets(BATCH, grid, dims)
    assert len(predictions) == len(expected)
    losses, answers = [], []
    directions = F.normalize(codes.double(), dim=1).numpy()
    for prediction, (image, column, _, row) in zip(predictions.double().numpy(), expected, strict=True):
        own = (image * grid + row) * columns + column
        similar = [float(prediction @ code) / np.linalg.norm(prediction) / temperature for code in directions]
        losses.append(math.log(sum(math.exp(one) for one in similar)) - similar[own])
        answers.append(int(np.argmax(similar)))
    assert output.loss.item() == pytest.approx(np.mean(losses), rel=1e-5)
    right = [(image * grid + row) * columns + column for image, column, _, row in expected]
    assert output.metrics["accuracy"].item() == pytest.approx(np.mean(np.equal(answers, right)))
    assert output.metrics["chance"].item() == pytest.approx(1 / len(codes))

    # The picture is the middle column of each image and what was answered for its last tile.
    torch.manual_seed(4)
    tiles, _ = task.puzzle(images)
    middle = columns // 2
    shown = [expected.index((b, middle, grid - 3, grid - 1)) for b in range(BATCH)]
    assert output.pictures.target.tolist() == [right[number] for number in shown]
    assert output.pictures.answer.tolist() == [answers[number] for number in shown]
    for b in range(BATCH):
        column = torch.stack([tiles[b, row * columns + middle, 0] for row in range(grid)])
        assert torch.equal(output.pictures.panels[b], column)
    assert task.describe(output.pictures.target[1]) == f"row {grid}, column {middle + 1} of image 2"


@pytest.mark.parametrize(("image_size", "grid"), ANSWERED)
def test_each_distance_has_a_layer_of_its_own_on_the_state_after_the_row(
    image_size: tuple[int, ...], grid: int
) -> None:
    dims = len(image_size)
    backbone = build_backbone("resnet10_quarter", dims)
    task = CPC(backbone, image_size, grid, hidden_channels=32)
    images = torch.randn(BATCH, 1, *image_size)
    _, predictions, codes = run(task, backbone, images)
    torch.manual_seed(4)
    tiles, _ = task.puzzle(images)
    columns = grid ** (dims - 1)
    with torch.no_grad():
        features = backbone(tiles.flatten(0, 1)).flatten(2).mean(dim=2).view(BATCH, grid, columns, -1)
        for code, feature in zip(codes, features.view(len(codes), -1), strict=True):
            torch.testing.assert_close(code, task.code(feature), rtol=1e-4, atol=1e-5)
        for prediction, (image, column, last, row) in zip(predictions, targets(BATCH, grid, dims), strict=True):
            _, state = task.recurrent(features[image, : last + 1, column][None])
            slow = task.heads[str(row - last)](state[0, 0])
            torch.testing.assert_close(prediction, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "image_size", "grid", "tile_size"),
    [
        ("resnet10_quarter", (224, 224), 7, (56, 56)),  # as the original
        ("resnet10_quarter", (64, 64, 40), 4, (24, 24, 16)),
        ("vgg11", (128, 160), 7, (32, 40)),  # as many as leave tiles that the backbone can take
        ("vgg11", (127, 160), 6, (36, 44)),
        ("vgg11", (64, 224), 3, (32, 112)),
        ("vgg11", (70, 96, 96), 3, (34, 48, 48)),
        ("densenet121", (90, 90), 5, (30, 30)),
    ],
)
def test_the_default_grid_fits_the_image_and_the_backbone(
    name: str, image_size: tuple[int, ...], grid: int, tile_size: tuple[int, ...]
) -> None:
    task = CPC(build_backbone(name, len(image_size)), image_size)
    assert (task.grid, task.tile_size) == (grid, tile_size)
    assert list(task.heads) == [str(distance) for distance in range(2, grid)]


@pytest.mark.parametrize(
    "name",
    [
        "densenet121",  # its 29 is odd, tiles are even
        "vgg11",
    ],
)
def test_the_default_grid_is_refused_only_where_the_smallest_is(name: str) -> None:
    backbone = build_backbone(name, 2)
    for side in range(50, 140):
        smallest_fits = 2 * (side // 4) >= backbone.smallest_side
        if smallest_fits:
            CPC(backbone, (side, side))
        else:
            with pytest.raises(ValueError, match="3 half-overlapping tiles"):
                CPC(backbone, (side, side))
