"""The windows of local shuffling, one after the other in loops over voxels, and as a distribution."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from medssl.transforms import LocalShuffle
from medssl.transforms.shuffling import (
    KEYS,
    draw_keys,
    draw_windows,
    key_type,
    last_windows,
    seen_voxels,
    shuffle_within,
)

CASES = [  # image, longest sides, windows in each of three images
    ((7, 9), (3, 2), 5),  # much stays uncovered
    ((7, 9), (3, 4), 60),
    ((8, 8), (8, 8), 30),  # up to the whole image: many leave no trace
    ((8, 8), (1, 1), 20),  # single voxels
    ((5, 12), (4, 12), 1),
    ((12, 1), (5, 1), 9),
    ((4, 6, 5), (2, 3, 2), 40),
    ((9, 2, 7), (1, 2, 7), 25),
    ((3, 4, 9), (3, 1, 8), 12),
]
Window = tuple[int, list[int]]
"""Its number, counted through the batch, and its voxels in the order of memory."""


def windows_by_hand(starts: Tensor, sides: Tensor, image_size: tuple[int, ...]) -> list[Window]:
    found = []
    for image, (some_starts, some_sides) in enumerate(zip(starts.tolist(), sides.tolist(), strict=True)):
        for start, side in zip(some_starts, some_sides, strict=True):
            places = product(*(range(first, first + length) for first, length in zip(start, side, strict=True)))
            flat = [int(np.ravel_multi_index(place, image_size)) for place in places]
            found.append((len(found), [image * int(np.prod(image_size)) + voxel for voxel in flat]))
    return found


def last_by_hand(windows: list[Window], voxels: int) -> list[int]:
    last = [-1] * voxels
    for number, covered in windows:
        for voxel in covered:
            last[voxel] = number
    return last


def shuffle_by_hand(images: np.ndarray, windows: list[Window], keys: dict[tuple[int, int], int]) -> np.ndarray:
    """Window by window, as published: permute the original's voxels, by their keys, and overwrite."""
    original = np.moveaxis(images, 1, -1).reshape(-1, images.shape[1])  # a row for each voxel of the batch
    shuffled = original.copy()
    for number, covered in windows:
        for place, source in zip(covered, sorted(covered, key=lambda voxel: keys[number, voxel]), strict=True):
            shuffled[place] = original[source]
    return np.moveaxis(shuffled.reshape(len(images), *images.shape[2:], -1), -1, 1)


@pytest.mark.parametrize(("image_size", "longest", "windows"), CASES)
@pytest.mark.parametrize(("channels", "dtype"), [(1, torch.int32), (3, torch.int64)])
def test_shuffling_is_the_windows_one_after_the_other(
    image_size: tuple[int, ...], longest: tuple[int, ...], windows: int, channels: int, dtype: torch.dtype
) -> None:
    images = torch.randn(3, channels, *image_size)
    before = images.clone()
    starts, sides = draw_windows(3, windows, longest, image_size, images.device)
    by_hand = windows_by_hand(starts, sides, image_size)

    last = last_windows(starts, sides, image_size)
    assert last.tolist() == last_by_hand(by_hand, 3 * int(np.prod(image_size)))

    window, voxel = seen_voxels(last, starts, sides, image_size)
    seen = [(number, covered) for number, covered in by_hand if number in set(last.tolist())]
    entries = list(zip(window.tolist(), voxel.tolist(), strict=True))
    assert entries == [(number, one) for number, covered in seen for one in covered]

    keys = KEYS // 2 - 1 - torch.randperm(len(entries), dtype=torch.int16)  # the largest ones there are
    keys[::3] = torch.randperm(len(entries), dtype=torch.int16)[::3] - KEYS // 2  # and the smallest
    chosen = dict(zip(entries, keys.tolist(), strict=True))
    shuffled = shuffle_within(images, last, window.to(dtype), voxel, keys)
    np.testing.assert_array_equal(shuffled.numpy(), shuffle_by_hand(images.numpy(), seen, chosen))
    assert torch.equal(images, before)


@pytest.mark.parametrize(("image_size", "longest"), [((20, 9), (5, 2)), ((6, 12, 3), (3, 1, 3))])
def test_all_sides_and_all_places_of_a_window_are_equally_likely(
    image_size: tuple[int, ...], longest: tuple[int, ...]
) -> None:
    starts, sides = draw_windows(5, 4000, longest, image_size, torch.device("cpu"))
    assert starts.shape == sides.shape == (5, 4000, len(image_size))
    for axis, (whole, most) in enumerate(zip(image_size, longest, strict=True)):
        side, start = sides[..., axis].flatten(), starts[..., axis].flatten()
        for length in range(1, most + 1):
            places, times = start[side == length].unique(return_counts=True)
            assert places.tolist() == list(range(whole - length + 1))
            expected = 20_000 / most / len(places)
            assert (times - expected).abs().max() < 6 * expected**0.5
        assert side.amax() == most


