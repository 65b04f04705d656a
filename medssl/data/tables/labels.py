"""From the cells of a table to labels: a column each, a list of findings, or one class of several."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from medssl.errors import UserError

from .cells import Coded, spread, texts_of
from .form import Form, Listed
from .words import is_unknown, near_miss, state_of

MOST_CLASSES = 200  # a column with more different texts holds no classes
FEW_WRONG = 2  # in a column of any length
WRONG_SHARE = 0.1

Uncertain = Literal["unknown", "positive", "negative"]
UNCERTAIN: dict[str, float] = {"unknown": np.nan, "positive": 1, "negative": 0}
Blank = Literal["unknown", "negative"]
BLANK: dict[str, float] = {"unknown": np.nan, "negative": 0}


@dataclass(frozen=True)
class Labels:
    """What the N rows of a table say of K labels.

    Attributes:
        values: float32 [N, K] of 1, 0, NaN (unknown).
        mistakes: what is wrong with each row, "" where nothing is: [N].
        notes: sentences the user should read.
        added: rule → label → number of unknown cells that it made known.
    """

    values: np.ndarray
    mistakes: np.ndarray
    notes: list[str] = field(default_factory=list)
    added: dict[str, dict[str, int]] = field(default_factory=dict)


def holds_labels(coded: Coded) -> bool:
    """Whether a column holds labels: some cell is one, and but few are none (two, or a tenth of those filled)."""
    codes, texts = coded
    states = [state_of(text) for text in texts]
    times = np.bincount(codes[codes >= 0], minlength=len(texts))
    wrong = int(sum(times[place] for place, state in enumerate(states) if state is None))
    filled = int(times.sum())
    labels = any(state in (1, 0, -1) for state in states)
    return labels and wrong <= max(WRONG_SHARE * filled, min(FEW_WRONG, filled / 2))


def read_label_columns(
    cells: pd.DataFrame, own: Mapping[str, str], uncertain: Uncertain, blank: Blank, csv: Path
) -> Labels:
    """Labels that have a column each.

    Args:
        cells: of the table, all text.
        own: the K labels, each with the name of its column.
        uncertain: what -1 means.
        blank: what an empty cell means.
        csv: for messages.

    Raises:
        UserError: most of a column is no label.
    """
    size = len(cells)
    read = Labels(np.full((size, len(own)), np.nan, dtype=np.float32), np.full(size, "", dtype=object))
    for place, (label, name) in enumerate(own.items()):
        codes, texts = texts_of(cells[name])
        meant = [state_of(text) for text in texts]
        wrong = [f"{name} is {text!r}: write 1, 0, or nothing for unknown" for text in texts]
        wrong = [sentence if state is None else "" for sentence, state in zip(wrong, meant, strict=True)]
        mistakes = spread(wrong, codes)
        here = mistakes != ""
        if here.sum() > (codes >= 0).sum() / 2:
            raise UserError(
                f"{csv}: the column {name!r} holds values such as {texts[codes[here][0]]!r}, and a label is 1, 0 or "
                "empty: name the label columns with labels."
            )
        read.mistakes[here] = mistakes[here]
        states = np.array([*meant, BLANK[blank]], dtype=np.float64)  # the last is that of an empty cell; None → NaN
        unsure = states == -1
        states[unsure] = UNCERTAIN[uncertain]
        read.values[:, place] = states[codes]
        if count := int(unsure[codes].sum()):
            read.notes.append(f"{count} uncertain {'entry' if count == 1 else 'entries'} (-1) of {label}: {uncertain}.")
        if blank != "unknown":
            read.added.setdefault("blank", {})[label] = int((codes < 0).sum())
    if added := sum(read.added.get("blank", {}).values()):
        read.notes.append(f"{added} empty cells of labels are taken for 0 (blank: negative).")
    return read


def apply_healthy(labels: Labels, own: Mapping[str, str], form: Form, column: pd.Series) -> None:
    """Where a form's label of no finding is 1, make the findings of which the row says nothing 0, in place.

    A row that states a finding nevertheless is left as it is: one of both must be wrong.

    Args:
        labels: changed in place.
        own: the K labels, each with the name of its column.
        form: says which label that is, and of which it says nothing.
        column: the cells of that label.
    """
    codes, texts = texts_of(column)
    healthy = np.array([state_of(text) == 1 for text in texts] + [False])[codes]
    said = [place for place, name in enumerate(own.values()) if name not in (form.healthy, *form.beside_healthy)]
    torn = healthy & (labels.values[:, said] == 1).any(axis=1)
    open_cells = (healthy & ~torn)[:, None] & np.isnan(labels.values)
    open_cells[:, np.setdiff1d(np.arange(len(own)), said)] = False
    labels.values[open_cells] = 0
    counts = open_cells.sum(axis=0).tolist()
    if sum(counts):
        labels.added[form.healthy] = {label: count for label, count in zip(own, counts, strict=True) if count}
        rows = int((healthy & ~torn).sum())
        labels.notes.append(f"{form.healthy} is 1 in {rows} rows, which makes {sum(counts)} unknown findings 0.")
    if torn.any():
        labels.notes.append(f"{form.healthy} is 1 beside a finding in {torn.sum()} rows, which are left as they are.")


def findings_of(column: pd.Series, listed: Listed) -> dict[str, str]:
    """The findings that a column may list, or those it does, the commonest first."""
    if listed.known:
        return {name: name for name in listed.known}
    codes, texts = texts_of(column)
    times = np.bincount(codes[codes >= 0], minlength=len(texts))
    counts: dict[str, int] = {}
    for text, count in zip(texts, times, strict=True):
        for name in _Finding.read(text, listed).names:
            counts[name] = counts.get(name, 0) + int(count)
    return {name: name for name in sorted(counts, key=lambda name: (-counts[name], name))}


def listed_findings(column: pd.Series, listed: Listed, own: Mapping[str, str], csv: Path) -> Labels:
    """Labels of a column that lists findings.

    Args:
        column: its cells.
        listed: how to read them.
        own: the K labels, each with what the column calls it.
        csv: for messages.

    Raises:
        UserError: a label is none of those that a table of the form may list.
    """
    strange = [name for name in own.values() if listed.known and name not in listed.known]
    if strange:
        close = near_miss(strange[0], listed.known)
        raise UserError(f"{csv} has no finding {strange[0]!r}: it has {', '.join(listed.known)}.{close}")
    codes, texts = texts_of(column)
    read = [_Finding.read(text, listed) for text in texts]
    states = np.full((len(texts) + 1, len(own)), np.nan, dtype=np.float32)  # the last is that of an empty cell
    for row, finding in enumerate(read):
        if finding.known:
            states[row] = [1 if name in finding.names else finding.rest for name in own.values()]
    empty = int((codes < 0).sum())
    notes = [f"{listed.column} is empty in {empty} rows: unknown; {listed.nothing!r} says that there is none."]
    return Labels(states[codes], spread([finding.mistake for finding in read], codes), notes if empty else [])


@dataclass(frozen=True)
class _Finding:
    """What one text lists: names, the state of those that it does not name, whether it says anything, what is wrong."""

    names: tuple[str, ...] = ()
    rest: float = np.nan
    known: bool = True
    mistake: str = ""

    @classmethod
    def read(cls, text: str, listed: Listed) -> "_Finding":
        if is_unknown(text):
            return cls(known=False)
        try:
            names = dict.fromkeys(listed.read(text))
        except ValueError:
            return cls(known=False, mistake=f"{listed.column} is {text!r}, which is no list of findings")
        nothing = names.pop(listed.nothing, 0) is None
        excluded = next((name for name in names if name in listed.excluded), "")
        unsure = [name for name in names if name in listed.unsure]
        found = tuple(name for name in names if name not in listed.unsure | listed.excluded)
        wrong = sorted(name for name in found if listed.known and name not in listed.known)
        mistake = (
            f"{listed.column} says {excluded!r}"
            if excluded
            else f"{listed.column} has {wrong[0]!r}, which is none of the {len(listed.known)}"
            if wrong
            else f"{listed.column} has {listed.nothing} beside a finding"
            if nothing and found
            else ""
        )
        sure = (nothing or found) and not unsure
        return cls(found, 0 if sure else np.nan, not mistake, mistake)


def classes_of(column: pd.Series, csv: Path) -> dict[str, str]:
    """The classes whose names a column holds, in natural order.

    Raises:
        UserError: there are too many different texts.
    """
    texts = sorted((text for text in texts_of(column)[1] if not _no_class(text)), key=_natural)
    if len(texts) > MOST_CLASSES:
        raise UserError(
            f"{csv}: the column {column.name!r} holds {len(texts)} different texts such as {texts[0]!r}: "
            "is it the one of the classes? If so, name the classes to take with labels."
        )
    return {text: text for text in texts}


def one_class(column: pd.Series, own: Mapping[str, str]) -> Labels:
    """Labels of which each image has exactly one: ``own`` maps each to its text in the column."""
    codes, texts = texts_of(column)
    place = {text: index for index, text in enumerate(own.values())}
    states = np.full((len(texts) + 1, len(own)), np.nan, dtype=np.float32)  # the last is that of an empty cell
    mistakes = [""] * len(texts)
    for row, text in enumerate(texts):
        if text in place:
            states[row] = np.arange(len(own)) == place[text]
        elif not _no_class(text):
            mistakes[row] = f"{column.name} is {text!r}, which is none of {', '.join(own)}"
    return Labels(states[codes], spread(mistakes, codes))


def _no_class(text: str) -> bool:
    """None may be the name of a class: none of the others."""
    return is_unknown(text) and text.casefold() != "none"


def _natural(text: str) -> list[tuple[bool, int, str]]:
    """Order by numbers where there are some: class 2 before class 10."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text)]
