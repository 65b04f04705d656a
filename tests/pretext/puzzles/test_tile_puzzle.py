"""Tiles of jigsaw puzzles and Rubik's cubes, traced back to where they were cut, and their answers written out."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl.networks import Backbone, build_backbone
from medssl.pretext import Jigsaw, PretextOutput, PretextTask, RubiksCube
from medssl.pretext.puzzles import tile_puzzle

BATCH = 3
both_dims = pytest.mark.parametrize("spatial_dims", [2, 3])
SIZES: list[tuple[tuple[int, ...], int, tuple[int, ...] | None]] = [  # image, grid, tile (None: the default)
    ((24, 24), 3, None),
    ((25, 37), 3, None),  # sides that the grid does not divide
    ((21, 18), 2, (7, 5)),
    ((12, 12, 12), 2, None),
    ((13, 18, 10), 2, (4, 7, 3)),
    ((15, 12, 9), 3, (3, 3, 2)),
]
every_size = pytest.mark.parametrize(("image_size", "grid", "tile_size"), SIZES)
TURNS = {2: [(0, 1)], 3: [(1, 2), (0, 2)]}
"""Planes of the half turns: in 3D about the first axis and about the second."""


def numbered_images(count: int, image_size: Sequence[int]) -> Tensor:
    """Images in which every pixel has a number of its own, so that a tile tells where it comes from."""
    size = int(np.prod(image_size))
    assert count * size < 2**24  # exact in float32
    return torch.arange(count * size, dtype=torch.float32).view(count, 1, *image_size)


def draw_plain_and_normalised(
    task: PretextTask, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor, Any]:
    """The same puzzle twice: before its tiles are normalised, so that their pixels' numbers show, and after."""
    torch.manual_seed(2)
    normalised, target = task.puzzle(images)
    with monkeypatch.context() as context:
        context.setattr(tile_puzzle, "normalise_tiles", lambda tiles: tiles)
        torch.manual_seed(2)
        plain, again = task.puzzle(images)
    for one, other in zip(target, again, strict=True):
        assert torch.equal(one, other)
    return plain, normalised, target


def half_turn(tile: np.ndarray, turned: Sequence[bool]) -> np.ndarray:
    for plane, turn in zip(TURNS[tile.ndim], turned, strict=True):
        tile = np.rot90(tile, 2, axes=plane) if turn else tile
    return tile


