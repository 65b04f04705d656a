"""From one npz of images to image files with a CSV, so that `prepare` reads it: MedMNIST's form, and a plain one."""

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pandas as pd
from PIL import Image

from medssl.errors import MissingFileError, UserError
from medssl.files import whole_file, write_json, write_text

from .sources import Source
from .tables import MOST_CLASSES, split_of

STATE, CSV, IMAGES, CLASS = "unpacked.json", "labels.csv", "images", "class"
PLAIN_FORM = ("images", "labels", "label_names", "patient_id")
NONE = "-"  # the class of images without the one finding
_ORGANS = "bladder femur-left femur-right heart kidney-left kidney-right liver lung-left lung-right pancreas spleen"
_CHEST = """
    atelectasis cardiomegaly effusion infiltration mass nodule pneumonia pneumothorax consolidation edema emphysema
    fibrosis pleural hernia
"""
_ORGANS_3D = "liver kidney-right kidney-left femur-right femur-left bladder heart lung-right lung-left spleen pancreas"
# MedMNIST's sets (Yang et al. 2023, "MedMNIST v2", and its package's info.py): the modality as DICOM calls it (PS3.3
# C.7.3.1.1.1), and what the numbers, or the columns of ChestMNIST, mean.
MEDMNIST: dict[str, tuple[str, list[str]]] = {
    "chestmnist": ("DX", _CHEST.split()),
    "pneumoniamnist": ("DX", [NONE, "pneumonia"]),
    "breastmnist": ("US", ["malignant", NONE]),
    **dict.fromkeys(("organamnist", "organcmnist", "organsmnist"), ("CT", _ORGANS.split())),
    "organmnist3d": ("CT", _ORGANS_3D.split()),
    "nodulemnist3d": ("CT", [NONE, "malignant"]),
    "adrenalmnist3d": ("CT", [NONE, "hyperplasia"]),
    "fracturemnist3d": ("CT", [f"{kind} rib fracture" for kind in ("buckle", "nondisplaced", "displaced")]),
    "vesselmnist3d": ("MR", [NONE, "aneurysm"]),
    "octmnist": ("OPT", []),
    "retinamnist": ("OP", []),
    "dermamnist": ("DMS", []),
    "pathmnist": ("SM", []),
    "bloodmnist": ("GM", []),
    "tissuemnist": ("GM", []),
}

_Header = tuple[tuple[int, ...], bool, np.dtype]  # of an array: shape, whether in Fortran's order, kind of numbers


class _Content(NamedTuple):
    """What an npz holds: the names of its arrays of images, and a row for each image in their order."""

    images: list[str]
    rows: pd.DataFrame
    classes: list[str]  # names of what the column `class` holds, when there is one
    modality: str


