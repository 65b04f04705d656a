"""Give each row of the sources the image that it means, and tell of every file what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from medssl.files import write_text

from ..sources import Source
from .examine import Outcome
from .gather import Gathered

REFUSED = ("no image", "no pixels")
"""Reasons of files that never could be used, whoever repaired them."""


def take_outcomes(gathered: Gathered, outcomes: Mapping[int, Sequence[Outcome]]) -> Gathered:
    """Give each sound row its image, or the reason why there is none.

    An input that no table names gives a row for each volume that it holds.

    Args:
        gathered: rows and inputs.
        outcomes: what became of the inputs, by their number.

    Returns:
        The same with the columns ``outcome`` (or None), ``stored`` and ``content`` ("" where there is no image).
    """
    taken: list[tuple[int, Outcome | None]] = []
    columns = (gathered.rows[name] for name in ("unit", "slice", "row", "reason"))
    for number, (unit, named, row, reason) in enumerate(zip(*columns, strict=True)):
        if reason:
            taken.append((number, None))
        elif row:
            taken.append((number, _meant(outcomes[unit], named)))
        else:
            images = [outcome for outcome in outcomes[unit] if outcome.stored]
            taken += [(number, outcome) for outcome in images or outcomes[unit][:1]]
    order = [number for number, _ in taken]
    rows = gathered.rows.iloc[order].reset_index(drop=True)
    rows["outcome"] = pd.Series([outcome for _, outcome in taken], dtype=object)
    for name in ("stored", "content"):
        rows[name] = [getattr(outcome, name) if outcome else "" for _, outcome in taken]
    for name in ("reason", "detail"):
        rows[name] = [
            getattr(outcome, name) if outcome else text for (_, outcome), text in zip(taken, rows[name], strict=True)
        ]
    return replace(gathered, rows=rows, values=gathered.values[order])


def _meant(outcomes: Sequence[Outcome], named: str) -> Outcome:
    """The one that a row of a CSV means, which may name a file of it."""
    images = [outcome for outcome in outcomes if outcome.stored]
    if named:
        return next(outcome for outcome in outcomes if named in outcome.files)
    if len(images) > 1:
        return Outcome([], "several volumes", f"the folder holds {len(images)}: name a slice of the one that is meant")
    return (images or list(outcomes))[0]


def write_report(
    path: Path, gathered: Gathered, sources: Sequence[Source], outcomes: Mapping[int, Sequence[Outcome]]
) -> pd.DataFrame:
    """Write ``report.csv``: one row for every file below the sources' folders, and one for every other row of a CSV.

    Its columns: ``source``; ``file``, below the source's folder; ``row``, the line of the source's CSV (0 where none
    names the file); ``named``, what the CSV says where no file belongs to its line; ``status``: used, set aside, or
    refused (no image); ``split``; ``reason``; ``detail``, of a used image what was put right; ``stored``, the image in
    the store.

    Args:
        path: of the report.
        gathered: rows with their outcomes.
        sources: of the rows.
        outcomes: what became of the inputs.

    Returns:
        The report.
    """
    folders = [source.images.resolve() for source in sources if source.images]
    rows = cast(list[dict[str, Any]], gathered.rows.to_dict("records"))
    lines: list[_Line] = []
    told: set[int] = set()
    for file, unit, number, outcome in _files(gathered, outcomes):
        if number is None:
            place = gathered.inventory.places[unit]
            lines.append(_Line(place, _below(folders[place], file), reason=outcome.reason, detail=outcome.detail))
        else:
            told.add(number)
            lines.append(_line(rows[number], _below(folders[rows[number]["place"]], file)))
    lines += [_line(said)._replace(named=said["file"]) for number, said in enumerate(rows) if number not in told]
    for file, place in gathered.inventory.others.items():
        detail = "its name and its first bytes are not those of an image"
        lines.append(_Line(place, _below(folders[place], file), reason="no image", detail=detail))
    report = pd.DataFrame(lines, columns=list(_Line._fields))
    refused = report["reason"].isin(REFUSED)
    status = np.where(report["reason"] == "", "used", np.where(refused, "refused", "set aside"))
    report.insert(4, "status", status)
    report.insert(0, "source", [sources[place].name for place in report["place"]])
    report["unlisted"] = report["row"] == 0
    report = report.sort_values(["place", "unlisted", "row", "file"], kind="stable").drop(columns=["place", "unlisted"])
    text = report.to_csv(index=False).encode("utf-8", "backslashreplace").decode("utf-8")  # names need not be UTF-8
    write_text(path, text)
    return report


class _Line(NamedTuple):
    place: int
    file: str
    row: int = 0
    named: str = ""
    split: str = ""
    reason: str = ""
    detail: str = ""
    stored: str = ""


def _line(said: Mapping[str, Any], file: str = "") -> _Line:
    """What a row says of a file."""
    line = _Line(said["place"], file, said["row"], reason=said["reason"], detail=said["detail"])
    if said["reason"]:
        return line
    detail = "; ".join(filter(None, (said["note"], said["detail"])))
    return line._replace(split=said["split"], detail=detail, stored=said["stored"])


def _below(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _files(
    gathered: Gathered, outcomes: Mapping[int, Sequence[Outcome]]
) -> Iterator[tuple[Path, int, int | None, Outcome]]:
    """Every file of the inputs: with its input, the row that speaks of it (or None) and what became of it itself."""
    owner: dict[int, int] = {}  # of several rows the first, which is the one that is used
    for number, outcome in enumerate(gathered.rows["outcome"]):
        owner.setdefault(id(outcome), number)
    claims: dict[int, int] = {}
    for number, unit in enumerate(gathered.rows["unit"]):
        claims.setdefault(unit, number)
    for number, unit in enumerate(gathered.inventory.units):
        folder = unit.path if unit.path.is_dir() else unit.path.parent
        # Not looked at: the row that names it says why.
        for outcome in outcomes.get(number, [Outcome([str(path) for path in unit.files])]):
            speaks = owner.get(id(outcome), None if outcome.reason else claims[number])
            for name in outcome.files:
                yield folder / name, number, speaks, outcome
