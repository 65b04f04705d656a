"""Gather what the sources hold: their inputs, their tables' rows, and which row means which input."""

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
from ..tables import Table
from .duplicates import join_repeated
from .mask_files import Masks, Refused, find_masks, match_masks
from .rows import Rows

NOT_LISTED = ("not in the CSV", "no row names this image; to pre-train on it, give its folder to --unlabeled, too")
SEVERAL = ("several such images", "folders share the name: give the path below the folder of images")
NO_IMAGE, OTHER_VIEW = "no such image", "other view"
NO_MASK_BY_NAME = ("no image", "its name and its first bytes are not those of a mask")
MOST_NEAREST = 50
"""Rows of a source for which the nearest file is named; to look for it takes some 10 ms."""
VIEWS = {"frontal": {"frontal", "PA", "AP"}, "PA": {"PA", "frontal"}, "AP": {"AP", "frontal"}, "lateral": {"lateral"}}
"""What `prepare` may be asked for → what it means in a table, where a mere ``frontal`` may be PA or AP."""
ALL_VIEWS = "all"
KINDS = {2: "radiograph (PNG, JPEG, TIFF, BMP, DICOM)", 3: "volume (NIfTI, NRRD, MetaImage, DICOM slices, …)"}
SUFFIXES = {2: PICTURE_SUFFIXES, 3: VOLUME_SUFFIXES}


@dataclass
class Inventory:
    """The inputs below the folders of all sources; folders may be shared by sources or lie within each other.

    Attributes:
        folders: of the sources' images.
        units: every input once.
        number: the path of each input → its place in ``units``.
        places: for each input the number of the first source it was found in.
        found: for each source the inputs below its folder.
        others: files that are no images → source.
        masks: those of the images.
    """

    folders: list[Path]
    units: list[Unit] = field(default_factory=list)
    number: dict[Path, int] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)
    found: list[list[Unit]] = field(default_factory=list)
    others: dict[Path, int] = field(default_factory=dict)
    masks: Masks = field(default_factory=Masks)

    def path(self, unit: int, place: int) -> str:
        """An input's path below the folder of a source, with slashes."""
        return self.units[unit].name(self.folders[place])


@dataclass(frozen=True)
class Gathered:
    """What the sources hold.

    Attributes:
        table: what those of all sources say together.
        rows: one for each row of the tables, then one for each input that none names.
        inventory: the inputs.
        modalities: of each source what it or its table says; "" where it says nothing.
    """

    table: Table
    rows: Rows
    inventory: Inventory
    modalities: Sequence[str]


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
    contains: Mapping[str, Sequence[str]] | None = None,
) -> Gathered:
    """Read the tables, look for the inputs and their masks, and match them.

    Args:
        sources: named, those with an npz unpacked.
        spatial_dims: 2 or 3.
        labels: the labels to take; by default all.
        skip: a folder to pass over, the one that is written to.
        views: of those in `VIEWS`, or ``all``; rows of other views are set aside, those of no known view are kept.
        contains: class of masks → the classes that make it up.

    Raises:
        MissingFileError: a folder or a CSV is missing.
        UserError: a table cannot be read, or the tables or masks do not go together.
    """
    tables = read_tables(sources, labels)
    inventory = _look_through(sources, spatial_dims, skip, contains or {})
    table = merge_sources(tables, labels) if tables else Table([], pd.DataFrame(), np.empty((0, 0), np.float32))
    places = {source.name: place for place, source in enumerate(sources)}
    named = table.rows.rename(columns={"image": "file"})
    rows = Rows.of(named.assign(place=[places[name] for name in named.get("table", [])]), table.values)
    if ALL_VIEWS not in views:
        wanted = {"", *(view for name in views for view in VIEWS[name])}
        details = rows["view"] + f" is none of the views {', '.join(views)} (--views)"
        rows = rows.set_aside(~rows["view"].isin(wanted).to_numpy(), OTHER_VIEW, details)
    unclear: set[int] = set()
    for place, source in enumerate(sources):
        if source.csv:
            rows, several = _match(rows, place, source, inventory, spatial_dims)
            unclear |= several
    unlisted = _unlisted(set(rows["unit"]), unclear, sources, inventory)
    nothing = np.full((len(unlisted), len(table.labels)), np.nan, dtype=np.float32)
    rows = Rows.of(pd.concat([rows.table, unlisted]), np.concatenate([rows.values, nothing]))
    modalities = [source.modality or (tables[source.name].modality if source.csv else "") for source in sources]
    return Gathered(table, join_repeated(rows), inventory, modalities)


