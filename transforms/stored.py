"""Prepared images: one compressed, chunked file each, from which a box is read without the rest.

The file is a ``.b2nd`` array of blosc2 of 16-bit integers; a value is ``offset + step × stored``. The step is a power
of two, the smallest that covers the image's range, so integers (HU, 8-bit or 12-bit pixels) are kept exactly, and a
resampled value is off by less than 1/65 535 of the range, which `medssl.readers.plausibility.judge` keeps free of lone
extremes. Why blosc2: a random 96³ box of a 512×512×300 volume takes 7 ms; zarr takes 30 ms with the same compressor and
needs a file for each chunk (``benchmarks/store_crops.py``).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Randomizable, Transform
from monai.transforms.traits import MultiSampleTrait
from torch import Tensor

from medssl.errors import MissingFileError, UserError
from medssl.readers.extreme_values import storage_step

from .apply_to_keys import ApplyToKeys, RandApplyToKeys
from .covering import box_starts

STORED_SUFFIX = ".b2nd"
AIR = -1024.0
"""HU of what lies outside a volume."""
CHUNK_SIDE, BLOCK_SIDE = 64, 16  # of a volume: what is read from disk at once, what is decompressed at once


def write_stored(path: Path, image: np.ndarray, spacing: Sequence[float] | None = None) -> None:
    """Write an image in place; the same image gives the same bytes.

    Args:
        path: the file, whose folder exists.
        image: ``[*spatial]``, finite.
        spacing: sides of a voxel in mm, of a volume.
    """
    offset = float(image.min())
    step = storage_step(float(image.max()) - offset)
    stored = np.rint((image.astype(np.float64) - offset) / step).astype(np.uint16)
    sides = (CHUNK_SIDE, BLOCK_SIDE) if image.ndim == 3 else (max(image.shape), max(image.shape))
    array = blosc2.asarray(
        stored,
        chunks=tuple(min(side, sides[0]) for side in image.shape),
        blocks=tuple(min(side, sides[1]) for side in image.shape),
        urlpath=str(path),
        mode="w",
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 3, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1},
    )
    array.schunk.vlmeta["image"] = {"offset": offset, "step": step, "spacing": spacing and list(map(float, spacing))}


class StoredImage:
    """A prepared image that lies on disk.

    Args:
        path: of the ``.b2nd`` file.

    Attributes:
        shape: its voxels along each axis.
        spacing: sides of a voxel in mm; None for a radiograph.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file is none that ``prepare`` wrote, or is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingFileError(
                f"There is no prepared image {path}: run `medssl prepare` again; it makes what is missing."
            )
        try:
            self._array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
            meta = self._array.schunk.vlmeta["image"]
        except Exception as error:  # blosc2 raises many kinds
            raise self._damaged(error) from error
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.spacing: list[float] | None = meta["spacing"]
        self._offset, self._step = meta["offset"], meta["step"]

    def read(self, start: Sequence[int] | None = None, size: Sequence[int] | None = None) -> np.ndarray:
        """The image, or the box of ``size`` voxels that begins at ``start`` and lies within it; float32."""
        if start is None or size is None:
            start, size = [0] * len(self.shape), self.shape
        box = tuple(slice(first, first + side) for first, side in zip(start, size, strict=True))
        try:
            stored = self._array[box]
        except Exception as error:
            raise self._damaged(error) from error
        return stored.astype(np.float32) * np.float32(self._step) + np.float32(self._offset)

    def _damaged(self, error: Exception) -> UserError:
        return UserError(
            f"{self.path} is no prepared image or is damaged ({type(error).__name__}): remove it and run "
            "`medssl prepare` again."
        )


class LoadStored(Transform):
    """Load a whole prepared image as a float32 tensor [1, *spatial].

    Args:
        size: the voxels along each axis that the network expects; None takes any.

    Raises:
        UserError: see `StoredImage`; or the image has another size.
    """

    def __init__(self, size: Sequence[int] | None = None) -> None:
        self.size = None if size is None else tuple(int(side) for side in size)

    def __call__(self, path: str | Path) -> Tensor:
        """Load the file at ``path``."""
        image = StoredImage(path)
        if self.size is not None and image.shape != self.size:
            sides = "×".join(map(str, image.shape))
            raise UserError(
                f"{path} has {sides} pixels and image_size is {list(self.size)}: prepare the images with "
                f"--size {' '.join(map(str, self.size))}, or leave --image_size out."
            )
        return torch.from_numpy(image.read())[None]


class LoadStoredd(ApplyToKeys):
    """Dictionary form of `LoadStored`: the paths under ``keys`` become tensors [1, *spatial]."""

    def __init__(
        self, keys: KeysCollection, size: Sequence[int] | None = None, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, LoadStored(size), allow_missing_keys)


