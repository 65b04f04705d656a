"""A site's CSV as one table of images, patients and labels, whichever form it has."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medssl.errors import UserError

from .cells import Coded, read_cells, table_name, texts_of
from .form import Column, Form, Listed
from .forms import FORMS, patient_in_path
from .forms.generic import ALIASES, NEEDED, ROLES
from .labels import (
    BLANK,
    UNCERTAIN,
    Blank,
    Uncertain,
    apply_healthy,
    classes_of,
    findings_of,
    holds_labels,
    listed_findings,
    one_class,
    read_label_columns,
)
from .words import age_of, is_unknown, near_miss, sex_of, split_of, squash, view_of

MOST_SOURCES = 50  # a column with more different texts says where each image is from, not which hospital's it is


@dataclass(frozen=True)
class Table:
    """What a CSV says, or those of several sources together.

    Attributes:
        labels: names of the K labels.
        rows: a row for each image that the CSV names: ``row`` (its row there, the header being 1; the first where
            several are of one image), ``image``, ``patient``, ``study``, ``split`` ("" where not given,
            `TRAIN_OR_VALIDATION` where the data set leaves that open), ``source``, ``age`` (years, NaN), ``sex`` (F, M,
            ""), ``view`` (one of `VIEWS`, or ""); and ``reason`` with ``detail``, empty when the row is in order.
        values: float32 [N, K] of 1, 0, NaN (unknown).
        exclusive: each image has exactly one of the labels (multi-class); a row is one-hot, or NaN throughout.
        notes: sentences the user should read, such as how many uncertain entries there are.
        modality: of the images as DICOM calls it (``DX``, ``CT``), "" where the table does not say.
        added: rule (``No Finding``, ``blank``) → label → number of unknown cells that it made known.
    """

    labels: list[str]
    rows: pd.DataFrame
    values: np.ndarray
    exclusive: bool = False
    notes: list[str] = field(default_factory=list)
    modality: str = ""
    added: dict[str, dict[str, int]] = field(default_factory=dict)


def read_table(
    csv: str | Path,
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
    """Read a CSV in one of the forms; see `medssl.data.tables` for what each takes from it.

    Args:
        csv: the file, separated by comma, semicolon or tab; it may be gzipped.
        labels: the labels to take, in this order; by default all there are.
        columns: role (see `ROLES`) → its column, where it is not called as usual.
        label_columns: the labels there are, each with what the CSV calls it: a column, a finding that a column lists,
            or with ``classes`` the text in the cells. By default all, under their own names. A column that is named
            here or by ``labels`` must hold labels; of the others those that hold none are left out, with a note.
        classes: a column whose text is the one class of each image (multi-class).
        uncertain: what -1 means.
        blank: what an empty cell of a label's column means. In CheXpert and MIMIC-CXR it means that the report does not
            mention the finding. That is ``unknown`` by default: reports do not list all that is absent, partial labels
            need no guess, and No Finding, which makes the other findings 0, brings sure negatives enough (Lung Lesion
            of CheXpert: 1 270 stated, 22 004 so). ``negative`` makes of two thirds of its cells 0, some of them wrong.
        split: puts every row into this split, whatever a column says.
        source: the source of rows for which no column names one; by default the CSV's name.
        require_labels: refuse a CSV that lacks one of ``labels``; otherwise take those it has.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is no CSV of a known form, or lacks a column or label that was named. A mistake in single rows
            raises nothing: those rows carry their ``reason``.
    """
    csv = Path(csv)
    if uncertain not in UNCERTAIN:
        raise UserError(f"uncertain must be {', '.join(UNCERTAIN)}, not {uncertain!r}.")
    if blank not in BLANK:
        raise UserError(f"blank must be {', '.join(BLANK)}, not {blank!r}.")
    cells, notes = read_cells(csv)
    form = next(form for form in FORMS if form.recognises(cells))
    cells, said = form.complete(cells, csv)
    notes += said
    named = {*(labels or ()), *(label_columns or {}).values(), classes} - {""}
    places, said = _places(cells, form, columns or {}, named, csv)
    notes += said
    if classes:
        _require_columns([classes], cells, csv)
        own = _choose(labels, label_columns or classes_of(cells[classes], csv), csv, require_labels)
        read = one_class(cells[classes], own)
    elif isinstance(form.labels, Listed):
        column = cells[form.labels.column]
        own = _choose(labels, label_columns or findings_of(column, form.labels), csv, require_labels)
        read = listed_findings(column, form.labels, own, csv)
    else:
        there, said = _label_columns(cells, form.labels, places, chosen=bool(named))
        notes += said
        own = _choose(labels, label_columns or {name: name for name in there}, csv, require_labels)
        _require_columns(own.values(), cells, csv)
        read = read_label_columns(cells, own, uncertain, blank, csv)
        if form.healthy in cells:
            apply_healthy(read, own, form, cells[form.healthy])
        if form.unmentioned and blank == "unknown":
            notes.append("empty cells, findings that a report does not mention, are unknown (blank: unknown).")
    if not (own or named):
        notes.append("it holds no labels: its images are unlabelled.")
    rows = _rows(cells, places, source or table_name(csv), read.mistakes, split)
    return Table(list(own), rows, read.values, bool(classes), notes + read.notes, form.modality, read.added)


def mark(rows: pd.DataFrame, where: pd.Series | np.ndarray, reason: str, detail: str | pd.Series) -> None:
    """Set rows aside: ``reason`` in a word or two, ``detail`` as a sentence (or one for each row)."""
    rows.loc[where, "reason"] = reason
    rows.loc[where, "detail"] = detail if isinstance(detail, str) else detail[where]


def _places(
    cells: pd.DataFrame, form: Form, columns: Mapping[str, str], named: Collection[str], csv: Path
) -> tuple[dict[str, Column], list[str]]:
    """The column of each role that the table tells, and what the user should know of the choice.

    Columns that are ``named`` as labels have no role.
    """
    strange = [role for role in columns if role not in ROLES]
    if strange:
        raise UserError(f"columns maps {', '.join(ROLES)}, not {strange[0]!r}.{near_miss(strange[0], ROLES)}")
    _require_columns(columns.values(), cells, csv)
    places: dict[str, Column] = dict(columns)
    notes = []
    for role in (role for role in ROLES if role not in columns):
        free = [name for name in cells.columns if name not in named and name not in places.values()]
        own = form.columns.get(role)
        if place := _place(role, own, free, cells, csv):
            places[role] = place
            if isinstance(place, str) and place != own and place.lower() != role and role in (*NEEDED, "split"):
                notes.append(f"the column {place!r} is taken for the {role}.")
    if "image" in places and "patient" not in places:
        patients = _column(places["image"], cells).fillna("").map(patient_in_path)
        if (patients != "").all():
            places["patient"] = lambda _: patients
            notes.append("it has no column patient: the patients are those that the paths of the images name.")
    for role in NEEDED:
        if role not in places:
            raise UserError(
                f"{csv} has no column {role!r} but {', '.join(cells.columns)}: name the columns image, patient, "
                "optionally split and source, then one for each label, or map their names with columns."
                f"{near_miss(role, cells.columns)}"
            )
    if "source" not in columns and "source" in places and not _names_hospitals(_column(places["source"], cells)):
        del places["source"]
    return places, notes


def _place(role: str, own: Column | None, free: Sequence[str], cells: pd.DataFrame, csv: Path) -> Column | None:
    """The column of a role: called like it, or the form's ``own``, or with a usual name, or with a rarer one."""
    called_so = sorted((name for name in free if name.lower() == role), reverse=True)  # small letters first
    if called_so:
        return called_so[0]
    if isinstance(own, str) and own in cells:
        return own
    for names in ALIASES[role]:
        found = [name for name in free if squash(name) in names]
        if role == "split":  # words such as set mean other things, too
            found = [name for name in found if all(split_of(text) for text in texts_of(cells[name])[1])]
        if role in NEEDED and len(found) > 1:
            raise UserError(
                f"{csv} has several columns that may be the {role}, {', '.join(found)}: call the right one {role}, or "
                "name it with columns."
            )
        if found:
            return found[0]
        if callable(own):
            return own
    return None


