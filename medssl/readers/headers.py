"""What volumes are, from their headers alone: no pixel is read."""

from typing import Any, NamedTuple

import nibabel
import numpy as np
import SimpleITK

from .dicom_series import find_stacks
from .itk_formats import MODALITIES, place_of, same_locale
from .nifti import UNITS
from .suffixes import NIFTI_SUFFIXES, header_fields, suffix_of
from .units import Unit
from .voxel_grid import in_mm, sides_of


def body_axes(affine: np.ndarray) -> np.ndarray:
    """Which axes of a volume run nearest to right, front and head: int [3]."""
    return np.argsort(nibabel.io_orientation(affine)[:, 0])


class Header(NamedTuple):
    """What the header of a volume says: sides [3] of its voxels to the right, front and head in mm, and modality."""

    sides: np.ndarray
    modality: str


def volume_headers(unit: Unit) -> list[Header]:
    """Of each volume of an input; a header that cannot be read gives none, and who reads the pixels says why."""
    try:
        return [Header(sides_of(affine)[body_axes(affine)], modality) for affine, modality in _read(unit)]
    except Exception:  # of damaged headers nibabel, SimpleITK and numpy raise nearly anything
        return []


def _read(unit: Unit) -> list[tuple[np.ndarray, str]]:
    if unit.path.is_dir():
        return [(stack.geometry.affine, stack.modality) for stack in find_stacks(unit.files)[0]]
    if not unit.path.is_file():  # reading a pipe would wait for ever
        return []
    if suffix_of(unit.path) not in NIFTI_SUFFIXES:
        with same_locale():
            reader = SimpleITK.ImageFileReader()
            reader.SetFileName(str(unit.path))
            reader.ReadImageInformation()
        fields = header_fields(unit.path)
        return [(place_of(unit.path, reader, fields)[0], MODALITIES.get(fields.get("modality", ""), ""))]
    image: Any = nibabel.load(unit.path)
    name, mm = UNITS.get(int(image.header.get("xyzt_units", 2)) & 7, ("", 1.0))
    return [(in_mm(image.affine, name, mm)[0], "")]
