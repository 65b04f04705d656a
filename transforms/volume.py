"""CT volumes from NIfTI files or from folders of DICOM slices to tensors [1, X, Y, Z] in HU with their affine.

Why not MONAI's ``LoadImage`` on a DICOM folder: its PydicomReader orders slices by InstanceNumber, leaves out those
without one, and stacks tilted, uneven or mixed slices as if they were an even box. Here the geometry is checked first
and anything else is refused with its reason. Orientation, spacing and window are MONAI's afterwards: ``Orientationd``,
``Spacingd``, ``ScaleIntensityRanged``.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import SpaceKeys
from nibabel.filebasedimages import ImageFileError
from pydicom import pixels

from .radiograph import ApplyToKeys, is_dicom

NIFTI_SUFFIXES = (".nii", ".nii.gz")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
COSINE_TOLERANCE = 1e-3
SPACING_TOLERANCE = 0.05  # of the slice distance; scanners round positions to 0.01 mm or so
DRIFT_TOLERANCE = 0.5  # of a pixel, over the whole stack


class LoadVolume(Transform):
    """Load a volume as a float32 MetaTensor [1, X, Y, Z] with its affine (voxel to RAS, mm).

    A NIfTI file (.nii, .nii.gz) keeps its own axes; a folder that holds one DICOM series is stacked by position along
    the slices' normal, with the rescale to HU applied. Axes follow the file, so use ``Orientationd`` next.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file is damaged, not 3D or not finite; or the folder holds no series, several, a localiser only,
            or slices that do not form an even, straight stack. The message names path and reason.
    """

    def __call__(self, path: str | Path) -> MetaTensor:
        """Load the file or folder at ``path``."""
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"There is no file or folder {path}: check the path in the datalist.")
        volume, affine = _read_series(path) if path.is_dir() else _read_nifti(path)
        meta = {
            "filename_or_obj": str(path),
            "original_affine": affine,
            "spatial_shape": np.array(volume.shape),
            "space": SpaceKeys.RAS,
            "original_channel_dim": 0,
        }
        return MetaTensor(torch.from_numpy(volume)[None], affine=torch.from_numpy(affine), meta=meta)


class LoadVolumed(ApplyToKeys):
    """Dictionary form of `LoadVolume`: the paths under ``keys`` become tensors [1, X, Y, Z]."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, LoadVolume(), allow_missing_keys)


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        advice = "give the folder of its series" if is_dicom(path) else "convert it to NIfTI"
        raise ValueError(f"{path} is no volume (.nii, .nii.gz, or a folder with one DICOM series): {advice}.")
    try:
        image = nibabel.load(path)
        # Straight to float32: MONAI's NibabelReader goes through float64 when the file has a scale.
        volume = image.get_fdata(dtype=np.float32, caching="unchanged")  # type: ignore[attr-defined]
        affine = np.asarray(image.affine, dtype=np.float64)  # type: ignore[attr-defined]
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read as NIfTI ({error}): it is damaged; copy or convert it again."
        ) from error
    if volume.ndim > 3 and all(side == 1 for side in volume.shape[3:]):
        volume = volume.reshape(volume.shape[:3])
    if volume.ndim != 3 or 0 in volume.shape:
        raise ValueError(f"{path} has the shape {volume.shape}, and a volume has three axes: save one volume a file.")
    if not np.isfinite(volume).all():
        count = int((~np.isfinite(volume)).sum())
        raise ValueError(f"{path} holds {count} voxels that are NaN or infinite: replace them (air is −1024 HU).")
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise ValueError(f"{path} has an affine that maps to no space: convert it again from the original.")
    return np.ascontiguousarray(volume), affine


