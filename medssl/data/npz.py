"""From one npz of images to image files with a CSV, so that `prepare` reads it: our own form, and MedMNIST's."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from PIL import Image

from medssl.errors import MissingFileError, UserError
from medssl.files import whole_file, write_json, write_text

from .sources import Source
from .tables import MOST_CLASSES, split_of

REQUIRED = ("images", "labels", "label_names", "patient_id")
MEDMNIST_SPLITS = ("train", "val", "test")
ORGANS = [
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
]
# What the numbers mean in MedMNIST's sets (Yang et al. 2023, "MedMNIST v2", and its package's info.py).
MEDMNIST_CLASSES: dict[str, list[str]] = {
    "organamnist": ORGANS,
    "organcmnist": ORGANS,
    "organsmnist": ORGANS,
    "organmnist3d": [
        "liver",
        "kidney-right",
        "kidney-left",
        "femur-right",
        "femur-left",
        "bladder",
        "heart",
        "lung-right",
        "lung-left",
        "spleen",
        "pancreas",
    ],
    "fracturemnist3d": ["buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"],
}
MEDMNIST_FINDINGS: dict[str, list[str]] = {  # several may occur together
    "chestmnist": [
        "atelectasis",
        "cardiomegaly",
        "effusion",
        "infiltration",
        "mass",
        "nodule",
        "pneumonia",
        "pneumothorax",
        "consolidation",
        "edema",
        "emphysema",
        "fibrosis",
        "pleural",
        "hernia",
    ]
}
MEDMNIST_FINDING: dict[str, tuple[str, int]] = {  # one, and the number that says it is there
    "pneumoniamnist": ("pneumonia", 1),
    "breastmnist": ("malignant", 0),
    "adrenalmnist3d": ("hyperplasia", 1),
    "nodulemnist3d": ("malignant", 1),
    "vesselmnist3d": ("aneurysm", 1),
}
MEDMNIST_MODALITIES: dict[str, str] = {  # as DICOM calls them (PS3.3 C.7.3.1.1.1)
    "chestmnist": "DX",
    "pneumoniamnist": "DX",
    "breastmnist": "US",
    "octmnist": "OPT",
    "retinamnist": "OP",
    "dermamnist": "DMS",
    "pathmnist": "SM",
    "bloodmnist": "GM",
    "tissuemnist": "GM",
    "organamnist": "CT",
    "organcmnist": "CT",
    "organsmnist": "CT",
    "organmnist3d": "CT",
    "nodulemnist3d": "CT",
    "adrenalmnist3d": "CT",
    "fracturemnist3d": "CT",
    "vesselmnist3d": "MR",
}
Header = tuple[tuple[int, ...], np.dtype]  # shape and kind of an array
STATE, CSV, IMAGES, CLASS = "unpacked.json", "labels.csv", "images", "class"


@dataclass(frozen=True)
class _Content:
    """What an npz holds: its arrays of images, each with its header, and a row for each image in their order."""

    images: Mapping[str, Header]
    rows: pd.DataFrame
    classes: list[str] = field(default_factory=list)  # names of what the column ``class`` holds, when there is one
    modality: str = ""


def unpack_npz(path: str | Path, output: str | Path, spacing: float | tuple[float, float, float] = 2.0) -> Source:
    """Write ``output/images`` (PNG in 2D, NIfTI in 3D) and ``output/labels.csv``.

    The images are read one at a time, and those that are written already are kept: called again with the same file it
    writes nothing, and killed it goes on where it was.

    Args:
        path: an npz of one of two forms. Our own has ``images`` [N, X, Y, Z] (HU, axes towards right, front, head),
            ``labels`` [N, K] of 1, 0, NaN, ``label_names`` [K], ``patient_id`` [N] and optionally ``split`` [N] of
            train, val, test. MedMNIST's has ``train_images`` [N, H, W], [N, H, W, 3] or [N, D, H, W],
            ``train_labels`` [N, K], and the same of val and test; each image is a patient of its own. By the file's
            name (without a size such as _64) the labels of its sets are known; others are "class 0" and so on.
        output: folder to write into; it is made.
        spacing: side of a voxel in mm, or the three sides.

    Returns:
        Images and CSV, and how to read it: ``classes`` is set where each image has exactly one of several, ``modality``
        for MedMNIST's sets by their name, and to CT for our own form.

    Raises:
        MissingFileError: there is no such npz.
        UserError: it is no npz, lacks an array, or its arrays do not fit together; the message names which. Or the
            folder holds images that are not from an npz.
    """
    path, output = Path(path), Path(output)
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}: check its path.")
    sides = np.broadcast_to(np.asarray(spacing, dtype=float), 3).tolist()
    stat = path.stat()
    file = {"name": path.name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "spacing": sides}
    state = _read_state(output / STATE)
    if state.get("file") != file or "modality" not in state or not (output / CSV).is_file():
        content = _read(path)
        _clear(output, keep=state.get("file") == file)
        write_json(output / STATE, {"file": file})
        _write_images(path, content, output / IMAGES, sides)
        write_text(output / CSV, content.rows.to_csv(index=False))
        state = {"file": file, "classes": content.classes, "modality": content.modality}
        write_json(output / STATE, state)
    classes = {name: name for name in state["classes"]}
    kind = CLASS if classes else ""
    modality = state["modality"]
    return Source(output / IMAGES, output / CSV, name=path.stem, labels=classes, classes=kind, modality=modality)


def unpack_source(source: Source, output: str | Path, spacing: float | tuple[float, float, float] = 2.0) -> Source:
    """A source's npz unpacked into ``output``, see `unpack_npz`; what the source says itself stays as it is."""
    if source.npz is None:
        return source
    unpacked = unpack_npz(source.npz, output, spacing)
    return replace(
        source,
        images=unpacked.images,
        csv=unpacked.csv,
        npz=None,
        name=source.name or unpacked.name,
        labels=source.labels or unpacked.labels,
        classes=source.classes or unpacked.classes,
        modality=source.modality or unpacked.modality,
    )


