"""From one npz of image patches to NIfTI files with a CSV, so that `prepare` reads it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from medssl.files import write_text

from .tables import SPLIT_WORDS

REQUIRED = ("images", "labels", "label_names", "patient_id")


def unpack_npz(path: str | Path, output: str | Path, spacing: float | tuple[float, float, float] = 2.0) -> Path:
    """Write ``output/images/<number>.nii`` and ``output/labels.csv``; `prepare` takes these as ``images`` and ``csv``.

    Args:
        path: an npz with ``images`` [N, X, Y, Z] (HU, axes towards right, front, head), ``labels`` [N, K] of 1, 0, NaN,
            ``label_names`` [K], ``patient_id`` [N] and optionally ``split`` [N] of train, val, test. Without ``split``
            `prepare` splits by patient; a split that no image has (often test) stays empty, as its summary says.
        output: folder to write into; it is made.
        spacing: side of a voxel in mm, or the three sides.

    Returns:
        The path of the CSV.

    Raises:
        FileNotFoundError: there is no such npz.
        ValueError: it is no npz, lacks an array, or its arrays do not fit together; the message names which.
    """
    path, output = Path(path), Path(output)
    arrays = _load(path)
    splits = [SPLIT_WORDS.get(str(word).lower()) for word in arrays.get("split", ())]
    if None in splits:
        raise ValueError(f"{path}: split holds {str(arrays['split'][splits.index(None)])!r}: use train, val or test.")
    sides = np.broadcast_to(np.asarray(spacing, dtype=float), 3)
    folder = output / "images"
    folder.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(arrays["images"]) - 1))
    names = [f"{index:0{digits}d}.nii" for index in range(len(arrays["images"]))]
    for name, image in zip(names, arrays["images"], strict=True):
        nifti = nibabel.Nifti1Image(image, np.diag([*sides, 1.0]))
        nifti.header.set_xyzt_units("mm")
        nifti.to_filename(folder / name)
    table = pd.DataFrame({"image": names, "patient": arrays["patient_id"].astype(str), "source": path.stem})
    if splits:
        table["split"] = splits
    for column, name in enumerate(arrays["label_names"]):
        table[str(name)] = pd.Series(arrays["labels"][:, column]).astype("Int64")  # NaN becomes an empty cell
    write_text(output / "labels.csv", table.to_csv(index=False))
    return output / "labels.csv"


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: check its path.")
    try:
        with np.load(path) as file:  # never unpickles
            missing = [name for name in REQUIRED if name not in file]
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}; it has {', '.join(file)}")
            arrays = {name: file[name] for name in (*REQUIRED, "split") if name in file}
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be unpacked ({error}): it must be an npz with {', '.join(REQUIRED)} and optionally split."
        ) from error
    _check_shapes(path, arrays)
    return arrays


def _check_shapes(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if arrays["images"].ndim != 4:
        raise ValueError(f"{path}: images has the shape {arrays['images'].shape}, not [N, X, Y, Z].")
    if arrays["images"].dtype not in (np.int16, np.uint8, np.int32, np.float32):
        raise ValueError(f"{path}: images holds {arrays['images'].dtype}: save it as int16 (HU) or float32.")
    count, classes = len(arrays["images"]), len(arrays["label_names"])
    wanted = {"labels": (count, classes), "patient_id": (count,), "split": (count,)}
    for name, shape in wanted.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(f"{path}: {name} has the shape {arrays[name].shape}, and images need {shape}.")
    known = arrays["labels"][~np.isnan(arrays["labels"].astype(float))]
    if not np.isin(known, (0, 1)).all():
        raise ValueError(f"{path}: labels holds values other than 1, 0 and NaN (unknown).")
