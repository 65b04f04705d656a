"""The one list of suffixes that images have, names without them, and the data files that a header names."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
"""NIfTI-1 and NIfTI-2 in one file or two, and Analyze 7.5."""
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz", ".vtk", ".mnc")
"""Kinds of medical volumes that SimpleITK reads; it also knows some of microscopes, and HDF5, which are left out."""
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
KNOWN_SUFFIXES = PICTURE_SUFFIXES + DICOM_SUFFIXES + VOLUME_SUFFIXES

NRRD_SUFFIXES = (".nrrd", ".nhdr")
META_SUFFIXES = (".mha", ".mhd")
_LONGEST_HEADER = 2**16
_MOST_FILES = 10_000
_NUMBERED = re.compile(r"([^%]*%0?\d?d[^%]*?)\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+\d)?")
_DATA_FILE = {"data file", "datafile", "elementdatafile"}  # NRRD has two spellings, MetaImage one


def suffix_of(path: str | Path) -> str:
    """The known suffix of a file's name, in lower case, such as ``.nii.gz``; empty where it has none of them."""
    name = os.path.basename(path).lower()
    return max((suffix for suffix in KNOWN_SUFFIXES if name.endswith(suffix)), key=len, default="")


def without_suffix(path: str | Path) -> str:
    """A file's name without its known suffix; names that are UIDs or hold dots otherwise stay whole."""
    name = os.path.basename(path)
    return name[: len(name) - len(suffix_of(name))]


def companions(header: str | Path) -> tuple[Path, ...]:
    """The files that hold the voxels of a header (.hdr, .mhd, .nhdr, …), such as its ``.raw``; they are no images.

    Args:
        header: a file; one of another kind, or that holds its own voxels, has none.

    Returns:
        Files that are there, in the header's folder or below it, in order.
    """
    header = Path(header)
    inside = (file for file in data_files(header) if header.parent in file.parents and file.is_file())
    return tuple(dict.fromkeys(inside))


def data_files(header: Path) -> Iterator[Path]:
    """The files in which a header says its voxels are; those of a ``.hdr`` may be any of several."""
    suffix = suffix_of(header)
    names: Iterable[str] = ()
    if suffix in (".hdr", ".hdr.gz"):
        names = (without_suffix(header) + end for end in (".img", ".img.gz", ".IMG"))
    elif suffix in (*NRRD_SUFFIXES, *META_SUFFIXES):
        names = (name for name in _named_in(header) if name.upper() != "LOCAL")
    return (Path(os.path.normpath(header.parent / name)) for name in names)


def header_fields(header: Path) -> dict[str, str]:
    """The text header of an NRRD or MetaImage file: field in lower case → its value; empty where there is none."""
    return {name: value for name, value in _fields(header) if name}


def _fields(header: Path) -> Iterator[tuple[str, str]]:
    """Each field with its value, and each line of a list of data files, which ends a header, under no name."""
    is_nrrd = suffix_of(header) in NRRD_SUFFIXES
    try:
        with header.open("rb") as stream:
            lines = stream.read(_LONGEST_HEADER).decode("latin-1").split("\n")
    except OSError:
        return
    listed = False
    for line in map(str.strip, lines):
        if is_nrrd and not line:
            return  # voxels follow
        if listed:
            yield "", line
            continue
        name, sign, value = line.partition(":" if is_nrrd else "=")
        name, value = name.strip().lower(), value.strip("= ")  # keys of the user's own in NRRD: `key:=value`
        if sign and not name.startswith("#"):
            yield name, value
        if name in _DATA_FILE:
            listed = value.upper().startswith("LIST")
            if not (listed or is_nrrd):
                return  # voxels follow


def _named_in(header: Path) -> Iterator[str]:
    for name, value in _fields(header):
        if name in _DATA_FILE and not value.upper().startswith("LIST"):
            yield from _numbered(value)
        elif not name and value:
            yield value


def _numbered(value: str) -> list[str]:
    """One name, or as many as ``slice%03d.raw 1 10 1`` means."""
    if not (numbered := _NUMBERED.fullmatch(value)):
        return [value]
    first, last, step = map(int, numbered.groups()[1:])
    return [numbered[1] % number for number in range(first, last + 1, max(step, 1))[:_MOST_FILES]]
