"""Volumes from NIfTI and Analyze files; what their header does not state, or states wrongly, is said in a note."""

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.nifti1 import Nifti1Header

from medssl.errors import UnusableImageError

from .reading import Reading, decoding
from .suffixes import suffix_of
from .voxel_grid import check_shape, in_mm, product, sides_of, spans_space, volume_reading

UNITS = {1: ("metre", 1e3), 2: ("mm", 1.0), 3: ("micron", 1e-3)}  # the lowest three bits of xyzt_units
LABEL_INTENT = 1002
GZIP = b"\x1f\x8b"
ASSUMED_AXES = "axes taken to run to the left, front and head"
SAME_SIDES = 0.01  # as a share of them
SAME_PLACE = 0.5  # voxels, anywhere in the volume


def read_nifti(path: Path, may_be_labels: bool = False) -> Reading:
    """Read a NIfTI-1, NIfTI-2 or Analyze 7.5 volume, in one file or two.

    Where the voxels lie is told by the sform, where its code is set, otherwise by the qform; without either by pixdim,
    with nibabel's guess of the axes.

    Args:
        path: of the file.
        may_be_labels: read it also where it says of itself that it is a label map.

    Raises:
        UnusableImageError: the file is damaged or no grey volume, or its header cannot be right.
    """
    refusing = decoding(f"{path} cannot be read as NIfTI", "it is damaged; copy or convert it again")
    # What nibabel puts right in a header stands in our notes, and what overflows is refused below.
    with refusing, LoggingOutputSuppressor(), np.errstate(over="ignore"):
        image, packing = _load(path)
        header = _as_stored(image)
        kind = image.get_data_dtype()
        check_shape(path, image.shape, len(kind.fields or ()) or (2 if kind.kind == "c" else 1))
        # Straight to float32: MONAI's NibabelReader goes through float64 when the file has a scale.
        values = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(image.shape[:3])
    affine = np.asarray(image.affine, dtype=np.float64)
    if not isinstance(header, Nifti1Header):
        note = f"the Analyze format states no orientation: {ASSUMED_AXES}"
        return volume_reading(path, values, affine, (*packing, note))
    if header["intent_code"] == LABEL_INTENT and not may_be_labels:
        raise UnusableImageError("label map", f"{path} says of itself that it is a label map, no scan.")
    affine, notes = _place(path, header, image)
    affine, converted = in_mm(affine, *UNITS.get(int(header["xyzt_units"]) & 7, ("", None)))
    return volume_reading(path, values, affine, (*packing, *notes, *converted, *_scale_notes(header)))


def _load(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The image, also where its name and its first bytes disagree on whether it is compressed, and the note on that."""
    with path.open("rb") as stream:
        is_packed = stream.read(len(GZIP)) == GZIP
    if is_packed == path.name.lower().endswith(".gz") or suffix_of(path) not in (".nii", ".nii.gz"):
        return nibabel.load(path), ()
    whole = gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes()
    kind = nibabel.Nifti2Image if struct.pack("=i", 540) in (whole[:4], whole[3::-1]) else nibabel.Nifti1Image
    return kind.from_bytes(whole), (f"it is {'' if is_packed else 'not '}compressed, against its name",)


def _as_stored(image: Any) -> Any:
    """The header as it stands in the file; nibabel mends that of an image when it loads it."""
    holder = image.file_map.get("header", image.file_map["image"])
    with holder.get_prepare_fileobj("rb") as stream:
        return image.header_class.from_fileobj(stream, check=False)


def _place(path: Path, header: Nifti1Header, image: Any) -> tuple[np.ndarray, list[str]]:
    """The affine of a NIfTI image in the file's unit, and what the header has against it."""
    pixdim = header["pixdim"][1:4].astype(np.float64)
    forms = {name: _form(image, name) for name in ("sform", "qform") if header[f"{name}_code"] != 0}
    usable = {name: affine for name, affine in forms.items() if spans_space(affine)}
    if (forms and not usable) or ("sform" not in usable and not (np.isfinite(pixdim) & (pixdim != 0)).all()):
        sentence = f"{path} states a voxel size of {product(pixdim)}, or axes that span no space: correct its header."
        raise UnusableImageError("wrong affine", sentence)
    if not usable:
        sides = product(np.abs(pixdim))
        return image.affine, [f"orientation not stated: {ASSUMED_AXES}, voxels of {sides}"]
    used, affine = next(iter(usable.items()))
    notes = [f"its {name} cannot be right, the {used} is used" for name in forms if name not in usable]
    if used == "qform" and (pixdim < 0).any():
        notes.append(f"pixdim {product(pixdim)} taken as positive")
    if len(usable) == 2:
        notes += _disagreement(usable["sform"], usable["qform"], image.shape)
    elif used == "sform" and not np.allclose(sides_of(affine), np.abs(pixdim), rtol=SAME_SIDES, atol=0):
        notes.append(f"pixdim says voxels of {product(pixdim)}, the sform {product(sides_of(affine))}: the latter used")
    if np.array_equal(affine, np.eye(4)):
        notes.append("its affine is the identity, as where the true one was lost: voxels of 1 × 1 × 1 taken from it")
    return affine, notes


def _form(image: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(getattr(image.header, f"get_{name}")(), dtype=np.float64)
    except ValueError:  # quaternions that are no rotation
        return np.full((4, 4), np.nan)


def _disagreement(sform: np.ndarray, qform: np.ndarray, shape: Sequence[int]) -> list[str]:
    """Origins may differ, as they do after a registration; sizes and directions may not."""
    off = np.linalg.norm(np.abs((sform - qform)[:3, :3]) @ (np.array(shape[:3]) - 1))
    if off <= SAME_PLACE * sides_of(sform).min():
        return []
    sizes = f"voxels of {product(sides_of(sform))} and of {product(sides_of(qform))}"
    return [f"sform and qform disagree ({sizes}, places by up to {off:.3g}): the sform is used"]


def _scale_notes(header: Nifti1Header) -> list[str]:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isfinite(slope) and (slope != 0 or inter == 0):
        return []
    return [f"scl_slope {slope:g} with scl_inter {inter:g} is no scale: values taken as they are stored"]
