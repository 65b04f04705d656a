"""How large the voxels of volumes are, from their headers alone: no pixel is read."""

from typing import Any

import nibabel
import numpy as np
import SimpleITK

from .dicom_series import find_stacks
from .itk_formats import place_of, same_locale
from .nifti import UNITS
from .suffixes import NIFTI_SUFFIXES, header_fields, suffix_of
from .units import Unit
from .voxel_grid import in_mm, sides_of


def body_axes(affine: np.ndarray) -> np.ndarray:
    """Which axes of a volume run nearest to right, front and head: int [3]."""
    return np.argsort(nibabel.io_orientation(affine)[:, 0])


def header_sides(unit: Unit) -> list[np.ndarray]:
    """The sides [3] of the voxels of each volume of an input, to the right, front and head, in mm.

    A volume whose header cannot be read has none; who reads its pixels says why.
    """
    try:
        return [sides_of(affine)[body_axes(affine)] for affine in _affines(unit)]
    except Exception:  # of damaged headers nibabel, SimpleITK and numpy raise nearly anything
        return []


def _affines(unit: Unit) -> list[np.ndarray]:
    if unit.path.is_dir():
        return [stack.geometry.affine for stack in find_stacks(unit.files)[0]]
    if not unit.path.is_file():  # reading a pipe would wait for ever
        return []
    if suffix_of(unit.path) not in NIFTI_SUFFIXES:
        with same_locale():
            reader = SimpleITK.ImageFileReader()
            reader.SetFileName(str(unit.path))
            reader.ReadImageInformation()
        return [place_of(unit.path, reader, header_fields(unit.path))[0]]
    image: Any = nibabel.load(unit.path)
    name, mm = UNITS.get(int(image.header.get("xyzt_units", 2)) & 7, ("", 1.0))
    return [in_mm(image.affine, name, mm)[0]]