def unpack_source(source: Source, output: str | Path, spacing: float | tuple[float, float, float] = 2.0) -> Source:
    """Write a source's npz as `output/images` (PNG in 2D, NIfTI in 3D) and `output/labels.csv`.

    The images are read one at a time, and those that are written already are kept: called again with the same file it
    writes nothing, and killed it goes on where it was.

    Args:
        source: its `npz` has one of two forms. MedMNIST's has `train_images` [N, H, W], [N, H, W, 3] or [N, D, H, W],
            `train_labels` [N, K], and the same of val and test; each image is a patient of its own. By the file's name
            (without a size such as _64) the labels of its sets are known; others are "class 0" and so on. The plain one
            has `images` [N, X, Y, Z] (HU, axes towards right, front, head), `labels` [N, K] of 1, 0, NaN,
            `label_names` [K], `patient_id` [N] and optionally `split` [N] of train, val, test.
        output: folder to write into; it is made.
        spacing: side of a voxel in mm, or the three sides.

    Returns:
        The source with images and CSV instead, and, where it does not say these itself, `classes` where each image has
        exactly one of several, and `modality`: MedMNIST's by the set's name, CT for the plain form. A source without an
        npz as it is.

    Raises:
        MissingFileError: there is no such npz.
        UserError: it is no npz, lacks an array, or its arrays do not fit together; the message names which. Or the
            folder holds images that are not from an npz.
    """
    if source.npz is None:
        return source
    path, images, table, state_file = source.npz, *(Path(output) / name for name in (IMAGES, CSV, STATE))
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}: check its path.")
    sides = np.broadcast_to(np.asarray(spacing, dtype=float), 3).tolist()
    stat = path.stat()
    file = {"name": path.name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "spacing": sides}
    state: dict[str, Any] = json.loads(state_file.read_text(encoding="utf-8")) if state_file.is_file() else {}
    if state.get("file") != file or "modality" not in state or not table.is_file():
        content = _read(path)
        before = list(images.iterdir()) if images.is_dir() else []
        if before and not state_file.is_file():
            raise UserError(f"{images} holds files already, and not from an npz: choose an empty folder.")
        for image in before if state.get("file") != file else []:  # what another npz left behind
            image.unlink()
        write_json(state_file, {"file": file})
        _write_images(path, content, images, sides)
        write_text(table, content.rows.to_csv(index=False))
        state = {"file": file, "classes": content.classes, "modality": content.modality}
        write_json(state_file, state)
    return replace(
        source,
        images=images,
        csv=table,
        npz=None,
        name=source.name or path.stem,
        labels=source.labels or {name: name for name in state["classes"]},
        classes=source.classes or (CLASS if state["classes"] else ""),
        modality=source.modality or state["modality"],
    )


