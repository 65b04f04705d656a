"""Look at one input as `prepare` does: decode it once, say what is wrong with it, or put it into the store.

Torch and MONAI are imported when the first input is decoded, so that the command line's ``--help`` needs neither.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import pydicom

from medssl.errors import UnusableImageError, UserError
from medssl.files import whole_file
from medssl.readers import Reading, Unit, find_stacks, is_slice, read_radiograph, read_stack, read_volume

from ..images import hash_patient
from ..store import STORE, StoreSettings

READER_VERSION = 2
"""Counted up when the same file would be stored with other values, so that stores are made anew."""
LARGEST_VOLUME = 2**30
"""Voxels of a volume in the store; more come from a wrong spacing."""
LARGEST_SKEW = 100.0
"""Condition number of a volume's unit axes; 1 when they are perpendicular, 57 at an angle of 2° between two."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome:
    """What became of an input, or of one of the volumes in a folder.

    Attributes:
        files: names of the files it is made of.
        reason: why it cannot be used, in a word or three; empty when it can.
        detail: the same as a sentence; or, of a used image, what was put right.
        stored: the image in the store, relative to the datalist; empty when it cannot be used.
        content: digest of the decoded image, the same for the same image in another file.
        shape: pixels or voxels along each axis in the file.
        spacing: sides of a voxel in the file, in mm; empty for radiographs.
        patient: hash of the PatientID in the DICOM header; empty where there is none.
        modality: as DICOM has it (``DX``, ``CT``, …); empty where the file states none.
    """

    files: Sequence[str]
    reason: str = ""
    detail: str = ""
    stored: str = ""
    content: str = ""
    shape: Sequence[int] = ()
    spacing: Sequence[float] = ()
    patient: str = ""
    modality: str = ""


def fingerprint(unit: Unit, settings: StoreSettings, salt: str) -> str:
    """Tells whether an input was looked at already: the state of its files, the settings and the salt."""
    return _digest(json.dumps([READER_VERSION, settings, hash_patient(salt, ""), *map(_state, unit.files)]).encode())


def _state(path: Path) -> tuple[str, int, int, bool]:
    try:
        stat = path.stat()
        return path.name, stat.st_size, stat.st_mtime_ns, os.access(path, os.R_OK)
    except OSError:  # a link that leads nowhere
        return path.name, 0, 0, False


def examine(unit: Unit, settings: StoreSettings, output: Path, salt: str) -> list[Outcome]:
    """Decode an input and write what can be used into the store.

    Args:
        unit: an image file, or the DICOM files of a folder.
        settings: of the store.
        output: folder of the datalist; the images go to ``store`` below it.
        salt: for the hash of a patient.

    Returns:
        One outcome, or of a folder one for each volume and one for each file that belongs to none. Every file of the
        unit is in exactly one. A fault of the input is an outcome, never an error.

    Raises:
        UserError: the store cannot be written.
    """
    keep = partial(_keep, settings=settings, output=output, salt=salt)
    if unit.path.exists() and not (unit.path.is_file() or unit.path.is_dir()):  # reading a pipe would wait for ever
        return [Outcome([unit.path.name], "unreadable", f"{unit.path.name} is a pipe or a device, no file.")]
    if settings["spatial_dims"] == 2:
        return [keep(unit.files, partial(read_radiograph, unit.path))]
    if not unit.path.is_dir():
        return [keep(unit.files, partial(read_volume, unit.path))]
    stacks, rest = find_stacks(unit.files)
    outcomes = [keep(stack.files, partial(read_stack, stack)) for stack in stacks]
    return outcomes + [Outcome([left.file.name], left.reason, _sentence(left.detail, unit.path)) for left in rest]


