"""A site's CSV, recognised by its columns, as one table of images, patients and labels.

Known by their columns are ChestX-ray14's ``Data_Entry_2017.csv`` and CheXpert's ``train.csv``, ``valid.csv`` and
``test.csv``. Everything else is the generic form: ``image``, ``patient``, optionally ``split`` and ``source``, then a
column for each label: 1, 0, empty for unknown, -1 for uncertain. Other column names are mapped.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from medssl.errors import MissingFileError, UserError

from ..datalist import SPLITS

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
CHESTXRAY14_COLUMNS = {"image": "Image Index", "patient": "Patient ID"}
FINDINGS, NO_FINDING = "Finding Labels", "No Finding"
CHEXPERT_LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
CHEXPERT_PATIENT = re.compile(r"patient\d+")  # CheXpert names the patient only in the path of the image
ROLES = ("image", "patient", "split", "source")
SPLIT_WORDS = {"train": "training", "val": "validation", "valid": "validation", **{split: split for split in SPLITS}}
TRAIN_OR_VALIDATION = "training or validation"  # ChestX-ray14's official list says no more than that
UNKNOWN_WORDS = ("na", "n/a", "nan", "null")  # what other programs write for an empty cell
MOST_CLASSES = 200  # a column with more different texts holds no classes

Uncertain = Literal["unknown", "positive", "negative"]
Blank = Literal["unknown", "negative"]
UNCERTAIN: dict[str, float] = {"unknown": np.nan, "positive": 1, "negative": 0}


@dataclass(frozen=True)
class Table:
    """What a CSV says, or those of several sources together.

    Attributes:
        labels: names of the K labels.
        rows: a row for each row of the CSV: ``row`` (its line, the header being 1), ``image``, ``patient``, ``split``
            ("" where not given; `TRAIN_OR_VALIDATION` where the table leaves that open), ``source``, ``study`` (text),
            ``age`` (years), ``sex`` (F, M), ``view`` (PA, AP, frontal, lateral, other), "" or NaN where not known; and
            ``reason`` with ``detail``, empty when the row is in order.
        values: float32 [N, K] of 1, 0, NaN (unknown).
        exclusive: each image has exactly one of the labels (multi-class); a row is one-hot, or NaN throughout.
        notes: sentences the user should read, such as how many uncertain entries there are.
        modality: as DICOM calls it (``DX``, ``CT``), "" where the table does not say.
    """

    labels: list[str]
    rows: pd.DataFrame
    values: np.ndarray
    exclusive: bool = False
    notes: list[str] = field(default_factory=list)
    modality: str = ""


def read_table(
    csv: Path,
    labels: Sequence[str] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    label_columns: Mapping[str, str] | None = None,
    classes: str = "",
    uncertain: Uncertain = "unknown",
    blank: Blank = "unknown",
    split: str = "",
    source: str = "",
    require_labels: bool = True,
) -> Table:
    """Read a CSV in one of the forms.

    Args:
        csv: the file, separated by comma, semicolon or tab.
        labels: the labels to take, in this order; by default all there are.
        columns: names of the columns that hold ``image``, ``patient``, ``split``, ``source``, where they differ.
        label_columns: the labels there are, each with what the CSV calls it: a column, a finding of ChestX-ray14, or
            with ``classes`` the text in the cells. By default all, under their own names.
        classes: a column whose text is the one class of each image (multi-class).
        uncertain: what -1 means.
        blank: what an empty cell of a label means.
        split: puts every row into this split, whatever a column says.
        source: the source of rows for which no column names one; by default the CSV's name.
        require_labels: refuse a CSV that lacks one of ``labels``; otherwise take those it has.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is no CSV of a known form, or lacks a column or label that was named. A mistake in single rows
            raises nothing: those rows carry their ``reason``.
    """
    if uncertain not in UNCERTAIN:
        raise UserError(f"uncertain must be {', '.join(get_args(Uncertain))}, not {uncertain!r}.")
    cells = _read_cells(csv)
    places = _places(cells, columns or {}, csv)
    if classes:
        _require_columns([classes], cells, csv)
        own = _choose(labels, label_columns or _classes(cells[classes], classes, csv), csv, require_labels)
        values, mistakes, notes = _one_class(cells[classes], own)
    elif _is_chestxray14(cells):
        names = label_columns or dict(zip(CHESTXRAY14_LABELS, CHESTXRAY14_LABELS, strict=True))
        own = _choose(labels, names, csv, require_labels)
        values, mistakes, notes = _findings(cells[FINDINGS], own)
    else:
        own = _choose(labels, label_columns or _label_names(cells, places), csv, require_labels)
        _require_columns(own.values(), cells, csv)
        values, mistakes, notes = _label_columns(cells, own, uncertain, csv)
    rows = _rows(cells, places, source or csv.stem, mistakes, split)
    return Table(list(own), rows, values, exclusive=bool(classes), notes=notes)


def mark(rows: pd.DataFrame, where: pd.Series | np.ndarray, reason: str, detail: str | pd.Series) -> None:
    """Set rows aside: ``reason`` in a word or two, ``detail`` as a sentence (or one for each row)."""
    rows.loc[where, "reason"] = reason
    rows.loc[where, "detail"] = detail if isinstance(detail, str) else detail[where]


def near_miss(name: str, there: Iterable[str]) -> str:
    """A question to add to an error about a wrong name, or nothing when none of the right ones is alike."""
    close = difflib.get_close_matches(name, there, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _read_cells(csv: Path) -> pd.DataFrame:
    """All cells as text, empty ones as NaN; the index counts the lines from 2, and empty lines are left out."""
    if not csv.is_file():
        raise MissingFileError(f"There is no CSV {csv}: check its path.")
    try:
        with csv.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = max(",;\t", key=header.count)
        names = pd.read_csv(csv, sep=separator, dtype=str, encoding="utf-8-sig", header=None, nrows=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would be cut
            cells = pd.read_csv(
                csv,
                sep=separator,
                dtype=str,
                encoding="utf-8-sig",
                skipinitialspace=True,
                keep_default_na=False,
                na_values=[""],
                index_col=False,  # or pandas takes rows that end in a comma to begin with an index
                skip_blank_lines=False,  # to count the lines as the user's editor does
            )
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning) as error:
        raise UserError(f"{csv} cannot be read as a CSV ({error}): save it as UTF-8 with commas.") from error
    titles = [str(title).strip() for title in names.iloc[0].dropna()]
    twice = [title for title in titles if titles.count(title) > 1]
    if twice:
        raise UserError(f"{csv} has the column {twice[0]!r} twice: rename one.")
    cells.columns = [str(name).strip() for name in cells.columns]
    # ChestX-ray14's own file ends its lines with a comma, which pandas takes for an empty column.
    cells = cells.loc[:, [not (name.startswith("Unnamed:") and cells[name].isna().all()) for name in cells.columns]]
    cells.index = pd.RangeIndex(2, len(cells) + 2)
    cells = cells[cells.notna().any(axis=1)]
    if cells.empty:
        raise UserError(f"{csv} has no rows: it must name at least one image.")
    return cells


def _texts(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """A column as codes [N] into its different texts, without the blanks around them; -1 where it is empty.

    Labels have few different texts, so that what is done for each of them takes no time.
    """
    codes, texts = pd.factorize(column.str.strip())
    empty = np.array([text == "" for text in texts] + [False])
    return np.where(empty[codes], -1, codes), [str(text) for text in texts]


def _is_chestxray14(cells: pd.DataFrame) -> bool:
    return {*CHESTXRAY14_COLUMNS.values(), FINDINGS} <= set(cells.columns)


def _is_chexpert(cells: pd.DataFrame) -> bool:
    named = set(cells.columns)
    return "Path" in named and ("Frontal/Lateral" in named or set(CHEXPERT_LABELS) <= named)


def _places(cells: pd.DataFrame, columns: Mapping[str, str], csv: Path) -> dict[str, str]:
    """The column of each role; CheXpert has none for the patient."""
    strange = [role for role in columns if role not in ROLES]
    if strange:
        raise UserError(f"columns maps {', '.join(ROLES)}, not {strange[0]!r}.{near_miss(strange[0], ROLES)}")
    _require_columns(columns.values(), cells, csv)
    places: dict[str, str] = {}
    for name in cells.columns:
        if name.lower() in ROLES and (name.lower() not in places or name in ROLES):
            places[name.lower()] = name
    if _is_chestxray14(cells):
        places |= CHESTXRAY14_COLUMNS
    elif _is_chexpert(cells):
        places |= {"image": "Path"}
    places |= columns
    for role in ("image", "patient"):
        if role not in places and not (role == "patient" and _is_chexpert(cells)):
            raise UserError(
                f"{csv} has no column {role!r} but {', '.join(cells.columns)}: name the columns image, patient, "
                "optionally split and source, then one for each label, or map their names with columns."
            )
    return places


def _require_columns(names: Iterable[str], cells: pd.DataFrame, csv: Path) -> None:
    for name in names:
        if name not in cells:
            there = ", ".join(cells.columns)
            raise UserError(f"{csv} has no column {name!r}: it has {there}.{near_miss(name, cells.columns)}")


def _label_names(cells: pd.DataFrame, places: Mapping[str, str]) -> dict[str, str]:
    if _is_chexpert(cells):
        names = [name for name in CHEXPERT_LABELS if name in cells]
    else:
        names = [name for name in cells.columns if name.lower() not in ROLES and name not in places.values()]
    return {name: name for name in names}


def _choose(wanted: Sequence[str] | None, there: Mapping[str, str], csv: Path, required: bool) -> dict[str, str]:
    """Those of the labels ``there`` that are ``wanted``, in this order."""
    names = list(there if wanted is None else wanted)
    for name in names:
        if name not in there and required:
            has = ", ".join(there) or "none"
            raise UserError(f"{csv} has no label {name!r}: it has {has}.{near_miss(name, there)}")
    if len(set(names)) != len(names):
        raise UserError(f"A label is named twice in {', '.join(names)}.")
    return {name: there[name] for name in names if name in there}


def _rows(
    cells: pd.DataFrame, places: Mapping[str, str], source: str, mistakes: np.ndarray, split: str
) -> pd.DataFrame:
    text = {role: cells[name].fillna("").str.strip() for role, name in places.items()}
    rows = pd.DataFrame(
        {
            "row": cells.index,
            "image": text["image"].to_numpy(),
            "patient": text["patient"].to_numpy() if "patient" in text else _patients(text["image"]),
            "split": text["split"].to_numpy() if "split" in text else "",
            "source": text["source"].replace("", source).to_numpy() if "source" in text else source,
            "study": "",
            "age": np.nan,
            "sex": "",
            "view": "",
            "reason": np.where(mistakes != "", "not a label", ""),
            "detail": mistakes,
        }
    )
    if split:
        rows["split"] = split
    elif "split" in text:
        words = rows["split"].str.lower()
        unknown = ~words.isin(list(SPLIT_WORDS))
        mark(rows, unknown, "no split", "the column split must say training, validation, test or unlabeled")
        rows["split"] = words.map(SPLIT_WORDS).fillna("")
    nobody = rows["patient"].str.lower().isin(["", *UNKNOWN_WORDS])
    mark(rows, nobody, "no patient", "without a patient the image might be in two splits")
    mark(rows, rows["image"] == "", "no image", "the row names no image")
    return rows


def _patients(images: pd.Series) -> list[str]:
    found = (CHEXPERT_PATIENT.search(image) for image in images)
    return [match.group() if match else "" for match in found]


def _findings(findings: pd.Series, own: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """ChestX-ray14 is fully labelled: a finding that is not listed is absent."""
    strange = [name for name in own.values() if name not in CHESTXRAY14_LABELS]
    if strange:
        close = near_miss(strange[0], CHESTXRAY14_LABELS)
        raise UserError(f"ChestX-ray14 has no finding {strange[0]!r}: it has {', '.join(CHESTXRAY14_LABELS)}.{close}")
    codes, texts = _texts(findings)
    found = [set(text.split("|")) for text in texts]
    mistakes = []
    for names in found:
        wrong = sorted(names - {*CHESTXRAY14_LABELS, NO_FINDING})
        both = NO_FINDING in names and len(names) > 1
        mistakes.append(
            f"{FINDINGS} has {wrong[0]!r}, which is none of the 14"
            if wrong
            else f"{FINDINGS} has {NO_FINDING} beside a finding"
            if both
            else ""
        )
    states = np.full((len(texts) + 1, len(own)), np.nan, dtype=np.float32)  # the last is that of an empty cell
    for row, names in enumerate(found):
        if not mistakes[row]:
            states[row] = [name in names for name in own.values()]
    return (
        states[codes],
        _spread([*mistakes, f"{FINDINGS} is empty; write {NO_FINDING} where there is none"], codes),
        [],
    )


def _label_columns(
    cells: pd.DataFrame, own: Mapping[str, str], uncertain: Uncertain, csv: Path
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    values = np.full((len(cells), len(own)), np.nan, dtype=np.float32)
    mistakes = np.full(len(cells), "", dtype=object)
    notes = []
    for column, (label, name) in enumerate(own.items()):
        codes, texts = _texts(cells[name])
        numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(dtype=np.float64)
        unsure = np.append(numbers == -1, False)
        known = np.isin(numbers, (0, 1))
        wrong = np.array([text.lower() not in UNKNOWN_WORDS for text in texts], dtype=bool) & ~known & ~unsure[:-1]
        details = [
            f"{name} is {text!r}: write 1, 0, or nothing for unknown"
            for text, bad in zip(texts, wrong, strict=True)
            if bad
        ]
        here = np.append(wrong, False)[codes]
        if here.sum() > len(cells) / 2:
            example = texts[codes[here][0]]
            raise UserError(
                f"{csv}: the column {name!r} holds values such as {example!r}, and a label is 1, 0 or empty: "
                "name the label columns with labels."
            )
        if here.any():
            texts_of_wrong = np.full(len(texts) + 1, "", dtype=object)
            texts_of_wrong[:-1][wrong] = details
            mistakes[here] = texts_of_wrong[codes[here]]
        states = np.append(np.where(known, numbers, np.nan), np.nan)
        states[unsure] = UNCERTAIN[uncertain]
        values[:, column] = states[codes]
        count = int(unsure[codes].sum())
        if count:
            notes.append(f"{count} uncertain {'entry' if count == 1 else 'entries'} (-1) of {label}: {uncertain}.")
    return values, mistakes, notes


def _classes(column: pd.Series, name: str, csv: Path) -> dict[str, str]:
    texts = sorted({text for text in column.dropna().str.strip().unique() if text}, key=_natural)
    if len(texts) > MOST_CLASSES:
        raise UserError(
            f"{csv}: the column {name!r} holds {len(texts)} different texts such as {texts[0]!r}: "
            "is it the one of the classes? If so, name the classes to take with labels."
        )
    return {text: text for text in texts}


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Order by numbers where there are some: class 2 before class 10."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text)]


def _one_class(column: pd.Series, own: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    codes, texts = _texts(column)
    place = {text: index for index, text in enumerate(own.values())}
    states = np.full((len(texts) + 1, len(own)), np.nan, dtype=np.float32)  # the last is that of an empty cell
    mistakes = [""] * (len(texts) + 1)
    for row, text in enumerate(texts):
        if text in place:
            states[row] = np.arange(len(own)) == place[text]
        elif text:
            mistakes[row] = f"{column.name} is {text!r}, which is none of {', '.join(own)}"
    return states[codes], _spread(mistakes, codes), []


def _spread(texts: Sequence[str], codes: np.ndarray) -> np.ndarray:
    return np.array(texts, dtype=object)[codes]
