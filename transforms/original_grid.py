"""Back from the grid on which a network sees an image to the voxels that the image's file has.

A volume is turned to RAS and resampled before it is seen, and a radiograph resized; what is found there belongs on the
grid of the file: its orientation, spacing and size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform
from nibabel.orientations import inv_ornt_aff, io_orientation
from torch import Tensor

AT_ONCE = 2**25
"""Values, of all classes together, that are resampled in one go: 128 MiB, and a few times as much while it lasts."""
SAME = 1e-4
"""Voxels by which two places may differ and still be one."""
Slabs = Iterator[tuple[int, Tensor]]
"""Where along the last axis a slab begins, and its values ``[C, X, Y, depth]``; the next begins where it ends."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an image lie.

    Attributes:
        shape: voxels along each axis.
        affine: [4, 4] from a voxel to RAS mm; None of a radiograph.
    """

    shape: tuple[int, ...]
    affine: np.ndarray | None = None


class KeepGridd(MapTransform):
    """Note under ``names`` the grid that the image of an item has at this step, as tensors that collate.

    Under ``name_shape`` int64 [dims], under ``name_affine`` float64 [4, 4] where the image has one that counts.

    Args:
        keys: of the images.
        names: of the grid, one a key.
        allow_missing_keys: see MONAI.
    """

    def __init__(self, keys: KeysCollection, names: str | Sequence[str], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.names = [names] if isinstance(names, str) else list(names)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Note the grids of one item."""
        item = dict(data)
        for key, name in self.key_iterator(item, self.names):
            item[f"{name}_shape"] = torch.tensor(item[key].shape[1:])
            if item[key].ndim == 4:
                item[f"{name}_affine"] = item[key].affine.to(torch.float64)
        return item


def grid_of(batch: Mapping[Any, Any], name: str) -> Grid:
    """The grid that `KeepGridd` noted of the one image of a batch."""
    affine = batch.get(f"{name}_affine")
    return Grid(tuple(batch[f"{name}_shape"][0].tolist()), None if affine is None else affine[0].cpu().numpy())


def to_original(
    slabs: Slabs,
    seen: Grid,
    original: Grid,
    decide: Callable[[Tensor], Tensor],
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Bring what was found where the network looked to the voxels of the file, linearly, and decide there.

    Neither all values that were found nor those on the original grid are ever in memory together: slabs come and go.
    That works because of what `medssl.transforms.ResampleVolume` does: voxels of one slice of the turned image lie in
    one slice of what is seen, even where the axes of the file are not perpendicular.

    Args:
        slabs: values on the grid that is seen, one slab after the other along its last axis.
        seen: that grid; a volume's is in RAS order.
        original: the grid of the file.
        decide: what becomes of values ``[C, …]``: ``[…]`` of ``dtype``.
        dtype: of the result.
        device: on which is resampled.

    Returns:
        ``[*original.shape]``, on the CPU.
    """
    if seen.affine is None or original.affine is None:
        values = torch.cat([slab for _, slab in slabs], dim=-1).to(device, torch.float32)
        resized = values
        if seen.shape != original.shape:
            resized = F.interpolate(values[None], original.shape, mode="bilinear", align_corners=False)[0]
        return decide(resized).to("cpu", dtype)
    turn = io_orientation(original.affine)
    order = np.argsort(turn[:, 0])  # of the file's axes, those to the right, front and head
    shape = [original.shape[axis] for axis in order]
    # From a voxel of the turned image to one of what is seen.
    places = np.linalg.inv(seen.affine) @ original.affine @ inv_ornt_aff(turn, original.shape)
    turned = torch.zeros(shape, dtype=dtype)
    for start, stop, values, first in _parts(slabs, places, shape, seen.shape[2]):
        found = _looked_up(values.to(device, torch.float32), places, shape[:2], range(start, stop), first)
        turned[..., start:stop] = decide(found).to("cpu", dtype)
    flips = [place for place, axis in enumerate(order) if turn[axis, 1] < 0]
    return turned.flip(flips).permute(*np.argsort(order).tolist()).contiguous()


def _parts(
    slabs: Slabs, places: np.ndarray, shape: Sequence[int], depth: int
) -> Iterator[tuple[int, int, Tensor, int]]:
    """Slices of the turned image, first and last, with the values between which they lie, and where those begin."""
    scale, offset = places[2, 2], places[2, 3]
    done, kept, first = 0, None, 0
    for begin, slab in slabs:
        values = slab if kept is None else torch.cat([kept, slab], dim=-1)
        first, end = begin if kept is None else first, begin + slab.shape[-1]
        # Those that need no value of a later slab; of the last slab all that are left.
        ready = shape[2] if end == depth else math.floor((end - 1 - offset) / scale + SAME) + 1
        ready = min(max(ready, done), shape[2])
        most = max(1, AT_ONCE // (len(values) * math.prod(shape[:2])))
        for start in range(done, ready, most):
            stop = min(start + most, ready)
            low, high = (math.floor(scale * place + offset) for place in (start, stop - 1))
            low, high = (min(max(place - first, 0), values.shape[-1] - 1) for place in (low - 1, high + 2))
            yield start, stop, values[..., low : high + 1], first + low
        done = ready
        # What comes next lies no lower than this, nor does what it is interpolated from.
        keep = min(max(math.floor(scale * done + offset) - 1 - first, 0), values.shape[-1] - 1)
        kept, first = values[..., keep:].clone(), first + keep


def _looked_up(values: Tensor, places: np.ndarray, plane: Sequence[int], slices: range, first: int) -> Tensor:
    """Values ``[C, X, Y, Z]`` that begin at slice ``first``, looked up for slices of the turned image."""
    moved = places.copy()
    moved[2, 3] -= first
    shape = [*plane, len(slices)]
    start = np.array([0, 0, slices.start, 1])
    if tuple(values.shape[1:]) == tuple(shape) and _is_same(moved, start, shape):
        return values
    matrix = torch.from_numpy(moved[:3, :3]).to(values.device, torch.float32)
    axes = [torch.arange(side, device=values.device, dtype=torch.float32) for side in shape]
    origin = torch.from_numpy(moved @ start).to(values.device, torch.float32)[:3]
    grid = origin + sum(
        axis.view(*[-1 if number == place else 1 for place in range(3)], 1) * matrix[:, number]
        for number, axis in enumerate(axes)
    )
    # torch counts axes from the last, and from -1 to 1 between the centres of the first voxel and the last.
    sides = torch.tensor(values.shape[1:], device=values.device, dtype=torch.float32)
    grid = (2 * grid / (sides - 1).clamp(min=1) - 1).flip(-1)
    return F.grid_sample(values[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True)[0]


def _is_same(places: np.ndarray, start: np.ndarray, shape: Sequence[int]) -> bool:
    """Whether every voxel of a box is looked up at the one of its own number."""
    shifted = places.copy()
    shifted[:, 3] = places @ start
    return bool((np.abs(shifted - np.eye(4))[:3] @ np.array([*shape, 1.0])).max() < SAME)
