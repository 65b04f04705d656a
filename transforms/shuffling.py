"""Local shuffling: voxels change places within thousands of small windows (Zhou et al. 2019, Sec. 2.2).

The published generator takes one window after the other, permutes the *original* image's voxels within it and writes
them into the result, where later windows overwrite earlier ones. So a voxel ends as its partner in the permutation of
the last window that covers it. Here all windows are handled together, in four steps: draw them, find each voxel's last
window, list the voxels of the windows that are seen at all, and permute these by one sort.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

KEYS = 2**16
"""How many random numbers there are to order a window's voxels. Two voxels get the same, and keep their order, once in
65 536 times."""


def draw_windows(
    batch_size: int, windows: int, longest: Sequence[int], image_size: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Windows of 1 to ``longest`` voxels along each axis, wholly inside their image, all equally likely.

    Returns:
        Starts and sides in voxels, both ``[B, windows, spatial_dims]`` (int64).
    """
    random = torch.rand(2, batch_size, windows, len(image_size), device=device)
    sides = 1 + (random[0] * torch.tensor(longest, device=device)).long()
    starts = (random[1] * (torch.tensor(image_size, device=device) - sides + 1)).long()
    return starts, sides


def last_windows(starts: Tensor, sides: Tensor, image_size: Sequence[int]) -> Tensor:
    """The last window that covers each voxel.

    A window is a set of lines along the last axis, and a line the union of two spans whose length is a power of two.
    Only the spans' first voxels are marked, in a table for each length; then long spans are halved into shorter ones.
    That takes much fewer writes than a window has voxels: with 10 000 windows, 0.23 against 1.3 million at 224².

    Args:
        starts: ``[B, windows, spatial_dims]``.
        sides: of the same shape, at least 1.
        image_size: spatial shape.

    Returns:
        ``[B * voxels]`` (int32), counted through the batch: window w of image b is ``b * windows + w``; -1 for none.
    """
    everything = torch.arange(starts.shape[:2].numel(), device=starts.device)
    window, voxel = _voxels(everything, starts, sides, image_size, axes=len(image_size) - 1)
    length = sides[..., -1].flatten().gather(0, window.long())
    powers = 2 ** torch.arange(int(length.max()).bit_length(), device=starts.device)
    level = torch.bucketize(length, powers, right=True) - 1
    table = torch.full((len(powers), len(starts) * prod(image_size)), -1, dtype=torch.int32, device=starts.device)
    for first in (voxel, voxel + length - powers[level]):
        table.view(-1).scatter_reduce_(0, level * table.shape[1] + first, window, "amax")
    for longer in range(len(powers) - 1, 0, -1):
        half = 2 ** (longer - 1)
        spans, halves = table[longer], table[longer - 1]
        torch.maximum(halves, spans, out=halves)
        torch.maximum(halves[half:], spans[:-half], out=halves[half:])
    return table[0]


def seen_voxels(last: Tensor, starts: Tensor, sides: Tensor, image_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """All voxels of those windows that are the last one of any voxel; the others leave no trace.

    Args:
        last: of :func:`last_windows`, as ``[B * voxels]``.
        starts, sides, image_size: its arguments.

    Returns:
        The windows in rising order (of :func:`key_type`), each as often as it has voxels, and these voxels (int32);
        both counted through the batch.
    """
    windows = starts.shape[:2].numel()
    times = torch.bincount(last + 1, minlength=windows + 1)[1:]
    window, voxel = _voxels(times.nonzero()[:, 0], starts, sides, image_size, axes=len(image_size))
    return window.to(key_type(windows)), voxel


def key_type(windows: int) -> torch.dtype:
    """The smaller of the two integer types that hold the number of a window and a key; it sorts twice as fast."""
    return torch.int32 if windows * KEYS <= 2**31 else torch.int64


def draw_keys(count: int, device: torch.device) -> Tensor:
    """Random int16, all ``KEYS`` equally likely; drawn in fours, in a fifth of the time of ``torch.randint``."""
    fours = torch.empty(-(-count // 4), dtype=torch.int64, device=device).random_(-(2**63), None)
    return fours.view(torch.int16)[:count]


def shuffle_within(images: Tensor, last: Tensor, window: Tensor, voxel: Tensor, keys: Tensor) -> Tensor:
    """Permute the voxels of each window; all channels of a voxel stay together.

    Within a window the voxel of the smallest key moves to the first place, and so on. A voxel takes part in the
    permutations of all windows that cover it, with its original value; the last window's is the one that is kept.

    Args:
        images: ``[B, C, *spatial]``.
        last: of :func:`last_windows`.
        window, voxel: of :func:`seen_voxels`.
        keys: of :func:`draw_keys`, one for each entry of ``voxel``.
    """
    order = (window * KEYS + keys).argsort()
    place = voxel.long()
    kept = last.gather(0, place) == window
    source = torch.arange(len(last) + 1, dtype=voxel.dtype, device=last.device)
    # What is not kept goes to one more place at the end: leaving it out first takes twice as long.
    source.scatter_(0, torch.where(kept, place, len(last)), voxel.gather(0, order))
    flat = images.flatten(2)
    first = flat.shape[2] * torch.arange(len(images), device=last.device)
    within = source[:-1].view(len(images), 1, -1) - first[:, None, None]
    return flat.gather(2, within.expand_as(flat)).view_as(images)


def _voxels(
    window: Tensor, starts: Tensor, sides: Tensor, image_size: Sequence[int], axes: int
) -> tuple[Tensor, Tensor]:
    """The voxels of some windows along the first ``axes`` axes, where they start along the others; see seen_voxels."""
    strides = [prod(image_size[axis + 1 :]) for axis in range(len(image_size))]
    voxel = (starts * torch.tensor(strides, device=starts.device)).sum(dim=2)
    voxel = voxel + prod(image_size) * torch.arange(len(starts), device=starts.device)[:, None]
    voxel, all_sides = voxel.flatten().gather(0, window).int(), sides.int()
    for axis in range(axes):  # each voxel becomes a line, whose voxels become lines
        length = all_sides[..., axis].flatten().gather(0, window.long())
        line = torch.repeat_interleave(length)
        before = length.cumsum(0, dtype=length.dtype) - length
        along = strides[axis] * torch.arange(len(line), dtype=voxel.dtype, device=starts.device)
        voxel = (voxel - strides[axis] * before).gather(0, line) + along
        window = window.int().gather(0, line)
    return window.int(), voxel
