"""From folders of images and a CSV to one checked datalist: what ``python -m medssl prepare`` does.

Every file and every CSV row ends up in the datalist or, with its reason, in ``report.csv``; nothing is lost on the way.
"""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.files import write_text

from .datalist import SPLITS, write_datalist
from .images import ImageIndex, check_images, find_images, hash_patient, patient_of
from .partial_labels import simulate_partial_labels
from .splits import LABELLED_SPLITS, split_patients
from .summary import Summary, summarise
from .tables import Table, mark, read_table

DATALIST, REPORT, SALT = "datalist.json", "report.csv", "patient_salt.txt"
COLUMNS = ["file", "row", "patient", "split", "source", "reason", "detail"]


def prepare(
    images: str | Path | None,
    csv: str | Path | None,
    output: str | Path,
    *,
    unlabeled: Sequence[str | Path] = (),
    spatial_dims: int = 2,
    labels: Sequence[str] | None = None,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    labelled_per_class: int | None = None,
    partial_test: bool = True,
    seed: int = 0,
    check: bool = True,
    workers: int | None = None,
    salt: str | None = None,
) -> Summary:
    """Write ``datalist.json`` and ``report.csv`` into ``output``.

    Rows with a known label are split by patient, or as the column ``split`` says. Rows without one, and the images of
    ``unlabeled`` folders, go to the split ``unlabeled``, unless their patient is in validation or test. Images under
    ``images`` that no row names are reported and not used; list the folder under ``unlabeled`` too to use them.

    Args:
        images: folder of the images that the CSV names; without a CSV its images are all unlabelled.
        csv: ChestX-ray14's Data_Entry_2017.csv or the generic form, see `medssl.data.tables`; or None.
        output: folder to write into; it is made.
        unlabeled: folders whose images have no labels. Their patient is DICOM's PatientID, or else the file's name.
        spatial_dims: 2 for radiographs; 3 for NIfTI volumes and folders of DICOM slices.
        labels: the label columns to take, in this order; by default all.
        fractions: shares of training, validation and test among patients, used when the CSV has no ``split``.
        labelled_per_class: forget labels in training and test as Dong et al. 2024 do, see `simulate_partial_labels`.
            Validation is kept as it is.
        partial_test: forget labels in test too, as the paper does; False keeps all of them, for figures that vary less.
        seed: of split and simulation.
        check: open every image and set aside those that cannot be read; turn it off for images checked before.
        workers: threads that open images.
        salt: secret with which patients' identifiers are hashed; by default that of ``output/patient_salt.txt``, which
            is made at the first run. Who has it can trace patients back: do not pass it on with the datalist.

    Returns:
        What was used and set aside; ``rich.print(summary)`` shows it.

    Raises:
        FileNotFoundError: a folder or the CSV is missing.
        ValueError: the CSV is of neither form, puts a patient into two splits, or no image can be used at all.
    """
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 (radiographs) or 3 (volumes), not {spatial_dims}.")
    output = Path(output).resolve()
    if csv is None:
        names: list[str] = []
        rows, values = pd.DataFrame(columns=COLUMNS), np.empty((0, 0), np.float32)
        unlabeled = [*([images] if images is not None else []), *unlabeled]
    elif images is None:
        raise ValueError(f"{csv} names images, and no folder holds them: give images.")
    else:
        names, rows, values = _read_site(Path(images), Path(csv), labels, spatial_dims, output)
    rows = _add_unlabeled(rows, [Path(folder) for folder in unlabeled], spatial_dims, output)
    values = np.concatenate([values, np.full((len(rows) - len(values), len(names)), np.nan, np.float32)])
    if check:
        _set_aside_unreadable(rows, spatial_dims, workers)
    try:
        _assign_splits(rows, values, fractions, seed)
        splits = ("training", "test") if partial_test else ("training",)
        notes = [] if labelled_per_class is None else _forget(rows, values, names, labelled_per_class, splits, seed)
        _keep_patients_apart(rows)
    finally:  # when too little is left to split, the report says why
        _write_report(rows, output / REPORT)
    if not (rows["reason"] == "").any():
        reasons = ", ".join(rows["reason"].value_counts().index) or "there are none"
        raise ValueError(f"No image can be used ({reasons}): see {output / REPORT} for each, and check spatial_dims.")
    _write_datalist(rows, values, names, output, salt)
    return summarise(rows, values, names, output / DATALIST, output / REPORT, notes)


