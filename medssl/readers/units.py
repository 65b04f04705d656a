"""What lies under a folder: the inputs that are looked at as one, and the files that are no images."""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from medssl.errors import MissingFileError, UserError

from .dicom_file import is_dicom
from .suffixes import DICOM_SUFFIXES, PICTURE_SUFFIXES, VOLUME_SUFFIXES, companions

NO_SLICE_SUFFIXES = (*PICTURE_SUFFIXES, *VOLUME_SUFFIXES, ".csv", ".json", ".txt")


@dataclass(frozen=True)
class Unit:
    """What is looked at as one: an image file, or the DICOM files of a folder, which hold one volume or several.

    Attributes:
        path: the file, or the folder; absolute.
        files: the file itself and the data files that it names (the ``.raw`` of an ``.mhd``), or the folder's DICOM
            files in order.
    """

    path: Path
    files: tuple[Path, ...]

    def name(self, folder: Path) -> str:
        """The path relative to a folder, with slashes."""
        return self.path.relative_to(folder).as_posix()


def find_units(folder: Path, spatial_dims: int, skip: Path | None = None) -> tuple[list[Unit], list[Path]]:
    """Everything under a folder that is an image by its name or first bytes, and everything that is not.

    Args:
        folder: searched to the bottom; hidden files and folders are passed over.
        spatial_dims: 2 for radiographs (PNG, JPEG, TIFF, BMP and DICOM files), 3 for volumes (NIfTI, NRRD, MetaImage
            and other files of `suffixes.VOLUME_SUFFIXES`, and folders that hold DICOM slices).
        skip: a folder to pass over (the one that is written to).

    Returns:
        Units and other files, both by folder and name; behind links, what no other path leads to.

    Raises:
        MissingFileError: there is no such folder.
        UserError: a folder may not be looked into.
    """
    if not folder.is_dir():
        raise MissingFileError(f"There is no folder {folder}: check the path of the images.")
    units: list[Unit] = []
    others: list[Path] = []
    data_files: set[Path] = set()  # of headers; they lie beside or below them, so they come later
    for here, names in _walk(folder.resolve(), set() if skip is None else {skip.resolve()}):
        files = [here / name for name in names]
        data_of = {path: companions(path) for path in files} if spatial_dims == 3 else {}
        data_files.update(*data_of.values())
        files = [path for path in files if path not in data_files]
        slices = dict.fromkeys(path for path in files if spatial_dims == 3 and is_slice(path))
        if slices:
            units.append(Unit(here, tuple(slices)))
        for path in files:
            if path in slices:
                continue
            if _is_image(path, spatial_dims):
                units.append(Unit(path, (path, *data_of.get(path, ()))))
            else:
                others.append(path)
    return units, others


def _walk(folder: Path, seen: set[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Every folder once, with its files: those with a path of their own first, then those that only links lead to."""
    left = deque([folder])
    while left:
        for place, folders, names in os.walk(left.popleft(), onerror=_refuse_folder):
            here = Path(place)
            if here.resolve() in seen:
                folders.clear()
                continue
            seen.add(here.resolve())
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            left += [here / name for name in folders if (here / name).is_symlink()]
            yield here, sorted(name for name in names if not name.startswith("."))


def _refuse_folder(error: OSError) -> NoReturn:
    raise UserError(f"The folder {error.filename} cannot be read ({error.strerror}): see who may, or move it away.")


def _is_image(path: Path, spatial_dims: int) -> bool:
    name = path.name.lower()
    if spatial_dims == 3:
        return name.endswith(VOLUME_SUFFIXES)
    return name.endswith(PICTURE_SUFFIXES) or is_slice(path)


def is_slice(path: Path) -> bool:
    """Whether a file is DICOM by its name or, as slices often have none or a number for suffix, by its first bytes."""
    name = path.name.lower()
    if name.endswith(DICOM_SUFFIXES):
        return True
    if name.endswith(NO_SLICE_SUFFIXES) or name == "dicomdir":
        return False
    try:
        return is_dicom(path)
    except OSError:
        return False
