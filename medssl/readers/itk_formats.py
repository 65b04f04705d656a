"""Volumes of the kinds that SimpleITK reads: NRRD, MetaImage, GIPL, VTK, MINC.

ITK takes what such a file does not state as 1 mm and as axes to the left, back and head, without a word; here the
header is looked at for it. DICOM and NIfTI have readers of their own: ITK stacks crooked series as if they were
straight, and refuses the oblique affines of some NIfTI files.
"""

import locale
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK

from medssl.errors import UnusableImageError

from .dicom_geometry import LPS_TO_RAS
from .reading import Reading
from .suffixes import META_SUFFIXES, NRRD_SUFFIXES, data_files, header_fields, suffix_of
from .voxel_grid import check_shape, in_mm, product, sides_of, volume_reading

MM = {"mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "m": 1e3, "um": 1e-3, "µm": 1e-3, "micron": 1e-3}
PATIENT_SPACE = re.compile(r"(?:left|right)-|(?:LPS|RAS|LAS)T?$", re.IGNORECASE)  # of NRRD's
RAS_SUFFIXES = (".mnc",)  # MINC's world is RAS; ITK 5.4 reads and writes its numbers as if they were LPS
MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}
ASSUMED_AXES = "axes taken to run to the left, back and head"


def read_itk(path: Path, may_be_labels: bool = False) -> Reading:
    """Read a volume with SimpleITK.

    Args:
        path: of the file.
        may_be_labels: read it also where it is a segmentation of 3D Slicer.

    Raises:
        UnusableImageError: the file or its data file is damaged or missing, or no grey volume; or it is a segmentation
            of 3D Slicer.
    """
    fields = header_fields(path)
    if any(re.fullmatch(r"segment\d+_id", name) for name in fields) and not may_be_labels:
        raise UnusableImageError("label map", f"{path} is a segmentation of 3D Slicer, no scan.")
    if missing := [file.name for file in data_files(path) if not file.exists()]:
        sentence = f"{path} names {missing[0]} as the file of its voxels, which is not there: copy it, too."
        raise UnusableImageError("unreadable", sentence)
    try:
        with same_locale():
            reader = SimpleITK.ImageFileReader()
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            size = reader.GetSize()
            is_complex = "complex" in SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
            check_shape(path, size, 2 if is_complex else reader.GetNumberOfComponents())
            image = reader.Execute()
    except RuntimeError as error:
        words = re.sub(r"\(0x[0-9a-f]+\)", "", str(error).strip().splitlines()[-1])
        reason = "wrong affine" if "spacing" in words else "unreadable"
        sentence = f"{path} cannot be read by SimpleITK ({words}): it is damaged; copy or convert it again."
        raise UnusableImageError(reason, sentence) from error
    values = SimpleITK.GetArrayViewFromImage(image).reshape(size[2::-1]).T.astype(np.float32)
    values, scaled = _scaled(values, fields)
    affine, notes = place_of(path, image, fields)
    return volume_reading(path, values, affine, (*notes, *scaled), MODALITIES.get(fields.get("modality", ""), ""))


@contextmanager
def same_locale() -> Iterator[None]:
    """ITK 5.4 leaves the process in the C locale when it has read a VTK file, and what opens text then takes ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def place_of(
    path: Path, image: SimpleITK.Image | SimpleITK.ImageFileReader, fields: Mapping[str, str]
) -> tuple[np.ndarray, list[str]]:
    """The affine from voxels to RAS mm, and what the header does not state of it."""
    suffix, axes = suffix_of(path), image.GetDimension()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (axes, axes))[:3, :3] * image.GetSpacing()[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    if suffix not in RAS_SUFFIXES:
        affine = LPS_TO_RAS @ affine
    has_sides, has_axes, unit = _stated(path, suffix, fields)
    sides = product(sides_of(affine))
    affine, converted = in_mm(affine, unit, MM.get(unit.lower().rstrip("s")) if unit else 1.0)
    notes = [] if has_sides else [f"voxel size not stated, or not of all axes: {sides} mm assumed"]
    notes += [] if has_axes else [f"orientation not stated: {ASSUMED_AXES}"]
    if suffix in RAS_SUFFIXES:
        notes.append("axes taken as MINC defines them, to the right, front and head; files that ITK wrote lie turned")
    if re.search(r"(?:^|\s)-", fields.get("spacings", fields.get("elementspacing", ""))):
        notes.append("an axis of negative spacing is taken to run the other way")
    return affine, [*notes, *converted]


def _stated(path: Path, suffix: str, fields: Mapping[str, str]) -> tuple[bool, bool, str]:
    """Whether a header states the size of voxels and the direction of axes, and in which unit, where it names one."""
    if suffix in META_SUFFIXES:
        has_axes = any(name in fields for name in ("transformmatrix", "rotation", "orientation"))
        has_sides = "elementspacing" in fields or "elementsize" in fields
        return has_sides, has_axes, fields.get("distanceunits", "").strip("?")
    if suffix in NRRD_SUFFIXES:
        vectors = fields.get("space directions", "").count("(")
        numbers = re.findall(r"(?:^|\s)[-+]?[\d.]\S*", fields.get("spacings", ""))  # an unknown one is NaN
        has_axes = vectors >= 3 and bool(PATIENT_SPACE.match(fields.get("space", "")))
        units = re.findall(r'"([^"]+)"', fields.get("space units", fields.get("units", "")))
        return vectors >= 3 or len(numbers) >= 3, has_axes, units[0] if units else ""
    if suffix == ".vtk":
        with path.open("rb") as stream:
            head = stream.read(1024).upper()
        return b"SPACING" in head or b"ASPECT_RATIO" in head, False, ""
    return True, suffix in RAS_SUFFIXES, ""


def _scaled(values: np.ndarray, fields: Mapping[str, str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Values after the linear function that a MetaImage may state, which ITK passes over."""
    slope = float(fields.get("elementtointensityfunctionslope", 1))
    offset = float(fields.get("elementtointensityfunctionoffset", 0))
    if (slope, offset) == (1, 0):
        return values, ()
    note = f"values scaled by its ElementToIntensityFunction: × {slope:g} + {offset:g}"
    return values * np.float32(slope) + np.float32(offset), (note,)
