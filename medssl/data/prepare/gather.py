"""Gather what the sources hold: their inputs, their tables' rows, and which row means which input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.readers import Unit, find_units
from medssl.readers.suffixes import PICTURE_SUFFIXES, VOLUME_SUFFIXES, suffix_of

from ..images import ImageIndex, shared_folders
from ..patients import normal_patient
from ..sources import Source, merge_sources, read_tables
from ..tables import Table, mark

NOT_LISTED = ("not in the CSV", "no row names this image; to pre-train on it, give its folder to --unlabeled, too")
SEVERAL = ("several such images", "folders share the name: give the path below the folder of images")
NO_IMAGE, OTHER_VIEW = "no such image", "other view"
MOST_NEAREST = 50
"""Rows of a source for which the nearest file is named; to look for it takes some 10 ms."""
VIEWS = {"frontal": {"frontal", "PA", "AP"}, "PA": {"PA", "frontal"}, "AP": {"AP", "frontal"}, "lateral": {"lateral"}}
"""What `prepare` may be asked for → what it means in a table, where a mere ``frontal`` may be PA or AP."""
ALL_VIEWS = "all"
KINDS = {2: "radiograph (PNG, JPEG, TIFF, BMP, DICOM)", 3: "volume (NIfTI, NRRD, MetaImage, DICOM slices, …)"}
SUFFIXES = {2: PICTURE_SUFFIXES, 3: VOLUME_SUFFIXES}
ABOUT = {"study": "", "age": np.nan, "sex": "", "view": ""}
"""What tables may say of an image beside its labels, and what stands there where they do not."""
COLUMNS = ["unit", "slice", "file", "row", "place", "source", "patient", "split", *ABOUT, "reason", "detail", "note"]


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
            ``source``, ``patient`` (the number that a table gives, see `normal_patient`), ``split``, those of `ABOUT`,
            ``reason``, ``detail``, and ``note`` (what was put right to find the image).
        values: float32 [N, K] of 1, 0, NaN.
        inventory: the inputs.
        modalities: of each source what it or its table says; "" where it says nothing.
        added: rule of a table (such as ``blank``) → label → number of values that it made known.
    """

    labels: list[str]
    exclusive: bool
    notes: list[str]
    rows: pd.DataFrame
    values: np.ndarray
    inventory: Inventory
    modalities: Sequence[str]
    added: Mapping[str, Mapping[str, int]]


def share_sites(sources: Sequence[Source]) -> list[Source]:
    """Sources of one folder are of one hospital, so a number means the same patient in all their tables.

    Args:
        sources: named; whoever says its site keeps it.
    """
    first: dict[Path | None, str] = {}
    for source in sources:
        if source.csv:
            first.setdefault(source.images and source.images.resolve(), source.site or source.name)
    return [
        replace(source, site=source.site or first[source.images and source.images.resolve()]) if source.csv else source
        for source in sources
    ]


def gather(
    sources: Sequence[Source],
    spatial_dims: int,
    labels: Sequence[str] | None,
    skip: Path,
    views: Sequence[str] = (ALL_VIEWS,),
) -> Gathered:
    """Read the tables, look for the inputs, and match both.

    Args:
        sources: named, those with an npz unpacked.
        spatial_dims: 2 or 3.
        labels: the labels to take; by default all.
        skip: a folder to pass over, the one that is written to.
        views: of those in `VIEWS`, or ``all``; rows of other views are set aside, those of no known view are kept.

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
    _set_views_aside(table.rows, views)
    matched = [
        _match(table.rows, place, source, inventory, spatial_dims) for place, source in enumerate(sources) if source.csv
    ]
    named = pd.concat([rows for rows, _ in matched]) if matched else pd.DataFrame(columns=COLUMNS)
    unclear = set[int]().union(*(several for _, several in matched))
    unlisted = _unlisted(set(named["unit"]), unclear, sources, inventory)
    values = np.full((len(named) + len(unlisted), len(table.labels)), np.nan, dtype=np.float32)
    values[: len(named)] = table.values[named.index.to_numpy(dtype=int)]
    rows = pd.concat([named, unlisted], ignore_index=True)
    _join_repeated(rows, values)
    modalities = [source.modality or (tables[source.name].modality if source.csv else "") for source in sources]
    return Gathered(table.labels, table.exclusive, list(table.notes), rows, values, inventory, modalities, table.added)


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


def _set_views_aside(rows: pd.DataFrame, views: Sequence[str]) -> None:
    if ALL_VIEWS in views:
        return
    wanted = {"", *(view for name in views for view in VIEWS[name])}
    other = ((rows["reason"] == "") & ~rows["view"].isin(wanted)).to_numpy()
    details = rows["view"] + f" is none of the views {', '.join(views)} (--views)"
    mark(rows, other, OTHER_VIEW, details)


def _match(
    table: pd.DataFrame, place: int, source: Source, inventory: Inventory, spatial_dims: int
) -> tuple[pd.DataFrame, set[int]]:
    """A source's rows of the table with their inputs, and the inputs that a row may mean among others."""
    assert source.images is not None
    index = ImageIndex(source.images, inventory.found[place])
    rows = table[table["table"] == source.name].rename(columns={"image": "file"}).assign(place=place)
    images = rows["file"].tolist()
    # Folders that several patients share tell none of them apart.
    shared = shared_folders(filter(None, images)) if rows["patient"].nunique() > 1 else 0
    matches = index.find(images, shared)
    start = source.patient("…")[:-1]
    rows["patient"] = [normal_patient(patient.removeprefix(start)) for patient in rows["patient"]]
    counts = np.array([len(match.units) for match in matches], dtype=int)
    rows["unit"] = [inventory.number[match.units[0].path] if len(match.units) == 1 else -1 for match in matches]
    rows["slice"] = [match.slice for match in matches]
    rows["note"] = [match.note for match in matches]
    sound = (rows["reason"] == "").to_numpy()
    missing = sound & (counts == 0)
    mark(rows, missing, NO_IMAGE, "it is not under the folder of images")
    _name_nearest(rows, np.flatnonzero(missing)[:MOST_NEAREST], index, source, inventory, spatial_dims)
    mark(rows, sound & (counts > 1), *SEVERAL)
    several = {inventory.number[unit.path] for match in matches if len(match.units) > 1 for unit in match.units}
    return rows.reindex(columns=COLUMNS, fill_value=""), several


def _name_nearest(
    rows: pd.DataFrame,
    missing: np.ndarray,
    index: ImageIndex,
    source: Source,
    inventory: Inventory,
    spatial_dims: int,
) -> None:
    """Say in some rows that find no image what there is: that file of another kind, or a like name."""
    assert source.images is not None
    folder = source.images.resolve()
    if not len(missing):
        return
    others = ImageIndex(folder, [Unit(path, (path,)) for path in inventory.others if path.is_relative_to(folder)])
    details = []
    images = rows["file"].iloc[missing].tolist()
    for image, match in zip(images, others.find(images), strict=True):
        if match.units:
            file = match.units[0].name(folder)
            other = 5 - spatial_dims
            hint = f": --dims {other} takes it" if suffix_of(file) in SUFFIXES[other] else ""
            details.append(f"{file} is there, but by its name and first bytes no {KINDS[spatial_dims]}{hint}")
        else:
            near = index.nearest(image)
            question = f". Did you mean {near!r}?" if near else f", which holds no {KINDS[spatial_dims]}"
            details.append(f"it is not under the folder of images{question}")
    rows.loc[rows.index[missing], "detail"] = details


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
        rows.append([unit, "", file, 0, place, source.name, "", split, *ABOUT.values(), reason, detail, ""])
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