def check_tile(tile: Tensor, normalised: Tensor, image: Tensor, cell: tuple[int, ...], grid: int) -> tuple[int, ...]:
    """Of one upright tile of numbers: it is a slice of the image inside the cell. Gives its place within the cell."""
    image_size = image.shape[1:]
    number = int(tile.flatten()[0]) - int(image.flatten()[0])
    start = np.unravel_index(number, image_size)
    window = tuple(slice(first, first + side) for first, side in zip(start, tile.shape[1:], strict=True))
    assert torch.equal(tile[0], image[0][window])
    lengths = [side // grid for side in image_size]
    place = tuple(int(first) - of * length for first, of, length in zip(start, cell, lengths, strict=True))
    rooms = [length - side for length, side in zip(lengths, tile.shape[1:], strict=True)]
    assert all(0 <= step <= room for step, room in zip(place, rooms, strict=True))
    values = tile.double().numpy()
    expected = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
    np.testing.assert_allclose(normalised.numpy(), expected, atol=2e-3)  # of numbers in the millions
    return place


@every_size
def test_each_tile_of_a_jigsaw_comes_from_the_cell_that_its_permutation_names(
    image_size: tuple[int, ...], grid: int, tile_size: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = build_backbone("resnet10_quarter", len(image_size))
    task = Jigsaw(backbone, image_size, grid, permutations=20, tile_size=tile_size)
    images = numbered_images(150, image_size)
    tiles, normalised, target = draw_plain_and_normalised(task, images, monkeypatch)
    cells = list(product(range(grid), repeat=len(image_size)))
    assert tiles.shape == (150, len(cells), 1, *task.tiles.tile_size)
    if tile_size is None:
        assert task.tiles.tile_size == tuple(side // grid * 64 // 75 for side in image_size)
    places = set()
    for b in range(150):
        order = task.tiles.permutations[target[b]].tolist()
        assert sorted(order) == list(range(len(cells)))
        for i, cell in enumerate(order):
            places.add(check_tile(tiles[b, i], normalised[b, i], images[b], cells[cell], grid))
    # Every permutation is drawn, and every place within a cell.
    assert set(target.tolist()) == set(range(20))
    rooms = [side // grid - tile for side, tile in zip(image_size, task.tiles.tile_size, strict=True)]
    assert places == set(product(*(range(room + 1) for room in rooms)))
    assert min(rooms) > 0  # there is always a gap to be had


@pytest.mark.parametrize(
    ("image_size", "tile_size"), [((24, 24), None), ((21, 19), (7, 5)), ((12, 12, 12), None), ((13, 18, 10), (4, 7, 3))]
)
def test_each_cube_is_a_piece_of_its_cell_under_the_half_turns_that_are_marked(
    image_size: tuple[int, ...], tile_size: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    dims = len(image_size)
    backbone = build_backbone("resnet10_quarter", dims)
    assert len(RubiksCube(backbone, image_size).tiles.permutations) == {2: 24, 3: 100}[dims]
    task = RubiksCube(backbone, image_size, permutations=20, tile_size=tile_size)
    images = numbered_images(250, image_size)
    cubes, normalised, (number, turned) = draw_plain_and_normalised(task, images, monkeypatch)
    cells = list(product(range(2), repeat=dims))
    assert cubes.shape == (250, 2**dims, 1, *task.tiles.tile_size)
    assert turned.shape == (250, 2**dims, len(TURNS[dims]))
    for b in range(250):
        order = task.tiles.permutations[number[b]].tolist()
        for i, cell in enumerate(order):
            marks = turned[b, i].tolist()
            # A half turn undoes itself.
            upright, upright_normalised = (
                torch.from_numpy(half_turn(one[b, i, 0].numpy(), marks).copy())[None] for one in (cubes, normalised)
            )
            check_tile(upright, upright_normalised, images[b], cells[cell], grid=2)
    assert set(number.tolist()) == set(range(20))
    # Each cube is turned about each axis in half of the cases, whatever the others do.
    flat = turned.flatten(1).double()
    assert (flat.mean(dim=0) - 0.5).abs().max() < 5 * 0.5 / 250**0.5
    assert (np.corrcoef(flat.T.numpy()) - np.eye(flat.shape[1])).max() < 5 / 250**0.5


def test_the_normalised_tile_says_nothing_of_brightness_and_contrast() -> None:
    task = Jigsaw(build_backbone("resnet10_quarter", 2), (48, 48))
    images = torch.rand(4, 2, 48, 48)
    torch.manual_seed(1)
    tiles, _ = task.puzzle(images)
    assert tiles.flatten(2).mean(dim=2).abs().max() < 1e-5
    torch.testing.assert_close(tiles.flatten(2).std(dim=2, unbiased=False), torch.ones(4, 9), rtol=0, atol=1e-3)
    torch.manual_seed(1)
    brighter, _ = task.puzzle(images * 40 + 7)
    torch.testing.assert_close(brighter, tiles, rtol=0, atol=1e-3)
    # A tile without any contrast, such as air, becomes zeros and no division by zero.
    assert torch.equal(task.puzzle(torch.full_like(images, 3))[0], torch.zeros_like(tiles))


def features_of_each(backbone: Backbone, tiles: Tensor) -> Tensor:
    return torch.stack(
        [torch.stack([backbone(tile[None]).flatten(2).mean(dim=2)[0] for tile in image]) for image in tiles]
    )


def answer_twice(task: PretextTask, backbone: Backbone, images: Tensor) -> tuple[PretextOutput, Tensor, Any]:
    """The task's output, and the features of its tiles, seen one by one, with the target that belongs to them."""
    backbone.eval()
    with torch.no_grad():
        torch.manual_seed(6)
        output = task(backbone, images)
        torch.manual_seed(6)
        tiles, target = task.puzzle(images)
        return output, features_of_each(backbone, tiles).double(), target


def slow_linear(layer: torch.nn.Linear, row: Tensor) -> list[float]:
    return (layer.weight.detach().double().numpy() @ row.numpy() + layer.bias.detach().double().numpy()).tolist()


def slow_cross_entropy(scores: list[float], right: int) -> float:
    return math.log(sum(math.exp(score) for score in scores)) - scores[right]


@both_dims
def test_a_jigsaw_is_answered_from_the_features_in_the_order_shown(spatial_dims: int) -> None:
    backbone = build_backbone("resnet10_quarter", spatial_dims)
    task = Jigsaw(backbone, [20, 22, 18][:spatial_dims], grid=2, permutations=10)
    torch.nn.init.normal_(task.head.weight, std=0.05)  # answers that differ clearly
    images = torch.randn(BATCH, 1, *[20, 22, 18][:spatial_dims])
    output, features, target = answer_twice(task, backbone, images)
    losses, answers = [], []
    for b in range(BATCH):
        scores = slow_linear(task.head, torch.cat([features[b, i] for i in range(2**spatial_dims)]))
        losses.append(slow_cross_entropy(scores, int(target[b])))
        answers.append(int(np.argmax(scores)))
    assert output.loss.item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert output.pictures.answer.tolist() == answers
    assert output.metrics["accuracy"].item() == pytest.approx(np.mean(np.array(answers) == target.numpy()))
    assert output.metrics["chance"].item() == pytest.approx(1 / 10)


@both_dims
@pytest.mark.parametrize("turn_weight", [1.0, 0.25])
def test_a_rubiks_cube_is_answered_by_its_order_and_by_the_turns_of_each_cube(
    spatial_dims: int, turn_weight: float
) -> None:
    backbone = build_backbone("resnet10_quarter", spatial_dims)
    task = RubiksCube(backbone, [20, 22, 18][:spatial_dims], turn_weight=turn_weight)
    images = torch.randn(BATCH, 1, *[20, 22, 18][:spatial_dims])
    output, features, (number, turned) = answer_twice(task, backbone, images)
    order_losses, turn_losses, hits, rows = [], [], [], []
    for b in range(BATCH):
        scores = slow_linear(task.order_head, torch.cat(list(features[b])))
        order_losses.append(slow_cross_entropy(scores, int(number[b])))
        row = [int(np.argmax(scores))]
        for i in range(2**spatial_dims):
            for score, turn in zip(slow_linear(task.turn_head, features[b, i]), turned[b, i].tolist(), strict=True):
                probability = 1 / (1 + math.exp(-score))
                turn_losses.append(-math.log(probability if turn else 1 - probability))
                hits.append((probability > 0.5) == turn)
                row.append(int(probability > 0.5))
        rows.append(row)
    assert output.loss.item() == pytest.approx(np.mean(order_losses) + turn_weight * np.mean(turn_losses), rel=1e-4)
    right = np.array([row[0] for row in rows]) == number.numpy()
    assert output.metrics["accuracy"].item() == pytest.approx(right.mean())
    assert output.metrics["chance"].item() == pytest.approx(1 / len(task.tiles.permutations))
    assert output.metrics["turn_accuracy"].item() == pytest.approx(np.mean(hits))
    assert output.metrics["turn_chance"] == 0.5
    assert output.pictures.answer.tolist() == rows
    assert output.pictures.target.tolist() == torch.cat([number[:, None], turned.flatten(1)], dim=1).tolist()


def test_words_name_the_cells_and_mark_the_turns() -> None:
    jigsaw = Jigsaw(build_backbone("resnet10_quarter", 2), (30, 30), permutations=12)
    for number, order in enumerate(jigsaw.tiles.permutations.tolist()):
        assert jigsaw.describe(torch.tensor(number)) == f"from cells {' '.join(str(cell + 1) for cell in order)}"
    flat = RubiksCube(build_backbone("resnet10_quarter", 2), (30, 30))
    flat.tiles.permutations[7] = torch.tensor([2, 0, 3, 1])
    assert flat.describe(torch.tensor([7, 0, 1, 1, 0])) == "from cells 3 1a 4a 2 (a, b: turned)"
    cube = RubiksCube(build_backbone("resnet10_quarter", 3), (20, 20, 20))
    cube.tiles.permutations[99] = torch.tensor([7, 6, 5, 4, 3, 2, 1, 0])
    turns = [0, 0, 1, 0, 0, 1, 1, 1, *[0] * 8]  # about the first axis (a) and about the second (b)
    assert cube.describe(torch.tensor([99, *turns])) == "from cells 8 7a 6b 5ab 4 3 2 1 (a, b: turned)"


@both_dims
def test_the_pool_belongs_to_the_state_and_not_to_the_weights(spatial_dims: int) -> None:
    puzzle = tile_puzzle.TilePuzzle(build_backbone("resnet10_quarter", spatial_dims), [24] * spatial_dims, 2, 24)
    assert list(puzzle.state_dict()) == ["permutations"]
    assert list(puzzle.parameters()) == []
    assert puzzle.tiles == 2**spatial_dims
    assert len({tuple(row) for row in puzzle.permutations.tolist()}) == 24
    # The pool of one puzzle is its own: what is loaded into it reaches no other.
    puzzle.permutations.zero_()
    other = tile_puzzle.TilePuzzle(build_backbone("resnet10_quarter", spatial_dims), [24] * spatial_dims, 2, 24)
    assert sorted(other.permutations[0].tolist()) == list(range(2**spatial_dims))