def _column(place: Column, cells: pd.DataFrame) -> pd.Series:
    return cells[place] if isinstance(place, str) else place(cells)


def _names_hospitals(column: pd.Series) -> bool:
    texts = texts_of(column)[1]
    return len(texts) <= MOST_SOURCES and not any("://" in text for text in texts)


def _label_columns(
    cells: pd.DataFrame, names: Sequence[str], places: Mapping[str, Column], chosen: bool
) -> tuple[list[str], list[str]]:
    """The columns that may be labels: the form's; or all without a role, those that hold some where nobody chose."""
    if names:
        return [name for name in names if name in cells], []
    free = [name for name in cells.columns if name not in places.values()]
    there = [name for name in free if chosen or holds_labels(texts_of(cells[name]))]
    left = ", ".join(name for name in free if name not in there)
    return there, [f"left out, for they hold no labels: {left}."] if left else []


def _require_columns(names: Iterable[str], cells: pd.DataFrame, csv: Path) -> None:
    for name in names:
        if name not in cells:
            there = ", ".join(cells.columns)
            raise UserError(f"{csv} has no column {name!r}: it has {there}.{near_miss(name, cells.columns)}")


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
    cells: pd.DataFrame, places: Mapping[str, Column], source: str, mistakes: np.ndarray, split: str
) -> pd.DataFrame:
    coded = {role: texts_of(_column(place, cells)) for role, place in places.items()}
    rows = pd.DataFrame(
        {
            "row": cells.index,
            "image": _meant(coded.get("image"), _known),
            "patient": _meant(coded.get("patient"), _number),
            "study": _meant(coded.get("study"), _number),
            "split": _meant(coded.get("split"), split_of),
            "source": _meant(coded.get("source"), lambda text: text, source),
            "age": _meant(coded.get("age"), age_of, np.nan),
            "sex": _meant(coded.get("sex"), sex_of),
            "view": _meant(coded.get("view"), view_of),
            "scanner": _meant(coded.get("scanner"), _known),
            "reason": np.where(mistakes != "", "not a label", ""),
            "detail": mistakes,
        }
    )
    if split:
        rows["split"] = split
    elif "split" in places:
        words = "the column split must say training, validation, test or unlabeled"
        mark(rows, rows["split"] == "", "no split", words)
    mark(rows, rows["patient"] == "", "no patient", "without a patient the image might be in two splits")
    mark(rows, rows["image"] == "", "no image", "the row names no image")
    return rows


def _meant(coded: Coded | None, meaning: Callable[[str], Any], empty: Any = "") -> np.ndarray | Any:
    """What a role's cells mean [N]; ``empty`` for empty ones, and for all where no column has the role."""
    if coded is None:
        return empty
    codes, texts = coded
    return np.array([*map(meaning, texts), empty], dtype=object if isinstance(empty, str) else float)[codes]


def _known(text: str) -> str:
    return "" if is_unknown(text) else text


def _number(text: str) -> str:
    """A number as pandas writes it in a column with empty cells is the same number: 12.0 is 12."""
    whole = text.removesuffix(".0")
    return whole if whole.isdigit() else _known(text)
