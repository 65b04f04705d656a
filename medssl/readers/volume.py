"""Volumes: the studies that files and folders hold, and DICOM slices, NIfTI files and whatever else SimpleITK reads."""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from medssl.errors import MissingFileError, UnusableImageError, UserError

from .dicom_file import is_dicom
from .dicom_series import MAY_BE_SLICES, SetAside, Stack, find_stacks, read_stack
from .itk_formats import read_itk
from .nifti import read_nifti
from .reading import Reading
from .study import Found, Refusal, Study, file_study, one_line
from .suffixes import DICOM_SUFFIXES, ITK_SUFFIXES, NIFTI_SUFFIXES, suffix_of
from .units import Unit


def volume_studies(unit: Unit) -> Found:
    """The study of a volume's file; or the stacks of a folder of DICOM files, and what belongs to none of them."""
    if not unit.path.is_dir():
        return file_study(unit, partial(read_volume, unit.path))
    stacks, aside = find_stacks(unit.files)
    alike: dict[tuple[str, str, str], list[Path]] = {}
    for one in aside:
        alike.setdefault((one.series, one.reason, one.detail), []).append(one.file)
    is_whole, alone = len(stacks) == 1, not stacks and len(alike) == 1
    refusals = [
        Refusal(unit.path if alone and len(files) > 1 else files[0], tuple(files), reason, one_line(detail, unit.path))
        for (_, reason, detail), files in alike.items()
    ]
    studies = [
        Study(unit.path if is_whole else stack.files[0], stack.files, partial(read_stack, stack)) for stack in stacks
    ]
    return Found(studies, refusals)


def read_volume(path: str | Path | Sequence[str | Path]) -> Reading:
    """Read one volume from a file (see `medssl.readers.suffixes`), a folder of DICOM slices, or the slices named.

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
    suffix = suffix_of(first)
    if suffix in NIFTI_SUFFIXES:
        return read_nifti(first)
    if suffix in ITK_SUFFIXES:
        return read_itk(first)
    if suffix in DICOM_SUFFIXES or is_dicom(first):
        return _read_dicom(str(first), files)
    known = ", ".join((*NIFTI_SUFFIXES[:2], *ITK_SUFFIXES))
    sentence = f"{first} is no volume ({known}, or a folder with one DICOM series): convert it to NIfTI."
    raise UnusableImageError("not a volume", sentence)


def volume_files(path: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files or folders that name a volume.

    Raises:
        UserError: none are named.
    """
    files = [Path(path)] if isinstance(path, (str, os.PathLike)) else [Path(file) for file in path]
    if not files:
        raise UserError("A volume is to be read from an empty list of files: name its slices.")
    return files


def _read_dicom(name: str, files: Sequence[Path]) -> Reading:
    stacks, aside = find_stacks(files)
    for one in aside:
        # Nobody reads a report when one folder is loaded, so what a preparation sets aside and notes is refused.
        if one.reason in MAY_BE_SLICES:
            fault = f"{one.file} lies among slices and cannot be used ({one.reason}). {one.detail}"
            raise UnusableImageError(one.reason, f"{fault} Copy it again, or move it away.")
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
        sentence = f"{folder} holds no DICOM slices: give a folder with one series, or the file of a volume."
        raise UnusableImageError("no volume", sentence)
    # A file named as the slices are is a slice that got damaged; a note or a table beside them is not.
    suffixes = {*DICOM_SUFFIXES, *(_suffix(path) for path in dicom)}
    return [path for path in files if path in dicom or _suffix(path) in suffixes]


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return "" if suffix[1:].isdigit() else suffix  # names that are UIDs end in a number, each in its own
