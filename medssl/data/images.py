"""Finding image files under a folder, and opening each once to see that it decodes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
from tqdm import tqdm

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
VOLUME_SUFFIXES = (".nii", ".nii.gz")
KNOWN_SUFFIXES = PICTURE_SUFFIXES + DICOM_SUFFIXES + VOLUME_SUFFIXES


def find_images(folder: Path, spatial_dims: int, skip: Path | None = None) -> tuple[list[Path], list[Path]]:
    """Everything under a folder that is an image by its name or first bytes, and everything that is not.

    Args:
        folder: searched to the bottom; hidden files and folders are passed over.
        spatial_dims: 2 for radiographs (PNG, JPEG, TIFF, BMP and DICOM files), 3 for volumes (NIfTI files and folders
            that hold DICOM slices, each folder one image).
        skip: a folder to pass over (the one that is written to).

    Returns:
        Absolute paths of images and of other files, both sorted.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}: check the path of the images.")
    images: list[Path] = []
    others: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder.resolve(), followlinks=True):
        here = Path(place)
        if os.path.realpath(place) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and here / name != skip)
        files = [here / name for name in sorted(names) if not name.startswith(".")]
        if spatial_dims == 3 and any(_is_dicom(path) for path in files):
            images.append(here)
            files = [path for path in files if path.name.lower().endswith(VOLUME_SUFFIXES)]
        for path in files:
            (images if _is_image(path, spatial_dims) else others).append(path)
    return images, others


def _is_image(path: Path, spatial_dims: int) -> bool:
    name = path.name.lower()
    if spatial_dims == 3:
        return name.endswith(VOLUME_SUFFIXES)
    return name.endswith(PICTURE_SUFFIXES) or _is_dicom(path)


def _is_dicom(path: Path) -> bool:
    """By its name or, as slices often have none or a number for suffix, by its first bytes."""
    name = path.name.lower()
    if name.endswith(DICOM_SUFFIXES):
        return True
    if name.endswith((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES, ".csv", ".json", ".txt")) or name == "dicomdir":
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


class ImageIndex:
    """Finds the image that a CSV row means: by its path below the folder, or else by its name alone."""

    def __init__(self, folder: Path, images: Iterable[Path]) -> None:
        self._folder = folder.resolve()
        self._by_path: dict[str, Path] = {}
        self._by_name: dict[str, list[Path]] = {}
        self.images = list(images)
        for path in self.images:
            self._by_path[path.relative_to(self._folder).as_posix()] = path
            self._by_name.setdefault(path.name, []).append(path)

    def find(self, image: str) -> list[Path]:
        """Every image that ``image`` may mean: one when all is well, none, or several of the same name."""
        if os.path.isabs(image):
            image = os.path.relpath(image, self._folder)
        key = Path(os.path.normpath(image)).as_posix()
        if key in self._by_path:
            return [self._by_path[key]]
        return self._by_name.get(key, [])  # ChestX-ray14 comes in twelve folders, its CSV has names only


def check_images(paths: Sequence[Path], spatial_dims: int, workers: int | None = None) -> dict[Path, str]:
    """Open every image as training will, and say of those that fail why.

    Args:
        paths: image files or, for volumes, series folders.
        spatial_dims: 2 or 3.
        workers: threads (decoders release Python's lock); by default one a core, at most eight, for volumes four.

    Returns:
        The reason for each image that cannot be read; empty when all can.
    """
    # Here and not above: torch and MONAI take seconds to import, and the command line's --help needs neither.
    from medssl.transforms.radiograph import read_radiograph
    from medssl.transforms.volume import LoadVolume

    load: Callable[[Path], object] = read_radiograph if spatial_dims == 2 else LoadVolume()

    def reason(path: Path) -> str:
        try:
            load(path)
        except (ValueError, OSError, MemoryError) as error:
            return str(error) or type(error).__name__
        return ""

    workers = workers or min(os.cpu_count() or 1, 8 if spatial_dims == 2 else 4)
    with ThreadPoolExecutor(workers) as pool:
        reasons = list(
            tqdm(pool.map(reason, paths), total=len(paths), desc="checking images", unit="image", disable=None)
        )
    return {path: why for path, why in zip(paths, reasons, strict=True) if why}


def patient_of(path: Path) -> str:
    """The patient of an image that no CSV names: DICOM's PatientID, or else the name of the file or folder."""
    first = next((file for file in sorted(path.iterdir()) if _is_dicom(file)), path) if path.is_dir() else path
    if _is_dicom(first):
        try:
            patient = pydicom.dcmread(first, stop_before_pixels=True, specific_tags=["PatientID"]).get("PatientID")
        except Exception:  # a damaged file; check_images says so
            patient = None
        if patient:
            return str(patient)
    suffix = next((end for end in KNOWN_SUFFIXES if path.is_file() and path.name.lower().endswith(end)), "")
    return path.name[: len(path.name) - len(suffix)]


def hash_patient(salt: str, patient: str) -> str:
    """A short name for a patient that nobody without the salt can trace back: 16 hexadecimal digits."""
    return hashlib.blake2b(patient.encode(), key=hashlib.blake2b(salt.encode()).digest(), digest_size=8).hexdigest()