def _open(path: str | Path, size: Sequence[int]) -> StoredImage:
    image = StoredImage(path)
    if len(image.shape) != len(size):
        raise UserError(
            f"{path} has {len(image.shape)} axes and image_size, {list(size)}, has {len(size)}: prepare images with "
            f"--dims {len(size)}, or train with the bundle for such images."
        )
    return image


def read_box(image: StoredImage, start: Sequence[int], size: Sequence[int], fill: float = AIR) -> Tensor:
    """A box of a prepared image as a float32 tensor [1, *size].

    Args:
        image: to read from; only the chunks that the box touches are read.
        start: the box's first voxel along each axis. It does not count along an axis that is shorter than the
            box: there the image lies in the middle.
        size: sides of the box.
        fill: value outside the image.
    """
    inside = [min(side, whole) for side, whole in zip(size, image.shape, strict=True)]
    first = [place if whole > side else 0 for place, side, whole in zip(start, size, image.shape, strict=True)]
    values = image.read(first, inside)
    if inside == list(size):
        return torch.from_numpy(values)[None]
    box = np.full(size, fill, dtype=np.float32)
    before = [(side - part) // 2 for side, part in zip(size, inside, strict=True)]
    box[tuple(slice(place, place + part) for place, part in zip(before, inside, strict=True))] = values
    return torch.from_numpy(box)[None]


class StoredBoxes(Transform):
    """Load the boxes that together cover a prepared image, see `medssl.transforms.CoveringBoxes`, as [N, *size].

    Args:
        size: sides of a box.
        fill: value outside the image, where it is smaller than the box.
    """

    def __init__(self, size: Sequence[int], fill: float = AIR) -> None:
        self.size = [int(side) for side in size]
        self.fill = fill

    def __call__(self, path: str | Path) -> Tensor:
        """Load from the file at ``path``."""
        image = _open(path, self.size)
        return torch.cat([read_box(image, start, self.size, self.fill) for start in box_starts(image.shape, self.size)])


class StoredBoxesd(ApplyToKeys):
    """Dictionary form of `StoredBoxes`."""

    def __init__(
        self, keys: KeysCollection, size: Sequence[int], fill: float = AIR, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, StoredBoxes(size, fill), allow_missing_keys)


class MiddleStoredCrop(Transform):
    """Load the middle box of a prepared image, the one that MONAI's ``ResizeWithPadOrCrop`` takes, as [1, *size].

    Args:
        size: sides of the box.
        fill: value outside the image.
    """

    def __init__(self, size: Sequence[int], fill: float = AIR) -> None:
        self.size = [int(side) for side in size]
        self.fill = fill

    def __call__(self, path: str | Path) -> Tensor:
        """Load from the file at ``path``."""
        image = _open(path, self.size)
        start = [whole // 2 - side // 2 for whole, side in zip(image.shape, self.size, strict=True)]
        return read_box(image, start, self.size, self.fill)


class MiddleStoredCropd(ApplyToKeys):
    """Dictionary form of `MiddleStoredCrop`."""

    def __init__(
        self, keys: KeysCollection, size: Sequence[int], fill: float = AIR, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, MiddleStoredCrop(size, fill), allow_missing_keys)


class RandStoredCrops(Randomizable, Transform):
    """Load random boxes of a prepared image, without reading the rest of it, as a list of tensors [1, *size].

    Args:
        size: sides of a box.
        samples: boxes of each image.
        fill: value outside the image, where it is smaller than the box.
    """

    def __init__(self, size: Sequence[int], samples: int = 1, fill: float = AIR) -> None:
        self.size = [int(side) for side in size]
        self.samples = samples
        self.fill = fill
        self._places = np.zeros((samples, len(self.size)))

    def randomize(self, data: Any = None) -> None:
        """Draw where the boxes lie, as shares of the room that there is along each axis."""
        self._places = self.R.random_sample(self._places.shape)

    def __call__(self, path: str | Path, randomize: bool = True) -> list[Tensor]:
        """Load from the file at ``path``; with ``randomize=False`` from the same places as last time."""
        if randomize:
            self.randomize()
        image = _open(path, self.size)
        room = np.maximum(np.subtract(image.shape, self.size), 0)
        starts = np.floor(self._places * (room + 1)).astype(int)  # every place is equally likely
        return [read_box(image, start, self.size, self.fill) for start in starts.tolist()]


class RandStoredCropsd(RandApplyToKeys, MultiSampleTrait):
    """Dictionary form of `RandStoredCrops`: an item becomes a list of items, which MONAI's loader joins to a batch.

    All keys of an item share the places of the boxes.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int],
        samples: int = 1,
        fill: float = AIR,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandStoredCrops(size, samples, fill), allow_missing_keys)

    def __call__(  # type: ignore[override]  # one item becomes several
        self, data: Mapping[Hashable, Any]
    ) -> list[dict[Hashable, Any]]:
        """Load the boxes of one item."""
        item = super().__call__(data)
        numbers = range(self.transform.samples)
        return [item | {key: item[key][number] for key in self.key_iterator(item)} for number in numbers]
