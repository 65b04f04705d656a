"""Look at the masks of one image as `prepare` does, and put what can be used of them beside it into the store."""

import json
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssl.errors import UnusableImageError, UserError
from medssl.files import whole_file
from medssl.readers import Reading
from medssl.readers.mask import on_grid, read_mask
from medssl.readers.study import one_line

from ..store import STORE, StoreSettings
from .mask_files import MaskFile

FULL = 255
"""What programs write for 1 in masks of one class, to be seen."""
MOST_NUMBERS = 2**16
EXACT = 24
"""Bits of a whole number that float32 keeps, in which masks are resampled."""


@dataclass(frozen=True)
class Outlined:
    """What became of the masks of an image.

    Attributes:
        mask: its bits in the store, relative to the datalist; "" where no file can be used.
        classes: those that were outlined.
        present: those of them that are there.
        said: of each file, the reason why it cannot be used ("" if it can) and a sentence.
    """

    mask: str
    classes: Sequence[str]
    present: Sequence[str]
    said: Sequence[tuple[str, str]]


def store_masks(
    original: Reading,
    path: Path,
    image: str,
    files: Sequence[MaskFile],
    classes: Sequence[str],
    settings: StoreSettings,
    spacing: Sequence[float] | None,
    output: Path,
    digest: Callable[..., str],
) -> Outlined:
    """Read the masks of an image, bring them to the grid of the prepared image, and write them as one.

    Args:
        original: the image as it was read.
        path: of the image.
        image: its name in the store, which goes into that of the mask.
        files: its masks.
        classes: of the whole study, in the order of their bits.
        settings: of the store.
        spacing: sides of the prepared image's voxels in mm; None of a radiograph.
        output: folder of the datalist.
        digest: of bytes.

    Raises:
        UserError: the store cannot be written.
    """
    from medssl.transforms import bits_dtype, write_stored_mask

    bits = np.zeros(original.values.shape, bits_dtype(len(classes)))
    outlined: list[str] = []
    faults: dict[MaskFile, tuple[str, str]] = {}
    for file in files:
        try:
            bits |= _bits_of(file, original, classes, settings["spatial_dims"], bits.dtype)
        except UnusableImageError as error:
            faults[file] = error.reason, one_line(str(error), file.path.parent)
        else:
            outlined += file.classes
    if not outlined:
        return Outlined("", [], [], [faults[file] for file in files])
    prepared = _on_stored_grid(bits, original, path, len(classes), settings)
    before, after = (
        {name for name in outlined if there >> classes.index(name) & 1} for there in map(_any, (bits, prepared))
    )
    said = [faults.get(file, ("", _note(file, before, after))) for file in files]
    shape = json.dumps([prepared.shape, prepared.dtype.str, spacing, list(classes)]).encode()
    name = digest(image.encode(), shape, np.ascontiguousarray(prepared).data)
    stored = f"{STORE}/{name[:2]}/{name}.b2nd"
    try:
        with whole_file(output / stored) as temporary:
            write_stored_mask(temporary, prepared, spacing)
    except (OSError, RuntimeError) as error:  # as of images
        raise UserError(f"{output / stored} cannot be written ({error}): is the disk full?") from error
    return Outlined(stored, sorted(outlined, key=classes.index), sorted(after, key=classes.index), said)


def _note(file: MaskFile, before: Container[str], after: Container[str]) -> str:
    """What a mask has nothing of, in its file (before) or in the store (after)."""
    absent = [name for name in file.classes if name not in before]
    lost = [name for name in file.classes if name in before and name not in after]
    notes = [f"outlined and absent: {', '.join(absent)}"] if absent else []
    notes += [f"too small to be left in the prepared image: {', '.join(lost)}"] if lost else []
    return "; ".join(notes)


def _any(bits: np.ndarray) -> int:
    return int(np.bitwise_or.reduce(bits, axis=None))


def _bits_of(file: MaskFile, image: Reading, classes: Sequence[str], spatial_dims: int, dtype: np.dtype) -> np.ndarray:
    """The bits of a mask file, along the axes of its image."""
    name = file.path.name
    try:
        values = on_grid(read_mask(file.path, spatial_dims), image, name)
    except UnusableImageError:
        raise
    except Exception as error:  # decoders raise nearly anything on a damaged file
        raise UnusableImageError("unreadable", f"{name} cannot be read ({type(error).__name__}: {error}).") from error
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= MOST_NUMBERS:
        raise UnusableImageError(
            "number without a name", f"{name} holds {low if low < 0 else high}, which is no number of a class."
        )
    there = np.flatnonzero(np.bincount(values.ravel()))
    meaning = _meaning(file, [int(number) for number in there if number])
    table = np.zeros(high + 1, dtype)
    for number, own in meaning.items():
        if own and number <= high:
            table[number] = 1 << classes.index(own)
    return table[values]


def _meaning(file: MaskFile, there: Sequence[int]) -> dict[int, str]:
    """Number → class, "" of what is left out; of numbers that are there."""
    name, listed = file.path.name, ", ".join(map(str, there[:9])) + (", …" if len(there) > 9 else "")
    if file.name:
        if len(there) > 1 or (there and there[0] not in (1, FULL)):
            sentence = f"{name} holds {listed}, and a file of one class holds 0 and 1 (or {FULL}): name its numbers."
            raise UnusableImageError("several numbers", sentence)
        return dict.fromkeys(there, file.name)
    meaning = dict(file.numbers)
    if len(meaning) == 1 and set(meaning) <= {1, FULL} and set(there) <= {1, FULL} and len(there) == 1:
        return dict.fromkeys(there, *meaning.values())
    unknown = [number for number in there if number not in meaning]
    if unknown and not file.leaves_others:
        known = ", ".join(map(str, meaning))
        raise UnusableImageError(
            "number without a name",
            f"{name} holds {', '.join(map(str, unknown[:9]))}, and mask_labels names {known}: name it, or leave it out "
            f"({unknown[0]}: null).",
        )
    return meaning


def _on_stored_grid(
    bits: np.ndarray, original: Reading, path: Path, classes: int, settings: StoreSettings
) -> np.ndarray:
    """Bits on the grid of the prepared image, each voxel from the nearest, by the transforms that prepare the image."""
    from medssl.transforms import ResampleVolume, ResizeRadiograph, image_tensor

    is_radiograph = settings["spatial_dims"] == 2
    prepare = (
        ResizeRadiograph(settings["size"], nearest=True)
        if is_radiograph
        else ResampleVolume(settings["spacing"], "nearest")
    )
    prepared: np.ndarray | None = None
    for first in range(0, classes, EXACT):
        part = (bits >> first & (1 << min(EXACT, classes - first)) - 1).astype(np.float32)
        image = prepare(image_tensor(Reading(part, original.affine), path))[0].numpy()
        moved = np.rint(image).astype(bits.dtype) << first
        prepared = moved if prepared is None else prepared | moved
    assert prepared is not None
    return prepared
