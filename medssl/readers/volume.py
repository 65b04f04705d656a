"""CT volumes from NIfTI files or from DICOM slices to arrays in HU with their affine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from medssl.errors import MissingFileError, UnusableImageError, UserError

from .dicom_series import MAY_BE_SLICES, SetAside, Stack, find_stacks, read_stack
from .radiograph import is_dicom
from .reading import Reading

NIFTI_SUFFIXES = (".nii", ".nii.gz")
DICOM_SUFFIXES = {".dcm", ".dicom", ".ima"}


def read_volume(path: str | Path | Sequence[str | Path]) -> Reading:
    """Read one volume from a NIfTI file, a folder of DICOM slices, a multi-frame file, or the slices that are named.

    Returns:
        The volume, its affine, and notes on what was put right.

    Raises:
        MissingFileError: there is no such file or folder.
        UnusableImageError: see `LoadVolume`.
    """
    files = volume_files(path)
    for file in files:
        if not file.exists():
            raise MissingFileError(f"There is no file or folder {file}: check the path in the datalist.")
    first = files[0]
    if len(files) > 1:
        return _read_dicom(f"The list of {len(files)} files from {first} on", files)
    if first.is_dir():
        return _read_dicom(str(first), _dicom_files(first))
    return _read_dicom(str(first), files) if is_dicom(first) else Reading(*_read_nifti(first))


def volume_files(path: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files or folders that name a volume.

    Raises:
        UserError: none are named.
    """
    files = [Path(path)] if isinstance(path, (str, os.PathLike)) else [Path(file) for file in path]
    if not files:
        raise UserError("A volume is to be read from an empty list of files: name its slices.")
    return files


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        raise UnusableImageError(
            "not a volume",
            f"{path} is no volume (.nii, .nii.gz, or a folder with one DICOM series): convert it to NIfTI.",
        )
    try:
        image = nibabel.load(path)
        # Straight to float32: MONAI's NibabelReader goes through float64 when the file has a scale.
        volume = image.get_fdata(dtype=np.float32, caching="unchanged")  # type: ignore[attr-defined]
        affine = np.asarray(image.affine, dtype=np.float64)  # type: ignore[attr-defined]
    except Exception as error:  # of a damaged file nibabel, gzip and numpy raise nearly anything
        raise UnusableImageError(
            "unreadable", f"{path} cannot be read as NIfTI ({error}): it is damaged; copy or convert it again."
        ) from error
    if volume.ndim > 3 and all(side == 1 for side in volume.shape[3:]):
        volume = volume.reshape(volume.shape[:3])
    if volume.ndim != 3 or 0 in volume.shape:
        raise UnusableImageError(
            "not a volume", f"{path} has the shape {volume.shape}, and a volume has three axes: save one volume a file."
        )
    if not np.isfinite(volume).all():
        count = int((~np.isfinite(volume)).sum())
        raise UnusableImageError(
            "not finite", f"{path} holds {count} voxels that are NaN or infinite: replace them (air is −1024 HU)."
        )
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise UnusableImageError(
            "wrong affine", f"{path} has an affine that maps to no space: convert it again from the original."
        )
    return np.ascontiguousarray(volume), affine


def _read_dicom(name: str, files: Sequence[Path]) -> Reading:
    stacks, aside = find_stacks(files)
    for one in aside:
        # Nobody reads a report when one folder is loaded, so what a preparation sets aside and notes is refused.
        if one.reason in MAY_BE_SLICES:
            raise UnusableImageError(
                one.reason,
                f"{one.file} lies among slices and cannot be used ({one.reason}). {one.detail} "
                "Copy it again, or move it away.",
            )
    if len(stacks) != 1:
        raise UnusableImageError("no volume" if not stacks else "several volumes", _not_one(name, stacks, aside))
    return read_stack(stacks[0])


def _not_one(name: str, stacks: Sequence[Stack], aside: Sequence[SetAside]) -> str:
    if stacks:
        sizes = ", ".join(" × ".join(map(str, stack.shape)) for stack in stacks)
        return f"{name} holds {len(stacks)} volumes ({sizes}): give the slices of one."
    counts = ", ".join(f"{count} × {reason}" for reason, count in Counter(one.reason for one in aside).most_common())
    return f"{name} holds no volume ({counts}). {aside[0].file.name}: {aside[0].detail}"


def _dicom_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    dicom = {path for path in files if is_dicom(path)}
    if not dicom:
        raise UnusableImageError(
            "no volume", f"{folder} holds no DICOM slices: give a folder with one series, or a NIfTI file."
        )
    # A file named as the slices are is a slice that got damaged; a note or a table beside them is not.
    suffixes = DICOM_SUFFIXES | {_suffix(path) for path in dicom}
    return [path for path in files if path in dicom or _suffix(path) in suffixes]


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return "" if suffix[1:].isdigit() else suffix  # names that are UIDs end in a number, each in its own
