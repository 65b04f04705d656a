"""Crops about places of an image, such as lesions that a table names by a point or a box.

A place is a box by its corners, lower and upper, ``[2, dims]``; a point has both at one place. Numbers of voxels are
those of their middles: the first is 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from medssl.errors import UserError

from .load_radiograph import ResizeRadiograph

PLACES = "places"
"""The key of an item's places, float64 ``[N, 2, dims]``."""
SPACES = ("voxel", "ras", "lps")
"""In which places are given: in voxels of the file, or in mm, as NIfTI has them (to the right, front and head) or as
DICOM and ITK do (to the left, back and head)."""
SAID = "said"
"""The key of what is to be said of each of an item's places."""
OUTSIDE, LARGER = "outside the image", "larger than its crop"
ROOM = 2
"""How many times as long as the box of a radiograph's lesion the crop about it is, where nobody says."""


def move_places(places: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Places in other coordinates; of a box that is turned the smallest upright one that holds it.

    Args:
        places: ``[N, 2, dims]``.
        affine: ``[dims + 1, dims + 1]``.
    """
    matrix, shift = affine[:-1, :-1], affine[:-1, -1]
    middles, halves = places.mean(axis=1) @ matrix.T + shift, (places[:, 1] - places[:, 0]) / 2 @ np.abs(matrix).T
    return np.stack([middles - halves, middles + halves], axis=1)


def crop_about(image: Tensor, middle: Sequence[float], sides: Sequence[int], fill: float) -> Tensor:
    """A box of ``[1, *spatial]`` as ``[1, *sides]``, as nearly about a middle as voxels allow, filled up outside."""
    starts = [int(np.floor(place - (side - 1) / 2 + 0.5)) for place, side in zip(middle, sides, strict=True)]
    bounds = list(zip(starts, sides, image.shape[1:], strict=True))
    inside = tuple(slice(min(max(first, 0), whole), max(min(first + side, whole), 0)) for first, side, whole in bounds)
    part = image[(slice(None), *inside)]
    around = []
    for (first, side, _), kept, found in zip(bounds, inside, part.shape[1:], strict=True):
        before = kept.start - first if found else side
        around.append((before, side - found - before))
    return F.pad(part, [number for pair in reversed(around) for number in pair], value=fill)


class CropsAbout:
    """From an image ``[1, *spatial]`` to the crops about N places of it, ``[N, *size]``.

    Of a volume a crop has the voxels of the network's box. Of a radiograph, which a network sees whole, it is a square
    of the file's pixels that is resized to what the network takes.

    Args:
        size: of a crop, as the network sees it.
        side: of a radiograph's square, in pixels of the file; None for `ROOM` times the longer side of a box, and for
            `size` itself about a point, whose pixels stay as they are.
        fill: value outside the image; None for the image's lowest.

    Raises:
        UserError: a side for volumes, or one of less than a pixel.
    """

    def __init__(self, size: Sequence[int], side: float | None = None, fill: float | None = None) -> None:
        if side is not None and (len(size) == 3 or side < 1):
            raise UserError(
                f"side is {side:g}, and must be a number of pixels, 1 or more, of radiographs; the crop of a volume is "
                "the network's box, whose voxels have a size in mm: leave it out."
            )
        self.size = [int(side) for side in size]
        self.side = side
        self.fill = fill
        self._resize = ResizeRadiograph(self.size) if len(size) == 2 else None

    def __call__(self, image: Tensor, places: np.ndarray) -> tuple[Tensor, list[str]]:
        """Cut the crops.

        Args:
            image: ``[1, *spatial]``.
            places: ``[N, 2, dims]`` in its voxels.

        Returns:
            ``[N, *size]``; and what is to be said of each place: `OUTSIDE` of the image, `LARGER` than its crop, or "".
        """
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        fill = float(plain.min()) if self.fill is None else self.fill
        shape, crops, said = np.array(image.shape[1:]), [], []
        for lower, upper in places:
            middle, sides = (lower + upper) / 2, self._sides(upper - lower)
            crop = crop_about(plain, middle.tolist(), sides, fill)
            crops.append(self._resize(crop) if self._resize else crop)
            within = bool(((middle >= -0.5) & (middle <= shape - 0.5)).all())
            said.append((LARGER if (upper - lower > np.array(sides)).any() else "") if within else OUTSIDE)
        return torch.cat(crops), said

    def _sides(self, box: np.ndarray) -> list[int]:
        if len(self.size) == 3:
            return self.size
        side = self.side or ROOM * float(box.max())
        return [max(1, round(side))] * 2 if side else self.size


class PlacesInWorldd(MapTransform):
    """Bring an item's `PLACES` from the space in which they are given to RAS mm, by the affine that its volume has now.

    Args:
        keys: of the volume.
        space: of `SPACES`.
        allow_missing_keys: see MONAI.
    """

    def __init__(self, keys: KeysCollection, space: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.space = space

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Move the places of one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            affine = item[key].affine.numpy() if self.space == "voxel" else np.eye(4)
            mirror = np.diag([-1.0, -1, 1, 1]) if self.space == "lps" else np.eye(4)
            item[PLACES] = move_places(item[PLACES], mirror @ affine)
        return item


class CropsAboutd(MapTransform):
    """Dictionary form of `CropsAbout`: the crops take the image's place, with what is to be said of them under `SAID`.

    The places are the item's `PLACES`: of a radiograph in its pixels [row, column], of a volume in RAS mm.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int],
        side: float | None = None,
        fill: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = CropsAbout(size, side, fill)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut the crops of one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            image, places = item[key], item[PLACES]
            if image.ndim == 4:
                places = move_places(places, np.linalg.inv(image.affine.numpy()))
            item[key], item[SAID] = self.transform(image, places)
        return item