def _read_state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return state


def _clear(output: Path, keep: bool) -> None:
    """Remove what another npz left behind."""
    images = list((output / IMAGES).iterdir()) if (output / IMAGES).is_dir() else []
    if images and not (output / STATE).is_file():
        raise UserError(f"{output / IMAGES} holds files already, and not from an npz: choose an empty folder.")
    for image in [] if keep else images:
        image.unlink()


def _write_images(path: Path, content: _Content, folder: Path, sides: list[float]) -> None:
    names = iter(content.rows["image"])
    folder.mkdir(parents=True, exist_ok=True)
    for member, (shape, dtype) in content.images.items():
        for image in _stream(path, member, shape, dtype):
            target = folder / next(names)
            if target.is_file():  # written whole before a kill
                continue
            with whole_file(target) as temporary:
                if target.suffix == ".png":
                    Image.fromarray(image).save(temporary)
                else:
                    nifti = nibabel.Nifti1Image(image, np.diag([*sides, 1.0]))
                    nifti.header.set_xyzt_units("mm")
                    nifti.to_filename(temporary)


def _stream(path: Path, member: str, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """One image after the other: the arrays of MedMNIST's large sets would not fit in memory."""
    size = int(np.prod(shape[1:])) * dtype.itemsize
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as file:
            if _read_header(file)[1]:  # in Fortran's order the images lie interleaved
                yield from np.load(path)[member]
                return
            for _ in range(shape[0]):
                yield np.frombuffer(file.read(size), dtype).reshape(shape[1:])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked ({member}: {error}): it is damaged; copy it again.") from error


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype] = read(file)
    return header


def _read(path: Path) -> _Content:
    try:
        with np.load(path) as file:  # never unpickles
            there = list(file)
            medmnist = [split for split in MEDMNIST_SPLITS if f"{split}_images" in there]
            images = [f"{split}_images" for split in medmnist] or ["images"]
            needed = [f"{split}_labels" for split in medmnist] or list(REQUIRED)
            missing = [name for name in needed if name not in there]
            if missing:
                raise UserError(f"it lacks {', '.join(missing)}; it has {', '.join(there)}")
            arrays = {name: file[name] for name in (*needed, "split") if name in there and name not in images}
        headers = {}
        with zipfile.ZipFile(path) as archive:
            for name in images:
                with archive.open(f"{name}.npy") as member:
                    shape, _, dtype = _read_header(member)
                    headers[name] = (shape, dtype)
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} cannot be unpacked ({error}): it must be an npz with {', '.join(REQUIRED)} and optionally split, "
            "or one of MedMNIST with train_images, train_labels and so on."
        ) from error
    return _medmnist(path, headers, arrays) if medmnist else _own(path, headers, arrays)


