"""Boxes of a network's size that together cover a volume: what it sees of one that is larger than it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import SpatialPad, Transform
from torch import Tensor

from .apply_to_keys import ApplyToKeys

BOXES = ("several", "middle")
"""What a network sees of a volume that is larger than its box."""


def box_starts(shape: Sequence[int], size: Sequence[int], boxes: str = "several") -> list[tuple[int, ...]]:
    """Where the boxes begin: as few as cover a volume, evenly from one end of it to the other, or the middle one alone.

    (MONAI's ``dense_patch_slices`` steps by a fixed stride and moves the last box back, so that it overlaps more.)

    Args:
        shape: of the volume.
        size: of a box.
        boxes: of `BOXES`.

    Returns:
        First voxels along each axis, 0 where the volume is no longer than the box.
    """
    along = []
    for whole, side in zip(shape, size, strict=True):
        count = math.ceil(whole / side) if boxes == "several" else 1
        room = max(whole - side, 0)
        places = np.linspace(0, room, count).round() if count > 1 else [max(whole // 2 - side // 2, 0)]
        along.append([int(place) for place in places])
    return list(product(*along))


class CoveringBoxes(Transform):
    """From a volume [1, *spatial] to N boxes of it, one after the other on the channel axis: [N, *size].

    Args:
        size: sides of a box.
        boxes: of `BOXES`; `middle` is what MONAI's ``ResizeWithPadOrCrop`` gives.
        fill: value outside the volume, which lies in the middle of a box that is longer.
    """

    def __init__(self, size: Sequence[int], boxes: str = "several", fill: float = 0.0) -> None:
        self.size = [int(side) for side in size]
        self.boxes = boxes
        self._pad = SpatialPad(self.size, value=fill)

    def __call__(self, image: Tensor) -> Tensor:
        """Cut one volume."""
        padded = self._pad(image)
        cut = [
            padded[(slice(None), *(slice(first, first + side) for first, side in zip(start, self.size, strict=True)))]
            for start in box_starts(padded.shape[1:], self.size, self.boxes)
        ]
        return torch.cat(cut) if len(cut) > 1 else cut[0]


class CoveringBoxesd(ApplyToKeys):
    """Dictionary form of `CoveringBoxes`."""

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int],
        boxes: str = "several",
        fill: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, CoveringBoxes(size, boxes, fill), allow_missing_keys)