def _read_site(
    images: Path, csv: Path, labels: Sequence[str] | None, spatial_dims: int, output: Path
) -> tuple[list[str], pd.DataFrame, np.ndarray]:
    """Label names; a row for each CSV row, then one for each other file; values [CSV rows, K]."""
    table = read_table(csv, labels)
    found, others = find_images(images, spatial_dims, output)
    rows, values = _match(table, ImageIndex(images, found))
    others = [path for path in others if path != csv.resolve()]
    return table.labels, pd.concat([rows, _others(others)], ignore_index=True), values


def _match(table: Table, index: ImageIndex) -> tuple[pd.DataFrame, np.ndarray]:
    """Find each row's image, and join rows that name the same one."""
    rows, values = table.rows.rename(columns={"image": "file"}), table.values.copy()
    found = [index.find(image) if image else [] for image in rows["file"]]
    rows["file"] = [
        str(paths[0]) if len(paths) == 1 else image for paths, image in zip(found, rows["file"], strict=True)
    ]
    counts = np.array([len(paths) for paths in found])
    sound = (rows["reason"] == "").to_numpy()
    mark(rows, sound & (counts == 0), "no such image", "it is not under the folder of images")
    several = ("several such images", "folders share the name: give the path below the folder of images")
    mark(rows, sound & (counts > 1), *several)
    _join_repeated(rows, values, sound & (counts == 1))
    named = {path for paths in found for path in paths if len(paths) == 1}
    # Whose they are is unknown, so they may not go into pre-training either, where those that no row names may.
    unclear = {path for paths in found for path in paths} - named
    listed = named | unclear
    unlisted = [str(path) for path in index.images if path not in listed]
    parts = [
        rows,
        _entries(sorted(map(str, unclear)), reason=several[0], detail=several[1]),
        _entries(unlisted, reason="not in the CSV", detail="no row names this image"),
    ]
    return pd.concat(parts, ignore_index=True)[COLUMNS], values


def _join_repeated(rows: pd.DataFrame, values: np.ndarray, sound: np.ndarray) -> None:
    """Rows for one image may add to each other; where they contradict, neither can be trusted."""
    repeated = sound & rows["file"].where(sound).duplicated(keep=False).to_numpy()
    for _file, group in rows[repeated].groupby("file"):
        here = group.index.to_numpy()
        lines = f"rows {', '.join(map(str, group['row']))} name the same image"
        known_ones, known_zeros = (values[here] == 1).any(axis=0), (values[here] == 0).any(axis=0)
        if (known_ones & known_zeros).any() or group["patient"].nunique() > 1 or group["split"].nunique() > 1:
            rows.loc[here, ["reason", "detail"]] = ["contradiction", f"{lines} and disagree"]
        else:
            values[here[0]] = np.where(known_ones, 1, np.where(known_zeros, 0, np.nan))
            rows.loc[here[1:], ["reason", "detail"]] = ["repeated row", f"{lines}; they were joined"]


def _add_unlabeled(rows: pd.DataFrame, folders: list[Path], spatial_dims: int, output: Path) -> pd.DataFrame:
    taken = set(rows.loc[rows["reason"] != "not in the CSV", "file"])
    for folder in folders:
        found, others = find_images(folder, spatial_dims, output)
        files = [str(path) for path in found if str(path) not in taken]
        taken |= set(files)
        rows = rows[~((rows["reason"] == "not in the CSV") & rows["file"].isin(files))]
        added = _entries(files, split="unlabeled", source=folder.resolve().name)
        added["patient"] = [patient_of(Path(file)) for file in files]
        others = [path for path in others if str(path) not in taken]
        taken |= set(map(str, others))
        rows = pd.concat([rows, added, _others(others)], ignore_index=True)
    return rows


def _entries(files: Sequence[str], **columns: str) -> pd.DataFrame:
    blank = dict.fromkeys(COLUMNS, "")
    return pd.DataFrame({**blank, **columns, "file": list(files)}, columns=COLUMNS, index=range(len(files)))


