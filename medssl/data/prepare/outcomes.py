"""Give each row of the sources the image that it means, and tell of every file what became of it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from medssl.files import write_text

from .examine import Outcome
from .gather import Inventory
from .rows import Rows

REFUSED = ("no image", "no pixels")
"""Reasons of files that never could be used, whoever repaired them."""
UNUSED = "image not used"
TAKEN = ("stored", "content", "modality", "reason", "detail", "mask")
"""What a row takes of an outcome as it is."""
Outcomes = Mapping[int, Sequence[Outcome]]
"""What became of each input that was looked at, by its number."""


def take_outcomes(rows: Rows, outcomes: Outcomes, classes: Sequence[str] = ()) -> Rows:
    """Give each used row its image and its mask, or the reason why there is none.

    An input that no table names gives a row for each volume that it holds.

    Args:
        rows: without any.
        outcomes: what became of their inputs.
        classes: of the masks.
    """
    order: list[int] = []
    taken: list[tuple[int, Outcome | None]] = []
    columns = (rows[name] for name in ("unit", "slice", "row", "reason"))
    for number, (unit, named, row, reason) in enumerate(zip(*columns, strict=True)):
        found = [] if reason else list(enumerate(outcomes[unit]))
        images = [(place, outcome) for place, outcome in found if outcome.stored]
        if row and named and found:
            meant = [(place, outcome) for place, outcome in found if named in outcome.files]
        elif row and len(images) > 1:
            said = f"the folder holds {len(images)}: name a slice of the one that is meant"
            meant = [(-1, Outcome([], "several volumes", said))]
        else:
            meant = images or found[:1]
        here = [(-1, None)] if reason else meant[:1] if row else meant
        order += [number] * len(here)
        taken += here
    rows = rows.take(order)
    looked_at = np.array([outcome is not None for _, outcome in taken], dtype=bool)
    known = [(place, outcome) for place, outcome in taken if outcome]
    cells = {name: [getattr(outcome, name) for _, outcome in known] for name in TAKEN}
    cells |= {"outcome": [place for place, _ in known], "header": [outcome.patient for _, outcome in known]}
    outlined = np.full((len(order), len(classes)), np.nan, dtype=np.float32)
    for states, (_, outcome) in zip(outlined, taken, strict=True):
        for name in outcome.outlined if outcome else ():
            states[classes.index(name)] = outcome is not None and name in outcome.present
    return replace(rows.put(looked_at, **cells), outlined=outlined)


def images_of(rows: Rows, outcomes: Outcomes) -> list[Outcome]:
    """What became of each used row's image."""
    return [outcomes[unit][place] for unit, place in rows.table.loc[rows.used, ["unit", "outcome"]].to_numpy()]


def write_report(
    path: Path, rows: Rows, inventory: Inventory, names: Sequence[str], outcomes: Outcomes
) -> pd.DataFrame:
    """Write ``report.csv``: one row for every file below the sources' folders, and one for every other row of a CSV.

    Masks have rows of their own, in which ``file`` leads from the folder of images to the mask.

    Its columns: ``source``; ``file``, below the source's folder; ``row``, the line of the source's CSV (0 where none
    names the file); ``named``, what the CSV says where no file belongs to its line; ``status``: used, set aside, or
    refused (no image); ``split``; ``reason``; ``detail``, of a used image what was put right; ``stored``, the image in
    the store.

    Args:
        path: of the report.
        rows: with their outcomes.
        inventory: the inputs.
        names: of the sources.
        outcomes: what became of the inputs.

    Returns:
        The report.
    """
    said = cast(list[dict[str, Any]], rows.table.to_dict("records"))
    lines: list[_Line] = []
    told: set[int] = set()
    for file, unit, number, outcome in _files(rows, inventory, outcomes):
        place = inventory.places[unit] if number is None else said[number]["place"]
        below = file.relative_to(inventory.folders[place]).as_posix()
        if number is None:
            lines.append(_Line(place, below, reason=outcome.reason, detail=outcome.detail))
        else:
            told.add(number)
            lines.append(_line(said[number], below))
    lines += [_line(row)._replace(named=row["file"]) for number, row in enumerate(said) if number not in told]
    for file, place in inventory.others.items():
        below = file.relative_to(inventory.folders[place]).as_posix()
        detail = "its name and its first bytes are not those of an image"
        lines.append(_Line(place, below, reason="no image", detail=detail))
    lines += _mask_lines(rows, inventory, outcomes)
    report = pd.DataFrame(lines, columns=list(_Line._fields))
    refused = report["reason"].isin(REFUSED)
    status = np.where(report["reason"] == "", "used", np.where(refused, "refused", "set aside"))
    report.insert(4, "status", status)
    report.insert(0, "source", [names[place] for place in report["place"]])
    report["unlisted"] = report["row"] == 0
    report = report.sort_values(["place", "unlisted", "row", "file"], kind="stable").drop(columns=["place", "unlisted"])
    text = report.to_csv(index=False).encode("utf-8", "backslashreplace").decode("utf-8")  # names need not be UTF-8
    write_text(path, text)
    return report


def _mask_lines(rows: Rows, inventory: Inventory, outcomes: Outcomes) -> Iterator["_Line"]:
    """What became of each file with masks."""

    def below(path: Path, place: int) -> str:
        return os.path.relpath(path, inventory.folders[place]).replace(os.sep, "/")

    used = dict(zip(rows["mask"][rows.used], rows["split"][rows.used], strict=True))
    for unit, files in inventory.masks.of_unit.items():
        outcome = next((one for one in outcomes.get(unit, ()) if one.masks), None)
        for number, file in enumerate(files):
            line = _Line(file.place, below(file.path, file.place))
            reason, detail = outcome.masks[number] if outcome else ("", "")
            if not reason and (outcome is None or outcome.mask not in used):
                name = inventory.path(unit, inventory.places[unit])
                reason, detail = UNUSED, f"its image, {name}, is not used"
            stored = {} if reason else {"split": used[outcome.mask], "stored": outcome.mask}  # type: ignore[union-attr]
            yield line._replace(reason=reason, detail=detail, **stored)
    for refused in inventory.masks.refused:
        yield _Line(refused.place, below(refused.path, refused.place), reason=refused.reason, detail=refused.detail)


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


def _files(rows: Rows, inventory: Inventory, outcomes: Outcomes) -> Iterator[tuple[Path, int, int | None, Outcome]]:
    """Every file of the inputs: with its input, the row that speaks of it (or None) and what became of it itself."""
    # Of several rows the first speaks, which is the one that is used.
    owner = {key: number for number, key in reversed([*enumerate(zip(rows["unit"], rows["outcome"], strict=True))])}
    claims = {unit: number for number, unit in reversed([*enumerate(rows["unit"])])}
    for unit, one in enumerate(inventory.units):
        folder = one.path if one.path.is_dir() else one.path.parent
        # Not looked at: the row that names it says why.
        for place, outcome in enumerate(outcomes.get(unit, [Outcome([str(path) for path in one.files])])):
            speaks = owner.get((unit, place), None if outcome.reason else claims[unit])
            for name in outcome.files:
                yield folder / name, unit, speaks, outcome