def _own(path: Path, images: Mapping[str, Header], arrays: dict[str, np.ndarray]) -> _Content:
    shape, dtype = images["images"]
    if len(shape) != 4:
        raise UserError(f"{path}: images has the shape {shape}, not [N, X, Y, Z].")
    _check_dtype(path, "images", dtype)
    count, classes = shape[0], len(arrays["label_names"])
    wanted = {"labels": (count, classes), "patient_id": (count,), "split": (count,)}
    for name, right in wanted.items():
        if name in arrays and arrays[name].shape != right:
            raise UserError(f"{path}: {name} has the shape {arrays[name].shape}, and images need {right}.")
    known = arrays["labels"][~np.isnan(arrays["labels"].astype(float))]
    if not np.isin(known, (0, 1)).all():
        raise UserError(f"{path}: labels holds values other than 1, 0 and NaN (unknown).")
    rows = pd.DataFrame({"image": _numbered("", count, "nii"), "patient": arrays["patient_id"].astype(str)})
    splits = [split_of(str(word)) for word in arrays.get("split", ())]
    if "" in splits:
        raise UserError(f"{path}: split holds {str(arrays['split'][splits.index('')])!r}: use train, val or test.")
    if splits:
        rows["split"] = splits
    names = [str(name) for name in arrays["label_names"]]
    labels = pd.DataFrame(arrays["labels"], columns=names).astype("Int64")  # NaN becomes an empty cell
    return _Content(images, pd.concat([rows, labels], axis=1), modality="CT")


def _medmnist(path: Path, images: Mapping[str, Header], arrays: dict[str, np.ndarray]) -> _Content:
    parts, labels = [], []
    for name, (shape, dtype) in images.items():
        split = name.removesuffix("_images")
        flat = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
        if not flat and len(shape) != 4:
            raise UserError(f"{path}: {name} has the shape {shape}, not [N, H, W], [N, H, W, 3] or [N, D, H, W].")
        _check_dtype(path, name, dtype, (np.uint8,) if flat else None)
        numbers = arrays[f"{split}_labels"]
        if len(numbers) != shape[0] or numbers.ndim > 2 or not np.issubdtype(numbers.dtype, np.integer):
            raise UserError(
                f"{path}: {split}_labels has the shape {numbers.shape} of {numbers.dtype}, and {shape[0]} images need "
                "[N, K] whole numbers."
            )
        files = _numbered(f"{split}_", shape[0], "png" if flat else "nii")
        patients = [Path(file).stem for file in files]
        parts.append(pd.DataFrame({"image": files, "patient": patients, "split": split_of(split)}))
        labels.append(numbers.reshape(shape[0], -1))
    columns, classes = _medmnist_labels(path, np.concatenate(labels))
    rows = pd.concat([pd.concat(parts, ignore_index=True), columns], axis=1)
    return _Content(images, rows, classes, MEDMNIST_MODALITIES.get(_dataset(path), ""))


def _medmnist_labels(path: Path, numbers: np.ndarray) -> tuple[pd.DataFrame, list[str]]:
    """The columns of labels, and the names of the classes where there is a column ``class``."""
    dataset = _dataset(path)
    lowest, highest, width = int(numbers.min(initial=0)), int(numbers.max(initial=0)), numbers.shape[1]
    if lowest < 0 or highest >= MOST_CLASSES or (width > 1 and highest > 1):
        raise UserError(f"{path}: the labels hold {min(lowest, 0) or highest}, which is no class.")
    if width > 1:
        names = MEDMNIST_FINDINGS.get(dataset) or [f"class {number}" for number in range(width)]
        _check_names(path, names, width)
        return pd.DataFrame(numbers, columns=names), []
    if dataset in MEDMNIST_FINDING or (highest < 2 and dataset not in MEDMNIST_CLASSES):
        name, positive = MEDMNIST_FINDING.get(dataset, ("class 1", 1))
        _check_names(path, ["not " + name, name], highest + 1)
        return pd.DataFrame({name: (numbers[:, 0] == positive).astype(int)}), []
    names = MEDMNIST_CLASSES.get(dataset) or [f"class {number}" for number in range(highest + 1)]
    _check_names(path, names, highest + 1)
    return pd.DataFrame({CLASS: np.array(names)[numbers[:, 0]]}), names


def _dataset(path: Path) -> str:
    """The name of a set of MedMNIST's, whose files may say a size behind it."""
    return re.sub(r"_\d+$", "", path.stem.lower())


def _check_names(path: Path, names: list[str], needed: int) -> None:
    if needed > len(names):
        raise UserError(
            f"{path} is called like a set with {len(names)} classes, and its labels have {needed}: rename the file."
        )


def _check_dtype(path: Path, name: str, dtype: np.dtype, allowed: tuple[type, ...] | None = None) -> None:
    if dtype not in (allowed or (np.int16, np.uint8, np.int32, np.float32)):
        wanted = "uint8" if allowed else "int16 (HU) or float32"
        raise UserError(f"{path}: {name} holds {dtype}: save it as {wanted}.")


def _numbered(start: str, count: int, suffix: str) -> list[str]:
    digits = len(str(count - 1))
    return [f"{start}{index:0{digits}d}.{suffix}" for index in range(count)]
