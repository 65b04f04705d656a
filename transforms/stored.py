"""Prepared images: one compressed, chunked file each, from which a box is read without the rest.

The file is a ``.b2nd`` array of blosc2 of 16-bit integers; a value is ``offset + step × stored``. The step is a power
of two, the smallest that covers the image's range, so integers (HU, 8-bit or 12-bit pixels) are kept exactly, and a
resampled value is off by less than 1/65 535 of the range, which `medssl.readers.plausibility.judge` keeps free of lone
extremes. Why blosc2: a random 96³ box of a 512×512×300 volume takes 7 ms; zarr takes 30 ms with the same compressor and
needs a file for each chunk (``benchmarks/store_crops.py``).

A mask lies beside its image in a file of the same form, whose whole numbers are the bits of `pack_bits`; with it some
voxels of each class, so that a box about one of them is chosen without reading the mask.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, Transform
from monai.transforms.traits import MultiSampleTrait
from torch import Tensor

from medssl.errors import MissingFileError, UserError
from medssl.readers.extreme_values import storage_step

from .apply_to_keys import ApplyToKeys, RandApplyToKeys
from .covering import box_starts
from .mask_bits import pack_bits

STORED_SUFFIX = ".b2nd"
BIT_ORDER = "bit_order"
"""The key of an item whose network has other classes than its mask; see `ReorderBitsd`."""
AIR = -1024.0
"""HU of what lies outside a volume."""
CHUNK_SIDE, BLOCK_SIDE = 64, 16  # of a volume: what is read from disk at once, what is decompressed at once
_PLACE = np.dtype("<u2")
MOST_VOXELS = 1000
"""Voxels of each class that a stored mask knows the places of."""


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
    array = _write(path, stored)
    array.schunk.vlmeta["image"] = {"offset": offset, "step": step, "spacing": spacing and list(map(float, spacing))}


def write_stored_mask(path: Path, bits: np.ndarray, spacing: Sequence[float] | None = None) -> None:
    """Write a mask in place; the same mask gives the same bytes.

    Args:
        path: the file, whose folder exists.
        bits: ``[*spatial]`` of `pack_bits`, on the grid of the prepared image.
        spacing: sides of a voxel in mm, of a volume.
    """
    array = _write(path, bits)
    there = int(np.bitwise_or.reduce(bits, axis=None))
    voxels = {number: _some_voxels(bits >> number & 1) for number in range(64) if there >> number & 1}
    counts = {str(number): len(places) for number, places in voxels.items()}
    array.schunk.vlmeta["mask"] = {"spacing": spacing and list(map(float, spacing)), "voxels": counts}
    places = np.concatenate([np.empty((0, bits.ndim), int), *voxels.values()])
    # Not by `vlmeta[…] =`: several threads would write in another order each time. An entry a class: there is no room.
    array.schunk.vlmeta.set_vlmeta("voxels", places.astype(_PLACE).tobytes(), typesize=_PLACE.itemsize, nthreads=1)


def _some_voxels(mask: np.ndarray) -> np.ndarray:
    """The places of up to `MOST_VOXELS` [N, dims], evenly from the first to the last."""
    places = np.flatnonzero(mask)
    some = places[np.linspace(0, len(places) - 1, min(len(places), MOST_VOXELS)).astype(int)]
    return np.stack(np.unravel_index(some, mask.shape), axis=1)


def _write(path: Path, values: np.ndarray) -> Any:
    """Write whole numbers in chunks."""
    sides = (CHUNK_SIDE, BLOCK_SIDE) if values.ndim == 3 else (max(values.shape), max(values.shape))
    return blosc2.asarray(
        values,
        chunks=tuple(min(side, sides[0]) for side in values.shape),
        blocks=tuple(min(side, sides[1]) for side in values.shape),
        urlpath=str(path),
        mode="w",
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 3, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1},
    )


class StoredImage:
    """A prepared image that lies on disk, or a prepared mask.

    Args:
        path: of the ``.b2nd`` file.

    Attributes:
        shape: its voxels along each axis.
        spacing: sides of a voxel in mm; None for a radiograph.
        is_mask: whether it is a mask, whose values are whole numbers.

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
            self.is_mask = "mask" in self._array.schunk.vlmeta
            meta = self._array.schunk.vlmeta["mask" if self.is_mask else "image"]
        except Exception as error:  # blosc2 raises many kinds
            raise self._damaged(error) from error
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.spacing: list[float] | None = meta["spacing"]
        self._offset, self._step = meta.get("offset", 0), meta.get("step", 1)

    def read(self, start: Sequence[int] | None = None, size: Sequence[int] | None = None) -> np.ndarray:
        """The image, or the box of ``size`` voxels that begins at ``start`` and lies within it.

        Returns:
            float32; of a mask the bits, in the dtype of `bits_dtype`.
        """
        if start is None or size is None:
            start, size = [0] * len(self.shape), self.shape
        box = tuple(slice(first, first + side) for first, side in zip(start, size, strict=True))
        try:
            stored = self._array[box]
        except Exception as error:
            raise self._damaged(error) from error
        if self.is_mask:
            return stored
        return stored.astype(np.float32) * np.float32(self._step) + np.float32(self._offset)

    def voxels(self, number: int) -> np.ndarray:
        """Of a mask the places of some voxels of a class [N, dims], spread over all of it; none where it is not."""
        return self._voxels.get(number, np.empty((0, len(self.shape)), int))

    @cached_property
    def _voxels(self) -> dict[int, np.ndarray]:
        meta = self._array.schunk.vlmeta
        counts = meta["mask"]["voxels"] if self.is_mask else {}
        if not counts:
            return {}
        places = np.frombuffer(meta.get_vlmeta("voxels"), _PLACE).reshape(-1, len(self.shape)).astype(int)
        return dict(zip(map(int, counts), np.split(places, np.cumsum([*counts.values()])[:-1]), strict=True))

    def _damaged(self, error: Exception) -> UserError:
        return UserError(
            f"{self.path} is no prepared image or is damaged ({type(error).__name__}): remove it and run "
            "`medssl prepare` again."
        )