def _others(paths: Sequence[Path]) -> pd.DataFrame:
    return _entries(list(map(str, paths)), reason="no image", detail="its name is not one of an image")


def _set_aside_unreadable(rows: pd.DataFrame, spatial_dims: int, workers: int | None) -> None:
    used = rows.index[rows["reason"] == ""]
    reasons = check_images([Path(str(file)) for file in rows.loc[used, "file"]], spatial_dims, workers)
    details = rows["file"].map({str(path): why for path, why in reasons.items()})
    mark(rows, rows.index.isin(used) & details.notna(), "unreadable", details)


def _assign_splits(rows: pd.DataFrame, values: np.ndarray, fractions: Sequence[float], seed: int) -> None:
    used = (rows["reason"] == "").to_numpy()
    known = np.isfinite(values).any(axis=1)
    held = used & ~known & rows["split"].isin(["validation", "test"]).to_numpy()
    mark(rows, held, "no label", "the row is in validation or test, and none of its labels is known")
    used = used & ~held
    rows.loc[used & ~known, "split"] = "unlabeled"
    given = used & rows["split"].isin(LABELLED_SPLITS).to_numpy()
    for _patient, splits in rows[given].groupby("patient")["split"]:
        if splits.nunique() > 1:
            first, second = splits.index[0], splits.index[splits != splits.iloc[0]][0]
            lines = [f"row {row} ({split})" for row, split in rows.loc[[first, second], ["row", "split"]].to_numpy()]
            raise ValueError(f"The patient of {lines[0]} is in another split in {lines[1]}: put each patient into one.")
    open_rows = np.flatnonzero(used & known & (rows["split"] == "").to_numpy())
    if len(open_rows):
        patients = rows["patient"].iloc[open_rows].to_list()
        rows.loc[open_rows, "split"] = split_patients(patients, values[open_rows], fractions, seed)


def _forget(
    rows: pd.DataFrame, values: np.ndarray, labels: list[str], count: int, splits: Sequence[str], seed: int
) -> list[str]:
    """Simulate partial labels in some splits; what is not drawn becomes unlabelled. Returns what fell short."""
    notes = []
    for split in splits:
        here = np.flatnonzero((rows["reason"] == "") & (rows["split"] == split))
        if not len(here):
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values[here] = simulate_partial_labels(values[here], count, seed, labels)
        notes += [f"{split}: {warning.message}" for warning in caught]
        left_over = here[~np.isfinite(values[here]).any(axis=1)]
        rows.loc[left_over, "split"] = "unlabeled"
    return notes


def _keep_patients_apart(rows: pd.DataFrame) -> None:
    used = rows["reason"] == ""
    for split in ("validation", "test"):
        patients = set(rows.loc[used & (rows["split"] == split), "patient"])
        held = used & (rows["split"] == "unlabeled") & rows["patient"].isin(patients)
        mark(rows, held, f"patient in {split}", "so pre-training must not see the image")


def _write_report(rows: pd.DataFrame, path: Path) -> None:
    report = rows[["file", "row", "split", "reason", "detail"]].copy()
    report.insert(2, "status", np.where(rows["reason"] == "", "used", "set aside"))
    report.loc[report["status"] == "set aside", "split"] = ""
    write_text(path, report.to_csv(index=False))


def _write_datalist(rows: pd.DataFrame, values: np.ndarray, labels: list[str], output: Path, salt: str | None) -> None:
    salt = salt or _salt(output / SALT)
    splits = {}
    for split in SPLITS:
        here = np.flatnonzero((rows["reason"] == "") & (rows["split"] == split))
        part = rows.iloc[here]
        items = [
            {"image": file, "patient": hash_patient(salt, patient), "source": source}
            for file, patient, source in zip(part["file"], part["patient"], part["source"], strict=True)
        ]
        if split != "unlabeled":
            items = [{**item, "label": label} for item, label in zip(items, values[here].tolist(), strict=True)]
        splits[split] = items
    write_datalist(output / DATALIST, labels, splits)


def _salt(path: Path) -> str:
    if not path.is_file():
        write_text(path, secrets.token_hex(16) + "\n")
        os.chmod(path, 0o600)
    return path.read_text(encoding="utf-8").strip()
