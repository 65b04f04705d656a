"""Write phantoms as the files a hospital would send: images in PNG, DICOM or NIfTI and one CSV with the findings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import compress, islice
from itertools import count as count_from
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
import pandas as pd
import pydicom
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from medssl.errors import UserError
from medssl.files import remove_half_written, whole_file, write_text
from medssl.progress import watched

from .chest_anatomy import ChestAnatomy
from .chest_findings import CHEST_FINDINGS
from .head import draw_head
from .head_anatomy import HeadAnatomy
from .head_bleedings import HEAD_FINDINGS
from .radiograph import draw_radiograph
from .scanner import Scanner

Kind = Literal["chest", "head"]
FIELD_OF_VIEW = {"chest": (400.0, 400.0), "head": (224.0, 224.0, 160.0)}  # millimetres
DEFAULT_SIZE = {"chest": (256, 256), "head": (64, 64, 32)}
FINDINGS = {"chest": CHEST_FINDINGS, "head": HEAD_FINDINGS}
# Shares of patients per finding among those who are not healthy, so that about a quarter of images has none.
HEALTHY_SHARE = 0.2
PATIENT_SHARE = {"chest": 0.22, "head": 0.36}
ALONE = 500
"""So many images are drawn before other processes would have begun."""


@dataclass(frozen=True)
class Study:
    """One image to draw: who, which visit, and what is found."""

    patient: int
    visit: int
    findings: tuple[str, ...]

    @property
    def name(self) -> str:
        """File name without suffix."""
        return f"phantom-{self.patient:05d}-{self.visit}"

    @property
    def patient_name(self) -> str:
        """Pseudonym of the patient."""
        return f"phantom-{self.patient:05d}"


def studies(kind: Kind, seed: int, first_patient: int = 0) -> Iterator[Study]:
    """Yield studies without end: patients with one to four visits each, who depend on `seed` and their number only."""
    names = FINDINGS[kind]
    for patient in count_from(first_patient):
        generator = np.random.default_rng([seed, patient])
        visits = int(generator.integers(1, 5))
        history = generator.uniform(size=len(names)) < PATIENT_SHARE[kind] * (generator.uniform() > HEALTHY_SHARE)
        if kind == "chest" and history[names.index("Cardiomegaly")]:
            history[names.index("Effusion")] |= generator.uniform() < 0.3
        for visit in range(visits):
            # Most findings are seen again; a few are gone.
            seen = history & (generator.uniform(size=len(names)) < 0.85)
            yield Study(patient, visit, tuple(compress(names, seen)))


def draw_study(
    kind: Kind, study: Study, seed: int, size: tuple[int, ...], scanner: Scanner | None = None
) -> NDArray[np.float32] | NDArray[np.int16]:
    """Draw one study: a radiograph `[size, size]` in 0..1 or a head `[X, Y, Z]` in HU."""
    anatomy_stream = np.random.default_rng([seed, study.patient, 1])
    visit_stream = np.random.default_rng([seed, study.patient, 2, study.visit])
    if kind == "chest":
        return draw_radiograph(study.findings, visit_stream, size[0], ChestAnatomy.random(anatomy_stream), scanner)
    head = HeadAnatomy.random(anatomy_stream)
    return draw_head(study.findings, visit_stream, (size[0], size[1], size[2]), head_spacing(size), head)


def head_spacing(size: tuple[int, ...]) -> tuple[float, float, float]:
    """Voxel size in millimetres of a head volume of `size`."""
    x, y, z = (extent / count for extent, count in zip(FIELD_OF_VIEW["head"], size, strict=True))
    return x, y, z


def write_phantoms(
    directory: Path | str,
    kind: Kind,
    count: int,
    seed: int = 0,
    size: int | tuple[int, ...] | None = None,
    image_format: Literal["png", "dicom", "nifti"] | None = None,
    progress: bool = True,
    scanner: Scanner | None = None,
    first_patient: int = 0,
) -> Path:
    """Write `count` phantoms to `directory/images` and what they show to `directory/labels.csv`.

    Args:
        directory: new, empty, or holding phantoms from an earlier call, which are replaced.
        kind: `chest` (PNG by default, or DICOM) or `head` (NIfTI).
        count: number of images; patients have one to four each.
        seed: image i depends on `seed` and i only, whatever `count` (and on `scanner` and `first_patient`).
        size: pixels: side of a radiograph (256), or `(X, Y, Z)` of a head (64, 64, 32). The field of view stays the
            same (400 x 400 mm, 224 x 224 x 160 mm), so size sets the spacing.
        image_format: `png` (16 bit), `dicom` (12 bit, every fourth MONOCHROME1) or `nifti` (`.nii.gz`, int16 HU).
        progress: whether to show it.
        scanner: how a hospital takes its radiographs; of heads there is none.
        first_patient: number of the first patient, so that hospitals of one `seed` share none.

    Returns:
        Path of the CSV: `image` (relative to `images`), `patient`, then 1 or 0 per finding.

    Raises:
        UserError: for a kind, format, size or count that cannot be.
        UserError: if the directory holds anything else than phantoms.
    """
    chosen_format, size = _check_arguments(kind, count, size, image_format)
    directory = Path(directory)
    _make_room(directory)
    suffix, save = _FORMATS[chosen_format]
    rows = []
    chosen = list(islice(studies(kind, seed, first_patient), count))
    drawing = Parallel(n_jobs=1 if count < ALONE else -1, return_as="generator")
    images = drawing(delayed(draw_study)(kind, study, seed, size, scanner) for study in chosen)
    shown = watched(zip(chosen, images, strict=True), f"{kind} phantoms", total=count, show=progress)
    for index, (study, image) in enumerate(shown):
        path = directory / "images" / (study.name + suffix)
        with whole_file(path) as temporary:
            save(temporary, image, study, index)
        rows.append([path.name, study.patient_name, *(int(name in study.findings) for name in FINDINGS[kind])])
    table = directory / "labels.csv"
    write_text(table, pd.DataFrame(rows, columns=["image", "patient", *FINDINGS[kind]]).to_csv(index=False))
    return table


def _check_arguments(
    kind: str, count: int, size: int | tuple[int, ...] | None, image_format: str | None
) -> tuple[str, tuple[int, ...]]:
    if kind not in FINDINGS:
        raise UserError(f"Unknown kind of phantom {kind!r}; choose 'chest' or 'head'.")
    allowed = {"chest": ("png", "dicom"), "head": ("nifti",)}[kind]
    chosen = image_format or allowed[0]
    if chosen not in allowed:
        raise UserError(f"{kind} phantoms cannot be written as {chosen!r}; choose {' or '.join(allowed)}.")
    shape = DEFAULT_SIZE[kind] if size is None else (size,) * len(DEFAULT_SIZE[kind]) if isinstance(size, int) else size
    shape = tuple(int(n) for n in shape)
    if len(shape) != len(DEFAULT_SIZE[kind]) or min(shape) < 16 or (kind == "chest" and shape[0] != shape[1]):
        wanted = "one side, at least 16" if kind == "chest" else "three numbers, each at least 16"
        raise UserError(f"The size of {kind} phantoms must be {wanted}; got {size}.")
    if count < 1:
        raise UserError(f"count must be at least 1; got {count}.")
    return chosen, shape


def _make_room(directory: Path) -> None:
    """Create the directory, or empty it of phantoms from an earlier call; refuse to touch anything else."""
    if directory.is_file():
        raise UserError(f"{directory} is a file; name a new or empty folder for the phantoms.")
    remove_half_written(directory)
    found = [path for path in directory.rglob("*") if path != directory / "images"]
    if others := sorted(path for path in found if not _is_ours(path, directory)):
        raise UserError(
            f"{directory} holds {len(others)} file(s) that are no phantoms, such as {others[0].name}; "
            "name a new or empty folder."
        )
    # The table goes first: without it, a half-emptied folder is not mistaken for a complete one.
    for path in sorted(found, key=lambda path: path != directory / "labels.csv"):
        path.unlink()


def _is_ours(path: Path, directory: Path) -> bool:
    """Whether a file comes from an earlier call: by its name, and a table by its header too."""
    if path == directory / "labels.csv":
        with path.open(encoding="utf-8", errors="replace") as file:
            header = file.readline().strip().split(",")
        return any(header == ["image", "patient", *names] for names in FINDINGS.values())
    return path.is_file() and path.parent in (directory, directory / "images") and path.name.startswith("phantom-")


def _save_png(path: Path, image: np.ndarray, study: Study, index: int) -> None:
    Image.fromarray(np.rint(image * 65535).astype(np.uint16)).save(path)


def _save_nifti(path: Path, image: np.ndarray, study: Study, index: int) -> None:
    spacing = head_spacing(image.shape)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * s for n, s in zip(image.shape, spacing, strict=True)]
    volume = nibabel.Nifti1Image(image, affine)
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, path)


def _save_dicom(path: Path, image: np.ndarray, study: Study, index: int) -> None:
    inverted = index % 4 == 3
    stored = np.rint((1 - image if inverted else image) * 4095).astype(np.uint16)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    # Identifiers from the name, so that the same seed gives the same bytes.
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[study.name, stored.tobytes().hex()[:256]])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["study", data.SOPInstanceUID])
    data.SeriesInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["series", data.SOPInstanceUID])
    data.PatientID = data.PatientName = study.patient_name
    data.Modality, data.BodyPartExamined, data.ViewPosition = "DX", "CHEST", "PA"
    data.PatientOrientation = ["L", "F"]
    data.StudyDate, data.StudyTime, data.AccessionNumber = "", "", ""
    data.PatientBirthDate, data.PatientSex = "", ""
    data.SeriesNumber, data.InstanceNumber = 1, study.visit + 1
    data.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    data.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.Rows, data.Columns = stored.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelSpacing = [FIELD_OF_VIEW["chest"][0] / n for n in stored.shape]
    data.ImagerPixelSpacing = data.PixelSpacing
    data.WindowCenter, data.WindowWidth = 2048, 4096
    data.PixelData = stored.tobytes()
    data.save_as(path, enforce_file_format=True)


_FORMATS: dict[str, tuple[str, Callable[..., None]]] = {
    "png": (".png", _save_png),
    "dicom": (".dcm", _save_dicom),
    "nifti": (".nii.gz", _save_nifti),
}