def _look_through(
    sources: Sequence[Source], spatial_dims: int, skip: Path, contains: Mapping[str, Sequence[str]]
) -> Inventory:
    masked = {place: find_masks(source, spatial_dims, skip) for place, source in enumerate(sources) if source.masks}
    masks = {path for units, _ in masked.values() for unit in units for path in (unit.path, *unit.files)}
    folders = [source.images for source in sources if source.images]  # all have one, for an npz has been unpacked
    inventory = Inventory([folder.resolve() for folder in folders])
    for place, folder in enumerate(folders):
        found, others = find_units(folder, spatial_dims, skip)
        found = [unit for unit in found if unit.path not in masks]  # they may lie among the images
        for unit in found:
            if unit.path not in inventory.number:
                inventory.number[unit.path] = len(inventory.units)
                inventory.units.append(unit)
                inventory.places.append(place)
        inventory.found.append(found)
        for path in others:
            inventory.others.setdefault(path, place)
    for source in sources:
        if source.csv:  # it may lie among its images
            inventory.others.pop(source.csv.resolve(), None)
    files = {place: units for place, (units, _) in masked.items()}
    inventory.masks = match_masks(sources, files, inventory.found, inventory.number, spatial_dims, contains)
    for place, (_, others) in masked.items():
        inventory.masks.refused += [Refused(path, place, *NO_MASK_BY_NAME) for path in others]
    return inventory


def _match(rows: Rows, place: int, source: Source, inventory: Inventory, spatial_dims: int) -> tuple[Rows, set[int]]:
    """A source's rows with their inputs, and the inputs that one of them may mean among others."""
    here = (rows["place"] == place).to_numpy()
    part = rows.table[here]
    index = ImageIndex(inventory.folders[place], inventory.found[place])
    # Folders that several patients share tell none of them apart.
    shared = shared_folders(filter(None, part["file"])) if part["patient"].nunique() > 1 else 0
    matches = index.find(part["file"].tolist(), shared)
    start = source.patient("…")[:-1]
    rows = rows.put(
        here,
        patient=[normal_patient(patient.removeprefix(start)) for patient in part["patient"]],
        unit=[inventory.number[match.units[0].path] if len(match.units) == 1 else -1 for match in matches],
        slice=[match.slice for match in matches],
        note=[match.note for match in matches],
    )
    counts = np.ones(len(here), dtype=int)
    counts[here] = [len(match.units) for match in matches]
    missing = np.flatnonzero(rows.used & (counts == 0))
    rows = rows.set_aside(counts == 0, NO_IMAGE, "it is not under the folder of images")
    rows = _name_nearest(rows, missing[:MOST_NEAREST], index, inventory, place, spatial_dims)
    several = {inventory.number[unit.path] for match in matches if len(match.units) > 1 for unit in match.units}
    return rows.set_aside(counts > 1, *SEVERAL), several


def _name_nearest(
    rows: Rows, missing: np.ndarray, index: ImageIndex, inventory: Inventory, place: int, spatial_dims: int
) -> Rows:
    """Say in some rows that find no image what there is: that file of another kind, or a like name."""
    if not len(missing):
        return rows
    folder = inventory.folders[place]
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
    return rows.put(missing, detail=details)


def _unlisted(listed: set[int], unclear: set[int], sources: Sequence[Source], inventory: Inventory) -> pd.DataFrame:
    """A row for each input that no table names: unlabelled, where it lies in the folder of a source without a table."""
    free: dict[int, int] = {}
    for place, source in enumerate(sources):
        for unit in inventory.found[place] if source.csv is None else ():
            free.setdefault(inventory.number[unit.path], place)
    rows = []
    for number, first in enumerate(inventory.places):
        if number in listed:
            continue
        place = free.get(number, first)
        # Whose the unclear ones are is unknown, so they may not go into pre-training, where the others may.
        reason, detail = SEVERAL if number in unclear else ("", "") if number in free else NOT_LISTED
        row = {"unit": number, "file": inventory.path(number, place), "place": place, "source": sources[place].name}
        unmasked = "" if number in inventory.masks.of_unit else "unlabeled"
        split = (sources[place].split or unmasked) if not reason else ""
        rows.append({**row, "split": split, "reason": reason, "detail": detail})
    return Rows.of(pd.DataFrame(rows), np.empty((len(rows), 0))).table


def names_of_units(inventory: Inventory, sources: Sequence[Source]) -> list[str]:
    """A name for each input that stays the same from run to run: its source's and the path below its folder."""
    return [f"{sources[place].name}/{inventory.path(unit, place)}" for unit, place in enumerate(inventory.places)]
