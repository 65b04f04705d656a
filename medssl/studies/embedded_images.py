"""What `medssl embed` looks at: prepared images, the files of a folder, or the places that a table of lesions names."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medssl.data import Datalist
from medssl.data.datalist_file import LABELLED_SPLITS, SPLITS
from medssl.data.images import ImageIndex, shared_folders
from medssl.data.lesions import TOLD, Lesions, read_lesions
from medssl.errors import UserError
from medssl.readers import Found, examine_folder
from medssl.readers.study import Study
from medssl.readers.units import Unit
from medssl.training.checks import check_view
from medssl.transforms import View
from medssl.transforms.crops_about import PLACES

Row = dict[str, Any]


@dataclass
class EmbeddedImages:
    """Items of a dataset with their transform, and what is known of each before it is read.

    Attributes:
        items: ready for a dataset.
        transform: from an item to the tensor ``[N, *image_size]``, N boxes.
        known: of each item the cells of its row, or of its N rows, as far as they are known.
        refused: rows of what cannot be embedded.
        labels: names of the K labels.
        exclusive: whether each image has one of them.
        seen: from a batch ``[B, 1, *image_size]`` to what the network sees of it; None where it is that already.
    """

    items: list[dict[str, Any]]
    transform: Any
    known: list[list[Row]]
    refused: list[Row] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    exclusive: bool = False
    seen: Callable[[Tensor], Tensor] | None = None


def prepared_images(data: Path, view: View, boxes: str) -> EmbeddedImages:
    """Every image of a datalist, whatever its split."""
    datalist = Datalist.read(data)
    check_view(datalist, view)
    folder = datalist.path.parent.resolve()
    items, known = [], []
    for split in SPLITS:
        for item in datalist.items(split):
            values = item["label"] if split in LABELLED_SPLITS else np.full(len(datalist.labels), np.nan)
            row = {"image": _name(item["file"], folder), **{key: item[key] for key in ("source", "patient", "study")}}
            known.append([row | {"split": split} | _label_cells(datalist.labels, values)])
            items.append({"image": item["image"]})
    load = view.stored(boxes, seen=False)
    return EmbeddedImages(items, load, known, [], datalist.labels, datalist.exclusive, view.grey_values)


def raw_images(folder: Path, view: View, boxes: str, output: Path) -> EmbeddedImages:
    """Every study of a folder, and what else lies there."""
    found, base = examine_folder(folder, view.spatial_dims, skip=output), folder.resolve()
    refused = [{"image": _name(one.path, base), "reason": one.reason, "note": one.note} for one in found.refusals]
    items = found.items()
    return EmbeddedImages(items, view.files(boxes), [[{"image": _name(item["file"], base)}] for item in items], refused)


def lesions_of_images(csv: Path, folder: Path, view: View, side: float | None, output: Path) -> EmbeddedImages:
    """Every row of a table of lesions, with the image of a folder that it names; each image is read once."""
    lesions = read_lesions(csv, view.spatial_dims)
    found = examine_folder(folder, view.spatial_dims, skip=output)
    of_row = _studies(lesions, found, folder.resolve())
    told = ["row", *(name for name in TOLD if name in lesions.rows)]
    together: dict[Path, list[int]] = {}
    refused = []
    known: dict[int, Row] = {}
    for place, (line, study) in enumerate(zip(lesions.rows.to_dict("records"), of_row, strict=True)):
        row: Row = {str(key): value for key, value in line.items()}
        cells = {key: row[key] for key in told} | _label_cells(lesions.labels, lesions.values[place])
        if row["reason"]:
            refused.append(cells | {key: row[key] for key in ("reason", "note")})
        elif isinstance(study, Study):
            known[place] = cells
            together.setdefault(study.path, []).append(place)
        else:
            refused.append(cells | dict(zip(("reason", "note"), study, strict=True)))
    by_path = {study.path: study for study in found.studies}
    items = [{"image": by_path[path], "file": str(path), PLACES: lesions.places[own]} for path, own in together.items()]
    rows = [[known[place] for place in own] for own in together.values()]
    return EmbeddedImages(items, view.about(lesions.space, side), rows, refused, lesions.labels)


def _studies(lesions: Lesions, found: Found, folder: Path) -> list[Study | tuple[str, str]]:
    """The study that each row names, or reason and note of why there is none."""
    by_path = {study.path: study for study in found.studies}
    refusals = {one.path: one for one in found.refusals}
    units = [Unit(study.path, study.files) for study in found.studies]
    units += [Unit(one.path, one.files) for one in found.refusals]
    names = lesions.rows["image"].tolist()
    studies: list[Study | tuple[str, str]] = []
    for name, match in zip(names, ImageIndex(folder, units).find(names, shared_folders(names)), strict=True):
        if len(match.units) != 1:
            many = f"{name} may be each of {len(match.units)} files: name it with its folder"
            none = f"there is no {name} in {folder.name}"
            studies.append(("several images", many) if match.units else ("image not found", none))
        elif (path := match.units[0].path) in by_path:
            studies.append(by_path[path])
        else:
            studies.append((refusals[path].reason, refusals[path].note))
    if names and all(isinstance(study, tuple) and study[0] == "image not found" for study in studies):
        raise UserError(
            f"No row of the table names an image of {folder}, the first is {names[0]!r}: give their folder."
        )
    return studies


def _name(path: str | Path, base: Path) -> str:
    shown = Path(os.path.relpath(path, base)).as_posix()
    return base.name if shown == "." else shown


def _label_cells(labels: Sequence[str], values: Any) -> Row:
    return {f"{label} label": value for label, value in zip(labels, values, strict=True)}
