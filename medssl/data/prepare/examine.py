"""Look at one input as `prepare` does: decode it once, say what is wrong with it, or put it into the store.

Torch and MONAI are imported when the first input is decoded, so that the command line's ``--help`` needs neither.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medssl.errors import UnusableImageError, UserError
from medssl.files import whole_file
from medssl.readers import Reading, Study, Unit, studies_of
from medssl.readers.dicom_file import read_header
from medssl.readers.extreme_values import spread_sample
from medssl.readers.headers import body_axes
from medssl.readers.suffixes import DICOM_SUFFIXES, companions, suffix_of

from ..patients import hash_patient
from ..store import STORE, StoreSettings
from .mask_files import MaskFile
from .mask_store import store_masks

READER_VERSION = 3
"""Counted up when of the same file other values would be stored or noted, so that stores are made anew."""
AIR = -200.0
"""HU; what is lower is air, lung, or voxels that are partly air."""


@dataclass(frozen=True)
class Outcome:
    """What became of an input, or of one of the volumes in a folder.

    Attributes:
        files: names of the files it is made of, below the folder of the input.
        reason: why it cannot be used, in a word or three; empty when it can.
        detail: the same as a sentence; or, of a used image, what was put right.
        stored: the image in the store, relative to the datalist; empty when it cannot be used.
        content: digest of the decoded image, the same for the same image in another file.
        shape: pixels of the file as rows and columns; voxels to the right, front and head.
        spacing: sides of a voxel in the file, in mm, likewise; empty for radiographs.
        lowest: the lowest of its values.
        tissue: quartiles of a volume's values above `AIR`, which are those of soft tissue, fat and bone in HU.
        patient: hash of the PatientID in the DICOM header; empty where there is none.
        modality: as DICOM has it (``DX``, ``CT``, …); empty where the file states none.
        mask: its mask in the store, relative to the datalist; empty where there is none.
        outlined: the classes that were outlined in it.
        present: those of them that are there.
        masks: of each file with masks, the reason why it cannot be used ("" if it can) and a sentence.
    """

    files: Sequence[str]
    reason: str = ""
    detail: str = ""
    stored: str = ""
    content: str = ""
    shape: Sequence[int] = ()
    spacing: Sequence[float] = ()
    lowest: float = 0
    tissue: Sequence[float] = ()
    patient: str = ""
    modality: str = ""
    mask: str = ""
    outlined: Sequence[str] = ()
    present: Sequence[str] = ()
    masks: Sequence[Sequence[str]] = ()

    @property
    def files_stored(self) -> list[str]:
        """What it put into the store."""
        return [path for path in (self.stored, self.mask) if path]


def fingerprint(
    unit: Unit,
    settings: StoreSettings,
    salt: str,
    keep_masks: bool = False,
    masks: Sequence[MaskFile] = (),
    classes: Sequence[str] = (),
) -> str:
    """Tells whether an input was looked at already: the state of its files, and all that `examine` is told."""
    told = [READER_VERSION, settings, hash_patient(salt, ""), keep_masks]
    drawn = [list(classes), *map(_state_of_mask, masks)] if masks else []
    return _digest(json.dumps([*told, *map(_state, unit.files), *drawn]).encode())


def _state_of_mask(file: MaskFile) -> tuple[Any, ...]:
    return *map(_state, (file.path, *companions(file.path))), file.numbers, file.name, file.leaves_others


def _state(path: Path) -> tuple[str, int, int, bool]:
    try:
        stat = path.stat()
        return path.name, stat.st_size, stat.st_mtime_ns, os.access(path, os.R_OK)
    except OSError:  # a link that leads nowhere
        return path.name, 0, 0, False


def examine(
    unit: Unit,
    settings: StoreSettings,
    output: Path,
    salt: str,
    keep_masks: bool = False,
    masks: Sequence[MaskFile] = (),
    classes: Sequence[str] = (),
) -> list[Outcome]:
    """Decode an input and its masks, and write what can be used into the store.

    Args:
        unit: an image file, or the DICOM files of a folder.
        settings: of the store.
        output: folder of the datalist; the images go to ``store`` below it.
        salt: for the hash of a patient.
        keep_masks: use what looks like a mask, with a note, for somebody labelled it as an image.
        masks: the files with its masks.
        classes: of all masks of the study, in the order of their bits.

    Returns:
        One outcome, or of a folder one for each volume and one for each file that belongs to none. Every file of the
        unit is in exactly one. A fault of the input is an outcome, never an error.

    Raises:
        UserError: the store cannot be written.
    """
    found = studies_of(unit, settings["spatial_dims"])
    folder = unit.path if unit.path.is_dir() else unit.path.parent
    drawn = [masks if len(found.studies) == 1 else ()] * len(found.studies)
    outcomes = [
        _keep(study, folder, settings, output, salt, keep_masks, files, classes)
        for study, files in zip(found.studies, drawn, strict=True)
    ]
    if masks and len(found.studies) > 1:
        said = (
            "several volumes",
            f"{folder.name} holds {len(found.studies)}, and the mask does not say of which it is",
        )
        outcomes[0] = replace(outcomes[0], masks=[said] * len(masks))
    refused = [(file, refusal) for refusal in found.refusals for file in refusal.files]
    return outcomes + [Outcome(_names([file], folder), one.reason, one.detail) for file, one in refused]


def _keep(
    study: Study,
    folder: Path,
    settings: StoreSettings,
    output: Path,
    salt: str,
    keep_masks: bool,
    masks: Sequence[MaskFile],
    classes: Sequence[str],
) -> Outcome:
    from medssl.transforms import write_stored

    names = _names(study.files, folder)
    try:
        original = study.read(keep_masks)
        content = _content(original)
        stored = f"{STORE}/{content[:2]}/{_digest((content + json.dumps(settings)).encode())}.b2nd"
        image, spacing = _prepared(original, study.path, settings)
    except UnusableImageError as error:
        return Outcome(names, error.reason, str(error))
    try:
        with whole_file(output / stored) as temporary:
            write_stored(temporary, image, spacing)
    except (OSError, RuntimeError) as error:  # no fault of the image; blosc2 raises the latter
        raise UserError(f"{output / stored} cannot be written ({error}): is the disk full?") from error
    drawn: dict[str, Any] = {}
    if masks:
        outlined = store_masks(original, study.path, stored, masks, classes, settings, spacing, output, _digest)
        drawn = {
            "mask": outlined.mask,
            "outlined": outlined.classes,
            "present": outlined.present,
            "masks": outlined.said,
        }
    patient = _patient(study.files[0])
    axes = np.arange(2) if original.affine is None else body_axes(original.affine)
    return Outcome(
        names,
        detail="; ".join(original.notes),
        stored=stored,
        content=content,
        shape=np.array(original.values.shape)[axes].tolist(),
        spacing=[] if original.affine is None else np.array(_sides(original.affine))[axes].tolist(),
        lowest=round(float(original.values.min()), 1),
        tissue=[] if original.affine is None else _tissue(original.values),
        patient=hash_patient(salt, patient) if patient else "",
        modality=original.modality,
        **drawn,
    )


def _tissue(values: np.ndarray) -> list[float]:
    sample = spread_sample(values)
    tissue = sample[sample > AIR]
    return np.percentile(tissue, (25, 50, 75)).round(1).tolist() if len(tissue) else []


def _names(files: Sequence[Path], folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in files]


def _prepared(original: Reading, path: Path, settings: StoreSettings) -> tuple[np.ndarray, list[float] | None]:
    """The image as the store keeps it, which is how inference sees it, and the sides of its voxels."""
    from medssl.transforms import ResampleVolume, ResizeRadiograph, image_tensor

    image = image_tensor(original, path)
    if settings["spatial_dims"] == 2:
        return ResizeRadiograph(settings["size"])(image)[0].numpy(), None
    resampled = ResampleVolume(settings["spacing"])(image)
    return resampled[0].numpy(), _sides(resampled.affine.numpy())


def _sides(affine: np.ndarray) -> list[float]:
    return [round(float(side), 6) for side in np.linalg.norm(affine[:3, :3], axis=0)]


def _content(original: Reading) -> str:
    place = b"" if original.affine is None else np.round(original.affine[:3, :3], 3).tobytes()
    shape = json.dumps(original.values.shape).encode()
    return _digest(shape + place, np.ascontiguousarray(original.values).data)


def _digest(*parts: bytes | memoryview) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _patient(path: Path) -> str:
    if suffix_of(path) not in ("", *DICOM_SUFFIXES):
        return ""
    try:
        header, _, _ = read_header(path, ["PatientID"])
        return str(header.get("PatientID") or "")
    except Exception:  # no DICOM, or a damaged file; who reads the pixels says so
        return ""
