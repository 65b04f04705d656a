"""Radiographs from PNG, JPEG, TIFF, BMP or DICOM files to grey arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageOps
from pydicom import pixels
from pydicom.uid import UID

from medssl.errors import MissingFileError, UnusableImageError

from .reading import Reading

DICOM_MAGIC_OFFSET = 128
SECTIONAL = ("CT", "MR", "PT", "NM", "US")
"""Modalities of DICOM files that are no radiographs."""
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601, which Pillow uses as well


def read_radiograph(path: str | Path, voi_lut: bool = True) -> Reading:
    """Read the grey image of a PNG, JPEG, TIFF, BMP or DICOM file.

    Values are those of the file, with bright as high; see `medssl.transforms.LoadRadiograph`.

    Args:
        path: of the file.
        voi_lut: apply a DICOM's first VOI LUT or window.

    Raises:
        MissingFileError: there is no such file.
        UnusableImageError: the file is empty, truncated, no radiograph, or holds several frames.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no image file {path}: check the path in the datalist.")
    if path.stat().st_size == 0:
        raise UnusableImageError(
            "empty file", f"{path} is empty (0 bytes): copy it again, or take it out of the datalist."
        )
    reading = _read_dicom(path, voi_lut) if is_dicom(path) else Reading(_read_picture(path))
    grey = reading.values
    if grey.size == 0 or not np.isfinite(grey).all():
        raise UnusableImageError(
            "not finite", f"{path} has no pixels or pixels that are not finite: take it out of the datalist."
        )
    return replace(reading, values=np.require(grey, np.float32, ["C", "W"]))


def is_dicom(path: Path) -> bool:
    """Whether the file begins as DICOM files do, whatever its name."""
    with path.open("rb") as file:
        return file.read(DICOM_MAGIC_OFFSET + 4)[DICOM_MAGIC_OFFSET:] == b"DICM"


def _read_picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                raise _several_frames(path, frames)
            upright = ImageOps.exif_transpose(picture)  # as every viewer shows it
            # Modes of 16 and 32 bit are grey already, and "L" would cut them to 8 bit.
            return np.asarray(upright if upright.mode.startswith(("I", "F")) else upright.convert("L"))
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnusableImageError(
            "unreadable",
            f"{path} cannot be read as PNG, JPEG, TIFF or DICOM ({error}): it is damaged or no image; "
            "copy it again, or take it out of the datalist.",
        ) from error


def _read_dicom(path: Path, voi_lut: bool) -> Reading:
    try:
        dataset = pydicom.dcmread(path)
        if "PixelData" not in dataset:
            if "Image Storage" in UID(dataset.file_meta.get("MediaStorageSOPClassUID") or "").name:
                raise EOFError("it ends before its pixels")
            raise UnusableImageError("no pixels", f"{path} is DICOM without an image: take it out of the datalist.")
        frames = int(dataset.get("NumberOfFrames") or 1)
        if frames > 1:
            raise _several_frames(path, frames)
        modality = str(dataset.get("Modality") or "")
        if modality in SECTIONAL:
            raise UnusableImageError(
                "not a radiograph", f"The modality of {path} is {modality}: prepare volumes with --dims 3."
            )
        inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
        notes = ("MONOCHROME1 was inverted",) if inverted else ()
        return Reading(_grey(dataset, voi_lut), None, notes, modality)
    except UnusableImageError:
        raise
    # pydicom and its decoders raise nearly anything on a damaged file; all of it means the same to the user.
    except Exception as error:
        raise UnusableImageError(
            "unreadable",
            f"{path} cannot be read as a DICOM image ({error}): copy it again, or take it out of the datalist.",
        ) from error


def _grey(dataset: pydicom.Dataset, voi_lut: bool) -> np.ndarray:
    stored = pixels.pixel_array(dataset)  # colour comes as RGB, YBR included
    interpretation = str(dataset.PhotometricInterpretation)
    if interpretation == "PALETTE COLOR":
        stored = pixels.apply_color_lut(stored, dataset)
        stored = stored / np.float32(2 ** (8 * stored.dtype.itemsize - 8))  # palettes may have 16 bit
    if stored.ndim == 3:
        return stored[..., :3].astype(np.float32) @ LUMA
    image = pixels.apply_modality_lut(stored, dataset)
    if voi_lut:
        image = pixels.apply_voi_lut(image, dataset)
    if interpretation == "MONOCHROME1":
        image = image.astype(np.float64)
        image = image.max() + image.min() - image
    return image


def _several_frames(path: Path, frames: int) -> UnusableImageError:
    sentence = f"{path} holds {frames} frames, and a radiograph is one: save the frame you want as a file of its own."
    return UnusableImageError("several frames", sentence)
