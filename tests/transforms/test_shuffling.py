"""Windows and their shuffling against loops over voxels."""

from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
import torch

from medssl.transforms import shuffle_within, window_numbers

CASES = [  # image, sides of the windows, offsets
    ((7, 9), (3, 2), (0, 0)),
    ((7, 9), (3, 2), (2, 1)),
    ((8, 8), (8, 8), (0, 0)),  # one window
    ((8, 8), (1, 1), (0, 0)),  # each voxel its own
    ((5, 12), (4, 12), (3, 11)),
    ((4, 6, 5), (2, 3, 2), (0, 0, 0)),
    ((4, 6, 5), (3, 1, 4), (2, 0, 3)),
    ((9, 2, 7), (2, 2, 7), (1, 1, 6)),
]


def windows_by_hand(
    image_size: tuple[int, ...], window_size: tuple[int, ...], offset: tuple[int, ...]
) -> list[tuple[int, ...]]:
    return [
        tuple((place + shift) // side for place, shift, side in zip(voxel, offset, window_size, strict=True))
        for voxel in product(*map(range, image_size))
    ]


@pytest.mark.parametrize(("image_size", "window_size", "offset"), CASES)
def test_windows_tile_the_image_and_are_no_larger_than_asked(
    image_size: tuple[int, ...], window_size: tuple[int, ...], offset: tuple[int, ...]
) -> None:
    # Beside an image of other windows, which must not matter.
    sizes, offsets = torch.tensor([window_size, [2] * len(image_size)]), torch.tensor([offset, [1] * len(image_size)])
    numbers = window_numbers(sizes, offsets, image_size)
    assert numbers.shape == (2, np.prod(image_size))
    assert numbers.dtype == torch.int64
    for row, size, shift in zip(numbers.tolist(), sizes.tolist(), offsets.tolist(), strict=True):
        expected = windows_by_hand(image_size, tuple(size), tuple(shift))
        # The same windows, whatever their numbers: one number for each window and one window for each number.
        assert len(set(zip(row, expected, strict=True))) == len(set(row)) == len(set(expected))
        assert max(Counter(row).values()) <= np.prod(size)
        voxels = defaultdict(list)
        for number, voxel in zip(row, product(*map(range, image_size)), strict=True):
            voxels[number].append(voxel)
        for window in voxels.values():
            lengths = np.ptp(window, axis=0) + 1
            assert (lengths <= size).all()
            assert np.prod(lengths) == len(window)  # a box without gaps


def shuffle_slowly(image: np.ndarray, windows: list[int], keys: list[int]) -> np.ndarray:
    """Window by window: the voxel of the smallest key to the first place, and so on."""
    flat = image.reshape(len(image), -1)
    shuffled = flat.copy()
    for window in set(windows):
        places = [voxel for voxel, number in enumerate(windows) if number == window]
        for place, source in zip(places, sorted(places, key=lambda voxel: keys[voxel]), strict=True):
            shuffled[:, place] = flat[:, source]
    return shuffled.reshape(image.shape)


@pytest.mark.parametrize(("image_size", "window_size", "offset"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_voxels_are_sorted_by_their_keys_within_their_windows(
    image_size: tuple[int, ...], window_size: tuple[int, ...], offset: tuple[int, ...], channels: int
) -> None:
    images = torch.randn(3, channels, *image_size)
    before = images.clone()
    sizes = torch.tensor([window_size, [2] * len(image_size), window_size])
    offsets = torch.tensor([offset, [1] * len(image_size), offset])
    windows = window_numbers(sizes, offsets, image_size)
    keys = torch.randint(2**32, windows.shape)
    keys[:, ::5] = 2**32 - 1 - torch.arange(keys[0, ::5].numel())  # the largest ones there are
    keys[:, 1::7] = torch.arange(keys[0, 1::7].numel())
    shuffled = shuffle_within(images, windows, keys)
    for number in range(3):
        expected = shuffle_slowly(images[number].numpy(), windows[number].tolist(), keys[number].tolist())
        np.testing.assert_array_equal(shuffled[number].numpy(), expected)
    assert torch.equal(images, before)


@pytest.mark.parametrize(("image_size", "window_size"), [((96, 96), (7, 9)), ((40, 40, 20), (5, 4, 3))])
def test_each_window_keeps_exactly_its_voxels_and_their_channels_stay_together(
    image_size: tuple[int, ...], window_size: tuple[int, ...]
) -> None:
    voxels = int(np.prod(image_size))
    image = torch.stack([torch.arange(voxels), torch.arange(voxels) + voxels]).view(1, 2, *image_size)
    windows = window_numbers(torch.tensor([window_size]), torch.tensor([window_size]) // 2, image_size)
    shuffled = shuffle_within(image, windows, torch.randint(2**32, (1, voxels)))[0].flatten(1)
    assert torch.equal(shuffled[1], shuffled[0] + voxels)
    assert torch.equal(shuffled[0].sort().values, torch.arange(voxels))
    assert torch.equal(windows[0, shuffled[0]], windows[0])  # where a voxel comes from is the window it goes to
    stayed = (shuffled[0] == torch.arange(voxels)).float().mean()
    assert stayed < 3 / np.prod(window_size)  # and it is a shuffle