def _keep(
    files: Sequence[Path], read: Callable[[], Reading], settings: StoreSettings, output: Path, salt: str
) -> Outcome:
    from medssl.transforms import write_stored

    names = [path.name for path in files]
    try:
        original = _trying(read)
        if original.values.min() == original.values.max():
            raise UnusableImageError(
                "constant image", f"Every value of {files[0].name} is {original.values.flat[0]:g}."
            )
        content = _content(original)
        stored = f"{STORE}/{content[:2]}/{_digest((content + json.dumps(settings)).encode())}.b2nd"
        image, spacing = _trying(partial(_prepared, original, settings))
    except UnusableImageError as error:
        return Outcome(names, error.reason, _sentence(str(error), files[0].parent))
    try:
        with whole_file(output / stored) as temporary:
            write_stored(temporary, image, spacing)
    except (OSError, RuntimeError) as error:  # no fault of the image; blosc2 raises the latter
        raise UserError(f"{output / stored} cannot be written ({error}): is the disk full?") from error
    patient = _patient(files[0])
    return Outcome(
        names,
        detail="; ".join(original.notes),
        stored=stored,
        content=content,
        shape=list(original.values.shape),
        spacing=[] if original.affine is None else _sides(original.affine),
        patient=hash_patient(salt, patient) if patient else "",
        modality=original.modality,
    )


def _trying(step: Callable[[], Result]) -> Result:

    try:
        return step()
    except UnusableImageError:
        raise
    except Exception as error:  # decoders raise nearly anything on a damaged file
        raise UnusableImageError("unreadable", str(error) or type(error).__name__) from error


def _sentence(error: str, folder: Path) -> str:
    """What an error says in one line, the same on every machine and in every run."""
    text = " ".join(error.split()).replace(f"{folder}{os.sep}", "")
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _prepared(original: Reading, settings: StoreSettings) -> tuple[np.ndarray, list[float] | None]:
    """The image as the store keeps it, and the sides of its voxels."""
    import torch

    from medssl.transforms import ResizeRadiograph

    if original.affine is not None:
        return _resampled(original.values, original.affine, settings["spacing"])
    return ResizeRadiograph(settings["size"])(torch.from_numpy(original.values)[None])[0].numpy(), None


def _resampled(values: np.ndarray, affine: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, list[float]]:
    """A volume along the axes to the right, front and head, at a spacing; exactly what inference does."""
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Orientation, Spacing

    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if not sides.all() or np.linalg.cond(affine[:3, :3] / sides) > LARGEST_SKEW:
        raise UnusableImageError("wrong affine", "Its axes do not span a space: convert it again from the original.")
    image = MetaTensor(torch.from_numpy(values)[None], affine=torch.from_numpy(affine))
    turned = cast(MetaTensor, Orientation("RAS", labels=None)(image))
    own = _sides(turned.affine.numpy())
    shape = [side * mm / (new if new > 0 else mm) for side, mm, new in zip(turned.shape[1:], own, spacing, strict=True)]
    if np.prod(shape) > LARGEST_VOLUME:
        raise UnusableImageError(
            "too large",
            f"{_at(spacing, shape)}: correct the spacing in the file, or prepare with a coarser one.",
        )
    resampled = cast(MetaTensor, Spacing(spacing, mode="bilinear")(turned))
    if min(resampled.shape[1:]) < 2:
        raise UnusableImageError(
            "too small",
            f"{_at(spacing, resampled.shape[1:])}, and a volume needs several along each axis: correct the spacing in "
            "the file, or prepare with a finer one.",
        )
    return resampled[0].numpy(), _sides(resampled.affine.numpy())


def _at(spacing: Sequence[float], shape: Sequence[float]) -> str:
    sides = " × ".join(f"{side:.0f}" for side in shape)
    return f"At a spacing of {' × '.join(f'{side:g}' for side in spacing)} mm it has {sides} voxels"


def _sides(affine: np.ndarray) -> list[float]:
    return [round(float(side), 6) for side in np.linalg.norm(affine[:3, :3], axis=0)]


def _content(original: Reading) -> str:
    place = b"" if original.affine is None else np.round(original.affine[:3, :3], 3).tobytes()
    shape = json.dumps(original.values.shape).encode()
    return _digest(shape + place, np.ascontiguousarray(original.values).data)


def _digest(*parts: bytes | memoryview) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _patient(path: Path) -> str:
    return str(_header(path, ["PatientID"]).get("PatientID") or "") if is_slice(path) else ""


def _header(path: Path, tags: list[str]) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags))
    except Exception:  # a damaged file; who reads the pixels says so
        return pydicom.Dataset()