def _read_series(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    slices = _slice_headers(folder)
    _check_one_series(folder, slices)
    positions, affine = _geometry(folder, slices)
    order = np.argsort(positions)
    stack = np.empty((len(slices), int(slices[0].Rows), int(slices[0].Columns)), dtype=np.float32)
    for index, which in enumerate(order):
        stack[index] = _slice_values(slices[which])
    return np.ascontiguousarray(stack.transpose(2, 1, 0)), affine


def _slice_headers(folder: Path) -> list[pydicom.FileDataset]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    slices, suffixes, others = [], {".dcm", ".dicom", ".ima"}, []
    for path in files:
        if not is_dicom(path):
            others.append(path)
            continue
        header = _header(path)
        if header.file_meta.get("MediaStorageSOPClassUID") != pydicom.uid.MediaStorageDirectoryStorage:
            slices.append(header)
            suffixes.add(_suffix(path))
    # A file named as the slices are is a slice that got damaged; a note or a table beside them is not.
    for path in others:
        if _suffix(path) in suffixes and slices:
            raise ValueError(f"{path} is no DICOM file though it lies among slices: copy it again, or move it away.")
    if not slices:
        raise ValueError(f"{folder} holds no DICOM slices: give a folder with one series, or a NIfTI file.")
    return slices


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return "" if suffix[1:].isdigit() else suffix  # names that are UIDs end in a number, each in its own


def _header(path: Path) -> pydicom.FileDataset:
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as error:  # whatever pydicom raises, the file is damaged
        raise ValueError(f"{path} cannot be read as DICOM ({error}): copy it again.") from error


def _check_one_series(folder: Path, slices: list[pydicom.FileDataset]) -> None:
    if all("LOCALIZER" in (header.get("ImageType") or []) for header in slices):
        raise ValueError(f"{folder} holds a localiser (scout) only, no volume: leave it out.")
    needed = ("SeriesInstanceUID", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
    for header in slices:
        missing = [tag for tag in needed if header.get(tag) is None]
        if header.get("Modality") == "CT":  # without them the values are not HU
            missing += [tag for tag in ("RescaleSlope", "RescaleIntercept") if header.get(tag) is None]
        if missing:
            raise ValueError(f"{_name(header)} lacks {', '.join(missing)}: it cannot be put into a volume.")
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise ValueError(f"{_name(header)} holds several frames: convert the series to NIfTI.")
    series = {str(header.SeriesInstanceUID) for header in slices}
    if len(series) > 1:
        raise ValueError(f"{folder} holds {len(series)} DICOM series: give each series a folder of its own.")
    for tag in ("Rows", "Columns", "PixelSpacing"):
        values = np.array([np.atleast_1d(header[tag].value).astype(float) for header in slices])
        if not np.allclose(values, values[0], rtol=COSINE_TOLERANCE):
            raise ValueError(f"{folder} mixes slices of different {tag}: give each kind a folder of its own.")


def _geometry(folder: Path, slices: list[pydicom.FileDataset]) -> tuple[np.ndarray, np.ndarray]:
    """Place of each slice along the normal [N] in mm, and the affine of the ordered stack (columns, rows, slices)."""
    cosines = np.array([header.ImageOrientationPatient for header in slices], dtype=float)
    if not np.allclose(cosines, cosines[0], atol=COSINE_TOLERANCE):
        raise ValueError(f"{folder} mixes slices of different orientations: give each orientation a folder of its own.")
    if len(slices) < 2:
        raise ValueError(f"{folder} holds one slice only, and a volume needs several: leave it out.")
    row, column = cosines[0, :3], cosines[0, 3:]
    normal = np.cross(row, column)
    if abs(np.linalg.norm(normal) - 1) > COSINE_TOLERANCE:
        raise ValueError(f"{folder} has slices whose rows and columns are not perpendicular: convert it to NIfTI.")
    corners = np.array([header.ImagePositionPatient for header in slices], dtype=float)
    places = corners @ normal
    step = _even_step(folder, np.sort(places))
    origin = corners[np.argmin(places)]
    pixel_rows, pixel_columns = (float(value) for value in slices[0].PixelSpacing)
    drift = np.linalg.norm((corners - origin) - np.outer(places - places.min(), normal), axis=1).max()
    if drift > DRIFT_TOLERANCE * min(pixel_rows, pixel_columns):
        tilt = slices[0].get("GantryDetectorTilt") or "unknown"
        raise ValueError(
            f"{folder} has slices that are shifted against each other by up to {drift:.1f} mm (gantry tilt {tilt}°), "
            "so they form no straight box: resample the series to an untilted NIfTI first, or leave it out."
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row * pixel_columns, column * pixel_rows, normal * step
    affine[:3, 3] = origin
    return places, LPS_TO_RAS @ affine


def _even_step(folder: Path, places: np.ndarray) -> float:
    steps = np.diff(places)
    middle = float(np.median(steps))
    if steps.min() < 0.01:
        raise ValueError(
            f"{folder} holds two slices at the same place (several phases or echoes, or copies): "
            "give each volume a folder of its own."
        )
    if np.abs(steps - middle).max() > SPACING_TOLERANCE * middle:
        raise ValueError(
            f"{folder} has slices {steps.min():.2f} to {steps.max():.2f} mm apart, so some are missing or the "
            "spacing is uneven: complete the series, or resample it to an even NIfTI."
        )
    return float((places[-1] - places[0]) / len(steps))


def _name(header: pydicom.FileDataset) -> str:
    return os.fsdecode(header.filename or "")


def _slice_values(header: pydicom.FileDataset) -> np.ndarray:
    try:
        stored = pixels.pixel_array(_name(header))
    except Exception as error:  # each decoder raises its own kind
        raise ValueError(f"{_name(header)} cannot be decoded ({error}): copy it again.") from error
    if stored.shape != (header.Rows, header.Columns):
        raise ValueError(f"{_name(header)} is a colour image, and a volume is grey: leave the series out.")
    return pixels.apply_modality_lut(stored, header)
