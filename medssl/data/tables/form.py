"""What there is to know of a data set's table, as values: a `Form`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

Column = str | Callable[[pd.DataFrame], pd.Series]
"""A column by its name, or a function that makes it of all cells (text, "" for nothing)."""


@dataclass(frozen=True)
class Listed:
    """A column whose text lists the findings of an image; a finding that it does not list is absent.

    Attributes:
        column: its name.
        read: the findings in one text; raises ValueError when the text is no such list.
        nothing: what stands there when there is none.
        known: the findings there are, in order; empty: whatever the column lists, the commonest first.
        unsure: words beside which a finding that is not listed is unknown.
        excluded: words of images that are to be set aside.
    """

    column: str
    read: Callable[[str], list[str]]
    nothing: str
    known: tuple[str, ...] = ()
    unsure: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()


def as_it_stands(cells: pd.DataFrame, csv: Path) -> tuple[pd.DataFrame, list[str]]:
    """For forms whose table holds a row for each image, and all there is to know."""
    return cells, []


@dataclass(frozen=True)
class Form:
    """How a data set writes its table; `medssl.data.tables.forms.FORMS` lists those that are recognised.

    Attributes:
        name: of the data set.
        recognises: whether cells, all text, are such a table.
        columns: role (see `medssl.data.tables.ROLES`) → its column. Roles that are not given here are looked for by the
            names that they usually have.
        labels: the label columns, of which those that are there are taken; or the one that lists the findings. Empty:
            every column without a role that holds labels.
        complete: adds what stands in files beside the CSV, or joins the rows of one image; gives cells with a row for
            each image, and notes.
        healthy: a label that says that none of the others is there, where it is 1 …
        beside_healthy: … but for these.
        unmentioned: an empty cell means that a report does not mention the finding.
        modality: of the images, as DICOM calls it.
        patient_in_path: finds the patient, as its group 1, in the path of an image (with slashes).
        study_in_path: likewise the study, by a name that no other study of the data set has.
    """

    name: str
    recognises: Callable[[pd.DataFrame], bool]
    columns: Mapping[str, Column] = field(default_factory=dict)
    labels: tuple[str, ...] | Listed = ()
    complete: Callable[[pd.DataFrame, Path], tuple[pd.DataFrame, list[str]]] = as_it_stands
    healthy: str = ""
    beside_healthy: tuple[str, ...] = ()
    unmentioned: bool = False
    modality: str = ""
    patient_in_path: re.Pattern[str] | None = None
    study_in_path: re.Pattern[str] | None = None


def from_path(rule: re.Pattern[str], column: str) -> Callable[[pd.DataFrame], pd.Series]:
    """A column made of what ``rule`` finds in the paths that another one holds."""

    def find(cells: pd.DataFrame) -> pd.Series:
        found = (rule.search(path.replace("\\", "/")) for path in cells[column].fillna(""))
        return pd.Series([match[1].lower() if match else "" for match in found], cells.index)

    return find
