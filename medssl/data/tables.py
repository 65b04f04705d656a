"""A site's CSV, recognised by its columns, as one table of images, patients and labels.

Two forms: ChestX-ray14's ``Data_Entry_2017.csv`` ("Image Index", "Finding Labels", "Patient ID"), and the generic one
(``image``, ``patient``, optionally ``split`` and ``source``, then a column for each label: 1, 0, empty for unknown).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .datalist import SPLITS

CHESTXRAY14_LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
CHESTXRAY14_COLUMNS = {"Image Index": "image", "Patient ID": "patient", "Finding Labels": "findings"}
SPLIT_WORDS = {"train": "training", "val": "validation", **{split: split for split in SPLITS}}


@dataclass(frozen=True)
class Table:
    """What a CSV says.

    Attributes:
        labels: names of the K labels.
        rows: a row for each row of the CSV: ``row`` (its line, the header being 1), ``image``, ``patient``, ``split``
            ("" where not given), ``source``; and ``reason`` with ``detail``, empty when the row is in order.
        values: float32 [N, K] of 1, 0, NaN (unknown).
    """

    labels: list[str]
    rows: pd.DataFrame
    values: np.ndarray


def read_table(csv: Path, labels: Sequence[str] | None = None) -> Table:
    """Read a CSV in one of the two forms.

    Args:
        csv: the file, separated by comma or semicolon.
        labels: the labels to take, in this order; by default all there are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no CSV of either form, or lacks one of ``labels``. A mistake in single rows raises nothing:
            those rows carry their ``reason``.
    """
    cells = _read_cells(csv)
    if set(CHESTXRAY14_COLUMNS) <= set(cells.columns):
        cells = cells.rename(columns=CHESTXRAY14_COLUMNS)
        names = _choose(labels, CHESTXRAY14_LABELS, csv)
        values, mistakes = _findings(cells["findings"], names)
    else:
        cells = cells.rename(columns={name: name.lower() for name in cells.columns if name.lower() in _RESERVED})
        _require_columns(cells, csv)
        names = _choose(labels, [name for name in cells.columns if name not in _RESERVED], csv)
        values, mistakes = _label_columns(cells[names], csv)
    rows = pd.DataFrame(
        {
            "row": np.arange(len(cells)) + 2,
            "image": cells["image"].fillna(""),
            "patient": cells["patient"].fillna(""),
            "split": cells["split"].fillna("") if "split" in cells else "",
            "source": cells["source"].fillna(csv.stem) if "source" in cells else csv.stem,
            "reason": "",
            "detail": mistakes,
        }
    )
    rows.loc[rows["detail"] != "", "reason"] = "not a label"
    if "split" in cells:
        unknown = ~rows["split"].isin(list(SPLIT_WORDS))
        mark(rows, unknown, "no split", "the column split must say training, validation, test or unlabeled")
        rows["split"] = rows["split"].map(SPLIT_WORDS).fillna("")
    mark(rows, rows["patient"] == "", "no patient", "without a patient the image might be in two splits")
    mark(rows, rows["image"] == "", "no image", "the row names no image")
    return Table(names, rows, values)


_RESERVED = ("image", "patient", "split", "source")


def _read_cells(csv: Path) -> pd.DataFrame:
    if not csv.is_file():
        raise FileNotFoundError(f"There is no CSV {csv}: check its path.")
    try:
        with csv.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = ";" if header.count(";") > header.count(",") else ","
        cells = pd.read_csv(csv, sep=separator, dtype=str, encoding="utf-8-sig", skipinitialspace=True)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{csv} cannot be read as a CSV ({error}): save it as UTF-8 with commas.") from error
    cells.columns = [str(name).strip() for name in cells.columns]
    # ChestX-ray14's own file ends its lines with a comma, which pandas takes for an empty column.
    cells = cells.loc[:, [not (name.startswith("Unnamed:") and cells[name].isna().all()) for name in cells.columns]]
    if cells.empty:
        raise ValueError(f"{csv} has no rows: it must name at least one image.")
    return cells.apply(lambda column: column.str.strip())


def _require_columns(cells: pd.DataFrame, csv: Path) -> None:
    for name in ("image", "patient"):
        if name not in cells:
            raise ValueError(
                f"{csv} has no column {name!r} but {', '.join(cells.columns)}: name the columns image, patient, "
                "optionally split and source, then one for each label (or give ChestX-ray14's Data_Entry_2017.csv)."
            )


def _choose(wanted: Sequence[str] | None, there: Sequence[str], csv: Path) -> list[str]:
    names = list(there if wanted is None else wanted)
    for name in names:
        if name not in there:
            raise ValueError(f"{csv} has no label {name!r}: it has {', '.join(there) or 'none'}.")
    if len(set(names)) != len(names):
        raise ValueError(f"A label is named twice in {', '.join(names)}.")
    return names


def _findings(findings: pd.Series, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """ChestX-ray14 is fully labelled: a finding that is not listed is absent."""
    values = np.zeros((len(findings), len(names)), dtype=np.float32)
    mistakes = np.full(len(findings), "", dtype=object)
    column_of = {name: column for column, name in enumerate(names)}
    for row, cell in enumerate(findings.fillna("")):
        found = cell.split("|")
        strange = [name for name in found if name not in CHESTXRAY14_LABELS and name != "No Finding"]
        if strange:
            mistakes[row] = f"Finding Labels has {strange[0]!r}, which is none of the 14"
        for name in found:
            if name in column_of:
                values[row, column_of[name]] = 1
    return values, mistakes


def _label_columns(cells: pd.DataFrame, csv: Path) -> tuple[np.ndarray, np.ndarray]:
    values = np.full(cells.shape, np.nan, dtype=np.float32)
    mistakes = np.full(len(cells), "", dtype=object)
    for column, name in enumerate(cells.columns):
        numbers = pd.to_numeric(cells[name], errors="coerce").to_numpy(dtype=np.float32)
        wrong = (cells[name].notna() & ~np.isin(numbers, (0, 1))).to_numpy()
        if wrong.sum() > len(cells) / 2:
            example = cells[name].to_numpy()[wrong][0]
            raise ValueError(
                f"{csv}: the column {name!r} holds values such as {example!r}, and a label is 1, 0 or empty: "
                "name the label columns with labels."
            )
        values[~wrong, column] = numbers[~wrong]
        for row in np.flatnonzero(wrong):
            mistakes[row] = f"{name} is {cells[name].iloc[row]!r}: write 1, 0, or nothing for unknown"
    return values, mistakes


def mark(rows: pd.DataFrame, where: pd.Series | np.ndarray, reason: str, detail: str | pd.Series) -> None:
    """Set rows aside: ``reason`` in a word or two, ``detail`` as a sentence (or one for each row)."""
    rows.loc[where, "reason"] = reason
    rows.loc[where, "detail"] = detail if isinstance(detail, str) else detail[where]
