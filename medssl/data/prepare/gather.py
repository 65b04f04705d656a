"""Gather what the sources hold: their inputs, their tables' rows, and which row means which input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.readers import Unit, find_units

from ..images import ImageIndex
from ..sources import Source, merge_sources, read_tables
from ..tables import Table, mark

NOT_LISTED = ("not in the CSV", "no row names this image")
SEVERAL = ("several such images", "folders share the name: give the path below the folder of images")
COLUMNS = ["unit", "slice", "file", "row", "place", "source", "patient", "split", "reason", "detail"]


@dataclass
class Inventory:
    """The inputs below the folders of all sources; folders may be shared by sources or lie within each other.

    Attributes:
        units: every input once.
        number: the path of each input → its place in ``units``.
        places: for each input the number of the first source it was found in.
        free: input → source, for those in the folder of a source without a table.
        found: for each source the inputs below its folder.
        others: files that are no images → source.
    """

    units: list[Unit] = field(default_factory=list)
    number: dict[Path, int] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    free: dict[int, int] = field(default_factory=dict)
    found: list[list[Unit]] = field(default_factory=list)
    others: dict[Path, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Gathered:
    """What the sources hold.

    Attributes:
        labels: names of the K labels.
        exclusive: see `medssl.data.tables.Table`.
        notes: sentences the user should read.
        rows: one for each row of the tables, then one for each input that none names: ``unit`` (number of the input, -1
            for none), ``slice`` (the file that the row names within it, if any), ``file`` (as the CSV names it, or the
            path below the source's folder), ``row`` (line of the CSV, or 0), ``place`` (number of the source),
            ``source``, ``patient``, ``split``, ``reason``, ``detail``.
        values: float32 [N, K] of 1, 0, NaN.
        inventory: the inputs.
    """

    labels: list[str]
    exclusive: bool
    notes: list[str]
    rows: pd.DataFrame
    values: np.ndarray
    inventory: Inventory


def gather(sources: Sequence[Source], spatial_dims: int, labels: Sequence[str] | None, skip: Path) -> Gathered:
    """Read the tables, look for the inputs, and match both.

    Args:
        sources: named, those with an npz unpacked.
        spatial_dims: 2 or 3.
        labels: the labels to take; by default all.
        skip: a folder to pass over, the one that is written to.

    Raises:
        MissingFileError: a folder or a CSV is missing.
        UserError: a table cannot be read, or the tables do not go together.
    """
    tables = read_tables(sources, labels)
    inventory = _look_through(sources, spatial_dims, skip)
    if tables:
        table = merge_sources(tables, labels)
    else:
        table = Table([], pd.DataFrame(columns=[*COLUMNS, "image", "table"]), np.empty((0, 0), np.float32))
    matched = [_match(table.rows, place, source, inventory) for place, source in enumerate(sources) if source.csv]
    named = pd.concat([rows for rows, _ in matched]) if matched else pd.DataFrame(columns=COLUMNS)
    unclear = set[int]().union(*(several for _, several in matched))
    unlisted = _unlisted(set(named["unit"]), unclear, sources, inventory)
    values = np.full((len(named) + len(unlisted), len(table.labels)), np.nan, dtype=np.float32)
    values[: len(named)] = table.values[named.index.to_numpy(dtype=int)]
    rows = pd.concat([named, unlisted], ignore_index=True)
    _join_repeated(rows, values)
    return Gathered(table.labels, table.exclusive, list(table.notes), rows, values, inventory)


def _look_through(sources: Sequence[Source], spatial_dims: int, skip: Path) -> Inventory:
    inventory = Inventory()
    for place, source in enumerate(sources):
        assert source.images is not None  # an npz has been unpacked
        found, others = find_units(source.images, spatial_dims, skip)
        for unit in found:
            if unit.path not in inventory.number:
                inventory.number[unit.path] = len(inventory.units)
                inventory.units.append(unit)
                inventory.places.append(place)
            if source.csv is None:
                inventory.free.setdefault(inventory.number[unit.path], place)
        inventory.found.append(found)
        for path in others:
            inventory.others.setdefault(path, place)
    for source in sources:
        if source.csv:  # it may lie among its images
            inventory.others.pop(source.csv.resolve(), None)
    return inventory


def _match(table: pd.DataFrame, place: int, source: Source, inventory: Inventory) -> tuple[pd.DataFrame, set[int]]:
    """A source's rows of the table with their inputs, and the inputs that a row may mean among others."""
    assert source.images is not None
    index = ImageIndex(source.images, inventory.found[place])
    rows = table[table["table"] == source.name].rename(columns={"image": "file"}).assign(place=place)
    hits = [index.find(image) if image else ([], "") for image in rows["file"]]
    rows["unit"] = [inventory.number[found[0].path] if len(found) == 1 else -1 for found, _ in hits]
    rows["slice"] = [named for _, named in hits]
    counts = np.array([len(found) for found, _ in hits])
    sound = (rows["reason"] == "").to_numpy()
    mark(rows, sound & (counts == 0), "no such image", "it is not under the folder of images")
    mark(rows, sound & (counts > 1), *SEVERAL)
    return rows[COLUMNS], {inventory.number[unit.path] for found, _ in hits if len(found) > 1 for unit in found}


def _unlisted(listed: set[int], unclear: set[int], sources: Sequence[Source], inventory: Inventory) -> pd.DataFrame:
    """A row for each input that no table names: unlabelled, where it lies in the folder of a source without a table."""
    rows = []
    for unit, first in enumerate(inventory.places):
        if unit in listed:
            continue
        place = inventory.free.get(unit, first)
        source = sources[place]
        assert source.images is not None
        # Whose the unclear ones are is unknown, so they may not go into pre-training, where the others may.
        reason, detail = SEVERAL if unit in unclear else ("", "") if unit in inventory.free else NOT_LISTED
        split = (source.split or "unlabeled") if not reason else ""
        file = inventory.units[unit].name(source.images.resolve())
        rows.append([unit, "", file, 0, place, source.name, "", split, reason, detail])
    return pd.DataFrame(rows, columns=COLUMNS)


def _join_repeated(rows: pd.DataFrame, values: np.ndarray) -> None:
    """Rows of a source for one image may add to each other; where they contradict, neither can be trusted."""
    key = ["place", "unit", "slice"]
    sound = (rows["reason"] == "") & (rows["unit"] >= 0)
    repeated = sound & rows[key].where(sound).duplicated(keep=False)
    for _image, group in rows[repeated].groupby(key):
        here = group.index.to_numpy()
        lines = f"rows {', '.join(map(str, group['row']))} name the same image"
        known_ones, known_zeros = (values[here] == 1).any(axis=0), (values[here] == 0).any(axis=0)
        if (known_ones & known_zeros).any() or group["patient"].nunique() > 1 or group["split"].nunique() > 1:
            rows.loc[here, ["reason", "detail"]] = ["contradiction", f"{lines} and disagree"]
        else:
            values[here[0]] = np.where(known_ones, 1, np.where(known_zeros, 0, np.nan))
            rows.loc[here[1:], ["reason", "detail"]] = ["repeated row", f"{lines}; they were joined"]


def names_of_units(inventory: Inventory, sources: Sequence[Source]) -> list[str]:
    """A name for each input that stays the same from run to run: its source's and the path below its folder."""
    folders: Mapping[int, Path] = {
        place: source.images.resolve() for place, source in enumerate(sources) if source.images
    }
    return [
        f"{sources[place].name}/{unit.name(folders[place])}"
        for unit, place in zip(inventory.units, inventory.places, strict=True)
    ]
