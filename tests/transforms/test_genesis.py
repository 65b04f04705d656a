"""The distortions of Models Genesis: how many images they change, and what they keep of them."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from medssl.transforms import BezierIntensity, LocalShuffle, Painting, RandomFlips, genesis
from medssl.transforms.boxes import box_masks

DISTORTIONS: list[Callable[[float], Any]] = [
    lambda prob: BezierIntensity(prob),
    lambda prob: LocalShuffle(prob, windows=60),
    lambda prob: Painting(prob, further=1.0),  # else there may be no box at all
]
NAMES = ["bezier", "shuffle", "painting"]
SHAPES = [(1, 24, 24), (3, 14, 22), (1, 12, 12, 12), (2, 16, 10, 7)]  # channels, then the image


def hounsfield(count: int, shape: tuple[int, ...]) -> Tensor:
    return 400 * torch.randn(count, *shape) - 300 * torch.rand(count, *[1] * len(shape))


def changed_images(before: Tensor, after: Tensor) -> Tensor:
    return (before != after).flatten(1).any(dim=1)


@pytest.mark.parametrize("make", DISTORTIONS, ids=NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_share_of_changed_images_is_the_probability(make: Callable[[float], Any], shape: tuple[int, ...]) -> None:
    images = hounsfield(300, shape)
    before = images.clone()
    assert torch.equal(make(0.0)(images), images)
    changed = changed_images(images, make(0.3)(images)).float().mean().item()
    assert changed == pytest.approx(0.3, abs=6 * (0.3 * 0.7 / 300) ** 0.5)
    distorted = make(1.0)(images[:40])
    assert distorted.shape == images[:40].shape
    assert distorted.dtype == images.dtype
    assert changed_images(images[:40], distorted).all()
    assert torch.equal(images, before)  # not in place


def test_with_probability_one_all_images_are_shuffled() -> None:
    images = torch.rand(64, 1, 16, 16)
    assert changed_images(images, LocalShuffle(1.0)(images)).all()


@pytest.mark.parametrize("make", DISTORTIONS, ids=NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_distortions_follow_the_global_generator(make: Callable[[float], Any], shape: tuple[int, ...]) -> None:
    images, distort = hounsfield(6, shape), make(1.0)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(distort(images))
    assert torch.equal(drawn[0], drawn[1])
    assert changed_images(drawn[0], drawn[2]).all()
    assert changed_images(drawn[2], distort(images)).all()
    same = distort(images[:1].expand(6, *shape))  # each image of a batch gets its own numbers
    assert len({tuple(one.flatten().tolist()) for one in same}) == 6


@pytest.mark.parametrize("make", DISTORTIONS, ids=NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_constant_image_stays_as_it_is(make: Callable[[float], Any], shape: tuple[int, ...]) -> None:
    images = torch.full((8, *shape), -1000.3)
    assert torch.equal(make(1.0)(images), images)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("falling", [0.0, 1.0])
def test_curves_are_monotone_functions_of_the_grey_value_over_the_same_range(
    shape: tuple[int, ...], falling: float
) -> None:
    images = torch.randint(-50, 50, (16, *shape)) * 20.0  # most values come several times
    curved = BezierIntensity(1.0, inverted=falling)(images)
    curves = set()
    for before, after in zip(images, curved, strict=True):
        values, inverse = before.unique(return_inverse=True)
        curve = torch.empty_like(values)
        curve[inverse] = after
        assert torch.equal(curve[inverse], after)  # equal values stay equal, in all channels
        assert len(values) < before.numel()
        ends = [values[-1], values[0]] if falling else [values[0], values[-1]]
        torch.testing.assert_close(curve[[0, -1]], torch.stack(ends), atol=2e-3, rtol=0)
        steps = -curve.diff() if falling else curve.diff()
        assert steps.min() >= -2e-3
        curves.add(tuple(((curve - values[0]) / (values[-1] - values[0]))[[20, 50, 80]].tolist()))
    assert len(curves) == 16


def test_as_many_curves_fall_as_asked() -> None:
    images = torch.arange(100.0).view(1, 1, 10, 10).expand(1000, 1, 10, 10)
    curved = BezierIntensity(1.0, inverted=0.3)(images).flatten(1)
    assert (curved[:, 0] > curved[:, -1]).float().mean().item() == pytest.approx(0.3, abs=6 * (0.21 / 1000) ** 0.5)


@pytest.mark.parametrize("image_size", [(40, 40), (12, 60), (30, 20, 10), (24, 24, 1)])
@pytest.mark.parametrize("largest", [0.1, 0.3])
def test_shuffling_moves_no_voxel_out_of_the_largest_window(image_size: tuple[int, ...], largest: float) -> None:
    count, voxels = 40, int(np.prod(image_size))
    numbers = torch.arange(voxels).view(1, 1, *image_size)
    images = torch.cat([numbers, numbers + voxels], dim=1).float().expand(count, 2, *image_size)
    shuffled = LocalShuffle(1.0, largest, windows=500)(images).long()
    assert torch.equal(shuffled[:, 1], shuffled[:, 0] + voxels)  # the channels of a voxel stay together
    origins = torch.unravel_index(shuffled[:, 0], image_size)
    for axis, (origin, side) in enumerate(zip(origins, image_size, strict=True)):
        place = torch.arange(side).view(-1, *[1] * (len(image_size) - axis - 1)).expand(image_size)
        moves = origin - place
        longest = min(side, max(2, int(largest * side)))
        assert moves.abs().max() == longest - 1  # from one end of a window to the other
        if side > 1:  # windows lie anywhere: no border between two neighbours is never crossed
            crossed = (moves == 1).transpose(0, 1 + axis).flatten(1).any(dim=1)
            assert crossed[:-1].all()


@pytest.mark.parametrize("image_size", [(30, 50), (30, 20, 40)])
def test_as_many_windows_are_shuffled_as_asked(image_size: tuple[int, ...]) -> None:
    images = torch.arange(float(np.prod(image_size))).view(1, 1, *image_size).expand(100, 1, *image_size)
    one = LocalShuffle(1.0, 0.3, windows=1)(images)
    for before, after in zip(images[:, 0], one[:, 0], strict=True):
        moved = ndimage.find_objects((before != after).long().numpy())
        for window in moved:  # none where the window is a single voxel
            lengths = [place.stop - place.start for place in window]
            assert all(length <= int(0.3 * side) for length, side in zip(lengths, image_size, strict=True))
            assert torch.equal(before[window].flatten().sort().values, after[window].flatten().sort().values)
    assert changed_images(images, one).float().mean() > 0.8
    shares = [
        (LocalShuffle(1.0, windows=windows)(images[:5]) != images[:5]).float().mean() for windows in (10, 100, 1000)
    ]
    assert shares[0] < shares[1] / 3 < shares[2] / 6


def whole_box(marked: Tensor) -> list[int]:
    """The sides of the box that the marked voxels form; fails where they form none."""
    window = ndimage.find_objects(marked.long().numpy())[0]
    assert marked[window].all()
    return [one.stop - one.start for one in window]


def assert_sides(sides: list[int], image_size: tuple[int, ...], shares: tuple[float, float]) -> None:
    for side, full in zip(sides, image_size, strict=True):
        assert round(shares[0] * full) <= side <= round(shares[1] * full)


@pytest.mark.parametrize("shape", SHAPES)
def test_in_painting_fills_boxes_with_noise_within_the_range_of_the_image(shape: tuple[int, ...]) -> None:
    images = hounsfield(60, shape)
    painted = Painting(1.0, inner=1.0, boxes=1, further=1.0)(images)
    noise = []
    for before, after in zip(images, painted, strict=True):
        different = before != after
        assert torch.equal(different, different.all(dim=0).expand_as(different))  # all channels of a voxel
        assert_sides(whole_box(different[0]), shape[1:], (1 / 6, 1 / 3))
        noise.append(((after - before.min()) / (before.max() - before.min()))[different])
    level = torch.cat(noise)
    assert level.min() >= -1e-6
    assert level.max() <= 1 + 1e-6
    shares = torch.histc(level, 10, 0, 1) / len(level)  # uniform
    assert (shares - 0.1).abs().max() < 6 * (0.09 / len(level)) ** 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_out_painting_leaves_boxes_and_nothing_else(shape: tuple[int, ...]) -> None:
    images = hounsfield(60, shape)
    shares = (3 / 7, 4 / 7)
    one = Painting(1.0, inner=0.0, boxes=1)(images)
    for before, after in zip(images, one, strict=True):
        kept = before == after
        assert torch.equal(kept, kept.all(dim=0).expand_as(kept))
        assert_sides(whole_box(kept[0]), shape[1:], shares)
        span = before.max() - before.min()
        assert after.min() >= before.min() - 1e-6 * span
        assert after.max() <= before.max() + 1e-6 * span
    smallest = np.ones([round(shares[0] * side) for side in shape[1:]])
    several = Painting(1.0, inner=0.0, boxes=5, further=1.0)(images)
    for before, after in zip(images, several, strict=True):
        kept = (before == after)[0].numpy()
        # Every voxel that is left belongs to a box, of which there is at least one.
        assert kept.any()
        assert np.array_equal(ndimage.binary_opening(kept, smallest), kept)
    assert ((several == images).float().mean() > (one == images).float().mean() + 0.05).all()


@pytest.mark.parametrize("values", [{}, {"inner": 0.8}])
def test_as_many_images_are_in_painted_as_asked_and_one_of_five_by_default(values: dict[str, float]) -> None:
    images = torch.rand(1000, 1, 12, 12)
    kept = (Painting(1.0, boxes=1, further=1.0, **values)(images) == images).flatten(1).float().mean(dim=1)
    # A box of noise leaves at least 8/9 of an image, a box that is left at most 49/144.
    assert ((kept > 0.88) | (kept < 0.35)).all()
    expected = values.get("inner", 0.2)  # the authors' `inpaint_rate`
    assert (kept > 0.5).float().mean().item() == pytest.approx(expected, abs=6 * (0.16 / 1000) ** 0.5)


def authors_boxes(random: np.random.Generator, inner: bool) -> int:
    """`image_in_painting` and `image_out_painting` of the authors' code, without what they paint."""
    boxes, left = (0, 5) if inner else (1, 4)
    while left > 0 and random.random() < 0.95:
        boxes, left = boxes + 1, left - 1
    return boxes