def _write_images(path: Path, content: _Content, folder: Path, sides: list[float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images = (image for member in content.images for image in _stream(path, member))
    for name, image in zip(content.rows["image"], images, strict=True):
        if (folder / name).is_file():  # written whole before a kill
            continue
        with whole_file(folder / name) as temporary:
            if temporary.suffix == ".png":
                Image.fromarray(image).save(temporary)
            else:
                nifti = nibabel.Nifti1Image(image, np.diag([*sides, 1.0]))
                nifti.header.set_xyzt_units("mm")
                nifti.to_filename(temporary)


def _stream(path: Path, member: str) -> Iterator[np.ndarray]:
    """One image after the other: the arrays of MedMNIST's large sets would not fit in memory."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as file:
            (count, *shape), interleaved, dtype = _header(file)
            if interleaved:  # in Fortran's order
                yield from np.load(path)[member]
                return
            for _ in range(count):
                yield np.frombuffer(file.read(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be unpacked ({member}: {error}): it is damaged; copy it again.") from error


def _header(file: Any) -> _Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header: _Header = read(file)
    return header


def _read(path: Path) -> _Content:
    try:
        with zipfile.ZipFile(path) as archive, np.load(path) as arrays:  # never unpickles
            there = list(arrays)
            splits = [split for split in ("train", "val", "test") if f"{split}_images" in there]
            images = [f"{split}_images" for split in splits] or ["images"]
            needed = [*images, *(f"{split}_labels" for split in splits)] if splits else PLAIN_FORM
            if missing := [name for name in needed if name not in there]:
                raise UserError(f"it lacks {', '.join(missing)}; it has {', '.join(there)}")
            headers = {}
            for name in images:
                with archive.open(f"{name}.npy") as member:
                    headers[name] = _header(member)
            optional = () if splits else ("split",)
            labels = {name: arrays[name] for name in (*needed, *optional) if name in there and name not in images}
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} cannot be unpacked ({error}): it must be one of MedMNIST's with train_images, train_labels and so "
            f"on, or an npz with {', '.join(PLAIN_FORM)} and optionally split."
        ) from error
    try:
        return _medmnist(path, headers, labels) if splits else _plain(headers["images"], labels)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _plain(header: _Header, arrays: dict[str, np.ndarray]) -> _Content:
    shape, _, dtype = header
    if len(shape) != 4:
        raise UserError(f"images has the shape {shape}, not [N, X, Y, Z].")
    _check_dtype("images", dtype)
    names, count = [str(name) for name in arrays["label_names"]], shape[0]
    for name, right in {"labels": (count, len(names)), "patient_id": (count,), "split": (count,)}.items():
        if name in arrays and arrays[name].shape != right:
            raise UserError(f"{name} has the shape {arrays[name].shape}, and images need {right}.")
    labels = arrays["labels"].astype(float)
    if not np.isin(labels[~np.isnan(labels)], (0, 1)).all():
        raise UserError("labels holds values other than 1, 0 and NaN (unknown).")
    rows = pd.DataFrame({"image": _numbered("", count, "nii"), "patient": arrays["patient_id"].astype(str)})
    if "split" in arrays:
        rows["split"] = [split_of(str(word)) for word in arrays["split"]]
        for word in arrays["split"][rows["split"] == ""]:
            raise UserError(f"split holds {str(word)!r}: use train, val or test.")
    columns = pd.DataFrame(labels, columns=names).astype("Int64")  # NaN becomes an empty cell
    return _Content(["images"], pd.concat([rows, columns], axis=1), [], "CT")


def _medmnist(path: Path, headers: dict[str, _Header], arrays: dict[str, np.ndarray]) -> _Content:
    parts = []
    for (images, (shape, _, dtype)), (labels, numbers) in zip(headers.items(), arrays.items(), strict=True):
        split = images.removesuffix("_images")
        flat = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
        if not flat and len(shape) != 4:
            raise UserError(f"{images} has the shape {shape}, not [N, H, W], [N, H, W, 3] or [N, D, H, W].")
        _check_dtype(images, dtype, (np.uint8,) if flat else None)
        if len(numbers) != shape[0] or numbers.ndim > 2 or not np.issubdtype(numbers.dtype, np.integer):
            raise UserError(
                f"{labels} has the shape {numbers.shape} of {numbers.dtype}, and {shape[0]} images need [N, K] whole "
                "numbers."
            )
        files = _numbered(f"{split}_", shape[0], "png" if flat else "nii")
        patients = [Path(file).stem for file in files]
        parts.append(pd.DataFrame({"image": files, "patient": patients, "split": split_of(split)}))
    dataset = re.sub(r"_\d+$", "", path.stem.lower())  # files may say a size behind the name
    modality, names = MEDMNIST.get(dataset, ("", []))
    numbers = np.concatenate([numbers.reshape(len(numbers), -1) for numbers in arrays.values()])
    columns, classes = _medmnist_labels(numbers, names)
    return _Content(list(headers), pd.concat([pd.concat(parts, ignore_index=True), columns], axis=1), classes, modality)


def _medmnist_labels(numbers: np.ndarray, names: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """The columns of labels, and the names of the classes where there is a column `class`."""
    lowest, highest, width = int(numbers.min(initial=0)), int(numbers.max(initial=0)), numbers.shape[1]
    if lowest < 0 or highest >= MOST_CLASSES or (width > 1 and highest > 1):
        raise UserError(f"the labels hold {min(lowest, 0) or highest}, which is no class.")
    needed = width if width > 1 else highest + 1
    if names and (needed > len(names) or len(names) != width > 1):
        raise UserError(f"it is called like a set with {len(names)} classes, and its labels have {needed}: rename it.")
    names = names or ([NONE, "class 1"] if width == 1 and needed <= 2 else [f"class {k}" for k in range(needed)])
    if width > 1:
        return pd.DataFrame(numbers, columns=names), []
    classes = np.array(names)[numbers[:, 0]]
    if NONE not in names:
        return pd.DataFrame({CLASS: classes}), names
    finding = next(name for name in names if name != NONE)
    return pd.DataFrame({finding: (classes == finding).astype(int)}), []


def _check_dtype(name: str, dtype: np.dtype, allowed: tuple[type, ...] | None = None) -> None:
    if dtype not in (allowed or (np.int16, np.uint8, np.int32, np.float32)):
        raise UserError(f"{name} holds {dtype}: save it as {'uint8' if allowed else 'int16 (HU) or float32'}.")


def _numbered(start: str, count: int, suffix: str) -> list[str]:
    digits = len(str(count - 1))
    return [f"{start}{index:0{digits}d}.{suffix}" for index in range(count)]
