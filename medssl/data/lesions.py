"""A table of lesions: a row for each, with its image and where in it the lesion lies, as a point or a box.

Columns name the axes, and their endings say in which coordinates:

| columns | what they hold |
|---|---|
| ``x``, ``y`` (``z``) | a point: column and row of a radiograph, voxels along the axes of a volume's file, from 0 |
| ``x_min``, ``x_max``, ``y_min``, … | a box, likewise |
| ``x_ras``, ``x_min_ras``, … | mm to the right, front and head, as NIfTI has them |
| ``x_lps``, ``x_min_lps``, … | mm to the left, back and head, as DICOM and ITK have them |
| ``coordX``, ``coordY``, ``coordZ`` | as ``x_lps``, …, which is what LUNA16's lists mean by them |

Of DICOM slices the axes are column, row and slice, the first of which is the one that lies lowest along their normal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medssl.errors import UserError
from medssl.transforms.crops_about import SPACES

from .tables.cells import read_cells, texts_of
from .tables.forms.generic import ALIASES
from .tables.labels import holds_labels, read_label_columns
from .tables.words import is_unknown, squash

AXES = ("x", "y", "z")
TOLD = ("image", "patient", "study", "source")
"""What a column may tell beside places and labels."""
MORE_NAMES = {"image": ("seriesuid", "seriesinstanceuid")}
"""Others than those of tables of images, whose names of columns count here, too."""


@dataclass(frozen=True)
class Lesions:
    """What a table says of N lesions.

    Attributes:
        rows: ``row`` (in the file, the header being 1), ``image``, and `TOLD` as far as columns tell it, all text;
            ``reason`` and ``note``, empty where the row is in order.
        places: float64 [N, 2, dims], lower and upper corners along the axes of the image's tensor: of a radiograph row
            and column. NaN where the row has none.
        space: of `medssl.transforms.crops_about.SPACES`.
        labels: names of the K labels.
        values: float32 [N, K] of 1, 0, NaN (unknown).
    """

    rows: pd.DataFrame
    places: np.ndarray
    space: str
    labels: list[str]
    values: np.ndarray


def read_lesions(csv: str | Path, spatial_dims: int) -> Lesions:
    """Read a table of lesions.

    Args:
        csv: the file, separated by comma, semicolon or tab.
        spatial_dims: 2 for radiographs, 3 for volumes.

    Raises:
        MissingFileError: there is no such file.
        UserError: it has no column of images, or not those of one kind of place. A row without a place raises nothing:
            it has its ``reason``.
    """
    csv = Path(csv)
    cells, _ = read_cells(csv)
    columns = {squash(str(name)): str(name) for name in cells.columns}
    told = {role: name for role in TOLD if (name := _told(role, columns))}
    if "image" not in told:
        raise UserError(f"{csv} has no column image, but {', '.join(cells.columns)}: name the image of each lesion.")
    space, corners = _corners(columns, AXES[:spatial_dims], csv)
    texts = {role: _text(cells[name]) for role, name in told.items()}
    rows = pd.DataFrame({"row": cells.index, **texts, "reason": "", "note": ""})
    numbers = {name: _numbers(cells[name]) for pair in corners for name in pair}
    places = np.stack([[numbers[name] for name in pair] for pair in corners]).transpose(2, 1, 0)
    if spatial_dims == 2:
        places = places[..., ::-1]  # rows come first in a tensor
    _refuse(rows, ~np.isfinite(places).all(axis=(1, 2)), "no place", f"{_words(numbers)} must be numbers")
    _refuse(rows, (places[:, 1] < places[:, 0]).any(axis=1), "no place", "the box ends before it begins")
    _refuse(rows, rows["image"] == "", "no image", "the row names no image")
    free = [name for name in cells.columns if name not in {*told.values(), *numbers}]
    own = {name: name for name in free if holds_labels(texts_of(cells[name]))}
    return Lesions(rows, places, space, [*own], read_label_columns(cells, own, "unknown", "unknown", csv).values)


def _told(role: str, columns: dict[str, str]) -> str | None:
    usual = [role, *(name for names in ALIASES[role] for name in names), *MORE_NAMES.get(role, ())]
    return next((columns[name] for name in usual if name in columns), None)


def _corners(columns: dict[str, str], axes: tuple[str, ...], csv: Path) -> tuple[str, list[tuple[str, str]]]:
    """In which space, and for each axis the columns of the lower and the upper corner; of a point the same one."""
    found = {names: space for space, names in _ways(axes) if all(name in columns for pair in names for name in pair)}
    if len(found) == 1:
        names, space = next(iter(found.items()))
        if space != "voxel" and len(axes) == 2:
            raise UserError(f"{csv} has places in mm, and a radiograph has none: give its pixels, {_example(axes)}.")
        return space, [(columns[lower], columns[upper]) for lower, upper in names]
    if found:
        several = [_words([columns[name] for pair in names for name in pair]) for names in found]
        raise UserError(f"{csv} has places in {' and in '.join(several)}: leave one of both out.")
    mm = next((name for key, name in columns.items() if key in ("xmm", "xminmm")), "")
    which = f"{mm} does not say whose mm: call it x_ras as NIfTI has it, or x_lps as DICOM and ITK do. " if mm else ""
    raise UserError(f"{csv} says of no lesion where it lies: {which}It needs {_example(axes)}; see docs/evaluation.md.")


def _ways(axes: tuple[str, ...]) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Every way to name the corners of a place: its space, and two names, without marks, for each axis."""
    for space, ends in product(SPACES, (("", ""), ("min", "max"))):
        ending = "" if space == "voxel" else space
        yield space, tuple((f"{axis}{ends[0]}{ending}", f"{axis}{ends[1]}{ending}") for axis in axes)
    yield "lps", tuple((f"coord{axis}", f"coord{axis}") for axis in axes)


def _example(axes: tuple[str, ...]) -> str:
    box = ", ".join(f"{axis}_min, {axis}_max" for axis in axes)
    return f"columns {', '.join(axes)} or {box}" + (", in mm with _ras or _lps behind" if len(axes) == 3 else "")


def _text(column: pd.Series) -> np.ndarray:
    return np.array(["" if is_unknown(str(cell)) else str(cell).strip() for cell in column.fillna("")], dtype=object)


def _numbers(column: pd.Series) -> np.ndarray:
    texts = column.str.strip().str.replace(",", ".", regex=False)  # decimal commas, where the separator is a semicolon
    return pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)


def _refuse(rows: pd.DataFrame, where: Any, reason: str, note: str) -> None:
    rows.loc[where, ["reason", "note"]] = [reason, note]


def _words(names: "dict[str, np.ndarray] | list[str]") -> str:
    return ", ".join(dict.fromkeys(names))
