"""What `prepare` used and set aside: as numbers, as tables for the terminal, and as pictures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from medssl.files import whole_file, write_json

from ..datalist_file import SPLITS
from ..partial_labels import label_counts
from .pictures import draw_labels, draw_sizes
from .rows import Rows

if TYPE_CHECKING:
    from medssl.transforms import View

_LABELS, _SIZES = "labels.png", "sizes.png"
STATES = ("positive", "negative", "unknown")


@dataclass(frozen=True, eq=False)
class Summary:
    """The outcome of `prepare`; ``rich.print(summary)`` shows it as tables.

    Attributes:
        datalist: the file written.
        report: the CSV with every file and row, its status and reason.
        labels: names of the K labels.
        classes: names of the C classes of masks.
        rows: of the images.
        sizes: pixels or voxels along each axis of every image in its file, [images, dims].
        spacings: sides of a voxel in the file in mm, [images, 3], of volumes; else [images, 0].
        set_aside: number of files or rows for each reason.
        view: what a network may best see of the images.
        added: rule of a table (such as ``blank``) → label → number of values that it made known.
        notes: what else the user should know, such as classes with too few images.
    """

    datalist: Path
    report: Path
    labels: list[str]
    classes: list[str]
    rows: Rows
    sizes: np.ndarray
    spacings: np.ndarray
    set_aside: dict[str, int]
    view: "View"
    added: Mapping[str, Mapping[str, int]]
    notes: list[str]

    @property
    def modality(self) -> str:
        """Of the images, as DICOM calls it; "" where nobody says."""
        return self.view.modality

    @property
    def images(self) -> dict[str, int]:
        """The number of images in each split."""
        return {split: int(self.rows.in_splits(split).sum()) for split in SPLITS}

    @property
    def patients(self) -> dict[str, int]:
        """The number of patients in each split."""
        return {split: self.rows["patient"][self.rows.in_splits(split)].nunique() for split in SPLITS}

    @cached_property
    def counts(self) -> dict[str, np.ndarray]:
        """For each labelled split an int array [K, 3]: positive, negative, unknown."""
        return {split: _counts(self.rows.values[self.rows.in_splits(split)]) for split in SPLITS[:3]}

    @cached_property
    def sources(self) -> dict[str, np.ndarray]:
        """For each source likewise, over all labelled splits."""
        labelled = self.rows.in_splits(*SPLITS[:3])
        of_rows = self.rows["source"]
        return {
            str(source): _counts(self.rows.values[labelled & (of_rows == source).to_numpy()])
            for source in of_rows[labelled].unique()
        }

    @cached_property
    def outlined(self) -> dict[str, np.ndarray]:
        """For each labelled split an int array [C, 2]: images in which a class was outlined, in which it is there."""
        return {split: _outlined(self.rows.outlined[self.rows.in_splits(split)]) for split in SPLITS[:3]}

    @cached_property
    def outlined_by_source(self) -> dict[str, np.ndarray]:
        """For each source that has masks likewise, over all labelled splits."""
        masked = self.rows.in_splits(*SPLITS[:3]) & (self.rows["mask"] != "").to_numpy()
        of_rows = self.rows["source"]
        return {
            str(source): _outlined(self.rows.outlined[masked & (of_rows == source).to_numpy()])
            for source in of_rows[masked].unique()
        }

    def __rich__(self) -> Group:
        counted = [(split, self.images[split], self.patients[split]) for split in SPLITS]
        parts: list[Table] = [_table("Images", ("split", "images", "patients"), counted)]
        if self.labels:
            parts.append(_label_table("Labels: positive / negative / unknown", self.labels, self.counts))
            if len(self.sources) > 1:
                parts.append(_label_table("The same by source", self.labels, self.sources))
        if self.classes:
            parts.append(
                _label_table("Classes: images in which outlined / there", self.classes, self.outlined, "class")
            )
            if len(self.outlined_by_source) > 1:
                parts.append(_label_table("The same by source", self.classes, self.outlined_by_source, "class"))
        axes = ("rows", "columns") if self.sizes.shape[1] == 2 else ("x", "y", "z")
        sides = [(axis, *_range(values, ".0f")) for axis, values in zip(axes, self.sizes.T, strict=True)]
        sides += [(f"{axis}, mm", *_range(values, ".2f")) for axis, values in zip(axes, self.spacings.T, strict=False)]
        parts.append(_table("Sizes and spacings", ("in the files", "smallest", "median", "largest"), sides))
        if self.set_aside:
            parts.append(_table("Set aside or refused", ("reason", "files or rows"), self.set_aside.items()))
        if self.added:
            added = [(rule, name, count) for rule, counts in self.added.items() for name, count in counts.items()]
            parts.append(_table("Unknown labels that a rule made known", ("rule", "label", "rows"), added))
        known = self.labels or self.classes
        missing = [split for split in SPLITS[:3] if known and not self.images[split]]
        lines = [f"There is no {' and no '.join(missing)} split: what needs it cannot run on this datalist."]
        lines = [
            *(lines if missing else ()),
            *self.notes,
            f"Modality: {self.modality or 'not stated'}",
            f"What a network will see: {_seen(self.view)}",
            f"Datalist: {self.datalist}",
            f"Report on every file: {self.report}",
            f"Pictures beside it: {f'{_LABELS}, ' if self.labels else ''}{_SIZES}",
        ]
        return Group(*parts, *map(Text, lines))

    def write(self) -> None:
        """Write the numbers as ``summary.json`` and the pictures beside the datalist."""
        write_json(
            self.datalist.with_name("summary.json"),
            {
                "images": self.images,
                "patients": self.patients,
                "labels": {split: _by_label(self.labels, counts) for split, counts in self.counts.items()},
                "sources": {source: _by_label(self.labels, counts) for source, counts in self.sources.items()},
                **self._classes(),
                "set_aside": self.set_aside,
                "modality": self.modality,
                "view": self.view.to_dict(),
                "added": self.added,
                "notes": self.notes,
            },
        )
        with whole_file(self.datalist.with_name(_SIZES)) as temporary:
            draw_sizes(self.sizes, self.spacings).savefig(temporary, dpi=120)
        if self.labels:
            groups = {**self.counts, **(self.sources if len(self.sources) > 1 else {})}
            with whole_file(self.datalist.with_name(_LABELS)) as temporary:
                draw_labels(self.labels, groups).savefig(temporary, dpi=120)

    def _classes(self) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
        groups = {"classes": self.outlined, "classes_by_source": self.outlined_by_source} if self.classes else {}
        return {
            name: {key: _by_label(self.classes, counts, ("outlined", "there")) for key, counts in group.items()}
            for name, group in groups.items()
        }


def _seen(view: "View") -> str:
    sides = " × ".join(map(str, view.image_size))
    if view.spacing is None:
        return f"{sides} pixels, {view.intensity} (--size makes others)"
    spacing = " × ".join("own" if side < 0 else f"{side:g}" for side in view.spacing)
    window = "window of {:g} to {:g} HU".format(*view.window) if view.window else view.intensity
    return f"{sides} voxels of {spacing} mm, {window} (--crop, --spacing and --window make others)"


def _counts(values: np.ndarray) -> np.ndarray:
    positive, negative = label_counts(values)
    return np.stack([positive, negative, len(values) - positive - negative], axis=1)


def _outlined(states: np.ndarray) -> np.ndarray:
    return np.stack([np.isfinite(states).sum(axis=0), (states == 1).sum(axis=0)], axis=1)


def _by_label(labels: Sequence[str], counts: np.ndarray, states: Sequence[str] = STATES) -> dict[str, dict[str, int]]:
    return {name: dict(zip(states, row, strict=True)) for name, row in zip(labels, counts.tolist(), strict=True)}


def _range(values: np.ndarray, form: str) -> list[str]:
    return [format(float(value), form) for value in (values.min(), np.median(values), values.max())]


def _label_table(title: str, labels: Sequence[str], counts: dict[str, np.ndarray], what: str = "label") -> Table:
    rows = [
        (name, *(" / ".join(map(str, each[column])) for each in counts.values())) for column, name in enumerate(labels)
    ]
    return _table(title, (what, *counts), rows)


def _table(title: str, head: Iterable[object], rows: Iterable[Iterable[object]]) -> Table:
    """Names of the user's may hold brackets, which rich would take for its markup."""
    table = Table(title=title)
    for name in head:
        table.add_column(Text(str(name)))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