def published(image: np.ndarray, windows: int, random: np.random.Generator) -> np.ndarray:
    """Zhou et al. 2019, Sec. 2.2, in numpy: a window at a time."""
    shuffled = image.copy()
    for _ in range(windows):
        sides = [int(random.integers(1, side // 10, endpoint=True)) for side in image.shape]
        starts = [
            int(random.integers(whole - side, endpoint=True)) for whole, side in zip(image.shape, sides, strict=True)
        ]
        box = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
        shuffled[box] = random.permutation(image[box].ravel()).reshape(sides)
    return shuffled


def movements(shuffled: np.ndarray) -> list[float]:
    """Of an image whose voxels are their numbers: share in place, squared way along each axis, share left."""
    origin = np.stack(np.unravel_index(shuffled.ravel(), shuffled.shape)).reshape(-1, *shuffled.shape)
    moves = origin - np.indices(shuffled.shape)
    in_place, at_the_edge = (float((each == 0).all(axis=0).mean()) for each in (moves, moves[:, 0]))
    along = [float((move**2).mean()) for move in moves]
    return [in_place, at_the_edge, *along, len(np.unique(shuffled)) / shuffled.size]


@pytest.mark.parametrize(("image_size", "windows"), [((40, 60), 300), ((40, 60), 1500), ((20, 30, 40), 1000)])
def test_voxels_move_as_in_the_published_generator(image_size: tuple[int, ...], windows: int) -> None:
    draws, random = 16, np.random.default_rng(0)
    numbers = np.arange(np.prod(image_size)).reshape(image_size)
    batch = torch.from_numpy(numbers)[None, None].expand(2 * draws, 1, *image_size)
    ours = np.array([movements(one[0]) for one in LocalShuffle(1.0, windows=windows)(batch).numpy()])
    theirs = np.array([movements(published(numbers, windows, random)) for _ in range(draws)])
    error = np.hypot(ours.std(axis=0, ddof=1) / len(ours) ** 0.5, theirs.std(axis=0, ddof=1) / draws**0.5)
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 5 * error).all()
    assert (error < 0.1 * theirs.mean(axis=0)).all()  # close enough to tell other distributions apart


@pytest.mark.parametrize("count", [1, 4, 200_003])
def test_all_keys_are_equally_likely_and_come_from_the_global_generator(count: int) -> None:
    torch.manual_seed(3)
    keys = draw_keys(count, torch.device("cpu"))
    assert (keys.dtype, keys.shape) == (torch.int16, (count,))
    torch.manual_seed(3)
    assert torch.equal(keys, draw_keys(count, torch.device("cpu")))
    if count > KEYS:
        bits = torch.stack([keys.int() >> bit & 1 for bit in range(16)]).double()
        assert (bits.mean(dim=1) - 0.5).abs().max() < 5 * 0.5 / count**0.5
        assert (torch.corrcoef(bits).fill_diagonal_(0).abs() < 5 / count**0.5).all()
        following = torch.corrcoef(torch.stack([keys[:-1], keys[1:]]).double())[0, 1]
        assert following.abs() < 5 / count**0.5
        times = torch.bincount(keys.int() + KEYS // 2, minlength=KEYS)
        assert len(times) == KEYS
        assert ((times - count / KEYS) ** 2).sum() / (count / KEYS) < KEYS + 5 * (2 * KEYS) ** 0.5  # chi squared


def test_the_type_of_the_keys_holds_the_last_window_and_the_largest_key() -> None:
    assert key_type(2**15) == torch.int32
    assert torch.iinfo(torch.int32).max > (2**15 - 1) * KEYS + KEYS // 2 - 1
    assert key_type(2**15 + 1) == torch.int64


@pytest.mark.parametrize("image_size", [(24, 24), (12, 12, 12)])
def test_every_permutation_of_a_window_is_equally_likely(image_size: tuple[int, ...]) -> None:
    voxels = int(np.prod(image_size))
    images = torch.arange(voxels).view(1, 1, *image_size).expand(6000, 1, *image_size)
    window = torch.ones(6000, 1, len(image_size), dtype=torch.int64)
    window[..., 0] = 4  # a column of four voxels
    starts = torch.zeros_like(window)
    last = last_windows(starts, window, image_size)
    entries = seen_voxels(last, starts, window, image_size)
    shuffled = shuffle_within(images, last, *entries, draw_keys(len(entries[0]), images.device))
    _, times = shuffled.flatten(1)[:, : 4 * voxels // image_size[0] : voxels // image_size[0]].unique(
        dim=0, return_counts=True
    )
    assert len(times) == 24
    assert (times - 250).abs().max() < 6 * 250**0.5
    assert (shuffled == images).flatten(1).sum(dim=1).min() == voxels - 4