@pytest.mark.parametrize("inner", [True, False])
def test_boxes_are_as_many_as_in_the_authors_code(inner: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(starts: Tensor, sides: Tensor, image_size: Any) -> Tensor:
        assert ((sides > 0).all(dim=2) | (sides == 0).all(dim=2)).all()
        seen.extend((sides > 0).all(dim=2).sum(dim=1).tolist())
        return box_masks(starts, sides, image_size)

    monkeypatch.setattr(genesis, "box_masks", look)
    draws = 20_000
    images = torch.rand(draws, 1, 8, 8)
    painted = Painting(1.0, inner=float(inner))(images)
    random = np.random.default_rng(0)
    theirs = np.bincount([authors_boxes(random, inner) for _ in range(draws)], minlength=6) / draws
    ours = np.bincount(seen, minlength=6) / draws
    assert np.abs(ours - theirs).max() < 6 * (2 * 0.25 / draws) ** 0.5
    assert (ours[0] > 0) == inner  # an out-painted image keeps something
    if inner:  # without a box nothing is painted
        assert changed_images(images, painted).tolist() == [number > 0 for number in seen]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("prob", [0.4, 1.0])
def test_images_are_mirrored_as_often_as_in_the_authors_code(shape: tuple[int, ...], prob: float) -> None:
    dims, draws = len(shape) - 1, 4000
    image = torch.randn(shape)
    before = image.expand(draws, *shape).clone()
    mirrored = RandomFlips(prob)(before)
    assert torch.equal(before, image.expand(draws, *shape))
    every_way = list(product((False, True), repeat=dims))
    found = dict.fromkeys(every_way, 0)
    for one in mirrored:
        ways = [way for way in every_way if torch.equal(one, image.flip([1 + axis for axis in np.flatnonzero(way)]))]
        assert len(ways) == 1
        found[ways[0]] += 1
    random, expected = np.random.default_rng(0), dict.fromkeys(every_way, 0)
    for _ in range(draws):  # `data_augmentation`
        way, left = [False] * dims, 3
        while random.random() < prob and left > 0:
            axis = random.integers(dims)
            way[axis], left = not way[axis], left - 1
        expected[tuple(way)] += 1
    for way in every_way:
        assert abs(found[way] - expected[way]) < 6 * (2 * 0.25 * draws) ** 0.5
    if prob == 0.4:
        assert found[(False,) * dims] > draws / 2
    assert RandomFlips(0.0)(mirrored) is mirrored


@pytest.mark.parametrize(
    ("distortion", "wrong"),
    [
        (BezierIntensity, {"prob": 1.1}),
        (BezierIntensity, {"inverted": -0.1}),
        (LocalShuffle, {"prob": -0.1}),
        (LocalShuffle, {"largest": 1.5}),
        (Painting, {"prob": 2}),
        (Painting, {"inner": -1}),
        (Painting, {"further": 1.2}),
        (RandomFlips, {"prob": -0.4}),
        (LocalShuffle, {"windows": 0}),
        (Painting, {"boxes": 0}),
    ],
)
def test_impossible_numbers_are_refused(distortion: type, wrong: dict[str, float]) -> None:
    name, value = next(iter(wrong.items()))
    counted = {"boxes": "at least one box, got 0", "windows": "at least one window, got 0"}
    message = counted.get(name, rf"{name} must lie in 0\.\.1, got {value}")
    with pytest.raises(ValueError, match=message):
        distortion(**wrong)