class LoadStored(Transform):
    """Load a whole prepared image as a float32 tensor [1, *spatial], or a mask as one of whole numbers.

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
    """A box of a prepared image as a float32 tensor [1, *size], or of a mask as one of whole numbers.

    Args:
        image: to read from; only the chunks that the box touches are read.
        start: the box's first voxel along each axis. It does not count along an axis that is shorter than the
            box: there the image lies in the middle.
        size: sides of the box.
        fill: value outside the image; outside a mask there is no class.
    """
    inside = [min(side, whole) for side, whole in zip(size, image.shape, strict=True)]
    first = [place if whole > side else 0 for place, side, whole in zip(start, size, image.shape, strict=True)]
    values = image.read(first, inside)
    if inside == list(size):
        return torch.from_numpy(values)[None]
    box = np.full(size, 0 if image.is_mask else fill, dtype=values.dtype)
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
        foreground: share of boxes that lie about a voxel of a class, where a mask is given; nnU-Net's oversampling of
            the foreground (Isensee et al. 2021, Methods) has a third.
    """

    def __init__(self, size: Sequence[int], samples: int = 1, fill: float = AIR, foreground: float = 0.0) -> None:
        if not 0 <= foreground <= 1:
            raise UserError(f"foreground is the share of boxes about a class, from 0 to 1, and not {foreground!r}.")
        self.size = [int(side) for side in size]
        self.samples = samples
        self.fill = fill
        self.foreground = foreground
        self._places = np.zeros((samples, len(self.size)))
        self._choices = np.ones((samples, 3))

    def randomize(self, data: Any = None) -> None:
        """Draw where the boxes lie, as shares of the room that there is along each axis; whether about a class, which
        one and which of its voxels, likewise.
        """
        self._places = self.R.random_sample(self._places.shape)
        if self.foreground:
            self._choices = self.R.random_sample(self._choices.shape)

    def starts(self, image: StoredImage, mask: StoredImage | None = None, classes: Sequence[int] = ()) -> np.ndarray:
        """Where the boxes begin in an image, by the numbers drawn last [samples, dims].

        Args:
            image: whose boxes they are.
            mask: of it.
            classes: numbers of those about which boxes may lie; one of them is as likely as another, and so is each
                of the voxels that the mask knows of it. Where the mask has none of them the boxes lie anywhere.
        """
        room = np.maximum(np.subtract(image.shape, self.size), 0)
        starts = np.floor(self._places * (room + 1)).astype(int)  # every place is equally likely
        voxels = [mask.voxels(number) for number in classes] if mask and self.foreground else []
        voxels = [places for places in voxels if len(places)]
        for box, (chance, of_classes, of_voxels) in enumerate(self._choices if voxels else ()):
            if chance < self.foreground:
                places = voxels[int(of_classes * len(voxels))]
                middle = places[int(of_voxels * len(places))]
                starts[box] = np.clip(middle - np.array(self.size) // 2, 0, room)
        return starts

    def __call__(self, path: str | Path, randomize: bool = True) -> list[Tensor]:
        """Load from the file at ``path``; with ``randomize=False`` from the same places as last time."""
        if randomize:
            self.randomize()
        image = _open(path, self.size)
        return self.read(image, self.starts(image))

    def read(self, image: StoredImage, starts: np.ndarray) -> list[Tensor]:
        """The boxes of an image or mask that begin there."""
        return [read_box(image, start, self.size, self.fill) for start in starts.tolist()]


class RandStoredCropsd(RandApplyToKeys, MultiSampleTrait):
    """Dictionary form of `RandStoredCrops`: an item becomes a list of items, which MONAI's loader joins to a batch.

    All keys of an item share the places of the boxes. With a share of ``foreground`` the item's mask is that under
    ``mask_key``, and the classes about which boxes lie are those above 0 in ``outlined`` [C], or whose bits in the mask
    are `bit_order` where the item has one.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int],
        samples: int = 1,
        fill: float = AIR,
        allow_missing_keys: bool = False,
        foreground: float = 0.0,
        mask_key: str = "mask",
        outlined_key: str = "outlined",
    ) -> None:
        super().__init__(keys, RandStoredCrops(size, samples, fill, foreground), allow_missing_keys)
        self.mask_key, self.outlined_key = mask_key, outlined_key

    def __call__(  # type: ignore[override]  # one item becomes several
        self, data: Mapping[Hashable, Any]
    ) -> list[dict[Hashable, Any]]:
        """Load the boxes of one item."""
        self.randomize()
        item, crops = dict(data), self.transform
        opened = {key: _open(item[key], crops.size) for key in self.key_iterator(item)}
        mask = None
        if crops.foreground and self.mask_key in item:
            mask = opened.get(self.mask_key) or _open(item[self.mask_key], crops.size)
        order = item.get(BIT_ORDER, range(len(item.get(self.outlined_key, ()))))
        numbers = [bit for bit, known in zip(order, item.get(self.outlined_key, ()), strict=True) if known > 0]
        boxes: dict[Hashable, list[Tensor]] = {}
        for key, image in opened.items():
            _check_like(image, next(iter(opened.values())))
            boxes[key] = crops.read(image, crops.starts(image, mask, numbers))
        return [item | {key: boxes[key][number] for key in boxes} for number in range(crops.samples)]


def _check_like(mask: StoredImage, image: StoredImage) -> None:
    if mask.shape != image.shape and (mask.is_mask or image.is_mask):
        shapes = [" × ".join(map(str, each.shape)) for each in (mask, image)]
        raise UserError(
            f"{mask.path} has {shapes[0]} voxels and {image.path} {shapes[1]}, and they belong together: run "
            "`medssl prepare` again."
        )


class ReorderBitsd(MapTransform):
    """Give the bits of a mask the numbers that a network has for its classes, where an item has a ``bit_order``.

    That is, for each of the network's classes, the bit of the stored mask, or −1 where the mask knows no such class;
    see `medssl.data.Datalist.segmented`. It is taken out of the item.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Reorder the masks [1, *spatial] under the keys of one item."""
        item = dict(data)
        order = item.pop(BIT_ORDER, None)
        for key in self.key_iterator(item) if order is not None else ():
            bits = np.asarray(item[key])
            stored = (bits >> bit & 1 if bit >= 0 else np.zeros_like(bits) for bit in map(int, order))
            item[key] = torch.from_numpy(pack_bits(np.stack([part.astype(bool) for part in stored])))
        return item
