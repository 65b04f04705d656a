"""What `prepare` used and set aside: as numbers, as tables for the terminal, and as plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from medssl.files import whole_file, write_json

from ..datalist import SPLITS
from ..partial_labels import label_counts
from .gather import Gathered
from .plots import draw_labels, draw_sizes

_LABELS, _SIZES = "labels.png", "sizes.png"
STATES = ("positive", "negative", "unknown")


@dataclass(frozen=True)
class Summary:
    """The outcome of `prepare`; ``rich.print(summary)`` shows it as tables.

    Attributes:
        datalist: the file written.
        report: the CSV with every file and row, its status and reason.
        labels: names of the K labels.
        images: number of images in each split.
        patients: number of patients in each split.
        counts: for each split an int array [K, 3]: positive, negative, unknown.
        sources: for each source likewise, over all labelled splits.
        sizes: pixels or voxels along each axis of every image in its file, [images, dims].
        spacings: sides of a voxel in the file in mm, [images, 3], of volumes; else [images, 0].
        set_aside: number of files or rows for each reason.
        modality: of the images, as DICOM calls it; "" where nobody says.
        added: rule of a table (such as ``blank``) → label → number of values that it made known.
        notes: what else the user should know, such as classes with too few images.
    """

    datalist: Path
    report: Path
    labels: list[str]
    images: dict[str, int]
    patients: dict[str, int]
    counts: dict[str, np.ndarray]
    sources: dict[str, np.ndarray]
    sizes: np.ndarray
    spacings: np.ndarray
    set_aside: dict[str, int]
    modality: str
    added: Mapping[str, Mapping[str, int]]
    notes: list[str]

    def __rich__(self) -> Group:
        parts: list[Table] = [self._splits()]
        if self.labels:
            parts.append(_label_table("Labels: positive / negative / unknown", self.labels, self.counts))
            if len(self.sources) > 1:
                parts.append(_label_table("The same by source", self.labels, self.sources))
        parts.append(self._sides())
        if self.set_aside:
            parts.append(_table("Set aside or refused", ("reason", "files or rows"), self.set_aside.items()))
        if self.added:
            added = [(rule, name, count) for rule, counts in self.added.items() for name, count in counts.items()]
            parts.append(_table("Unknown labels that a rule made known", ("rule", "label", "rows"), added))
        missing = [split for split in SPLITS[:3] if self.labels and not self.images[split]]
        lines = [f"There is no {' and no '.join(missing)} split: what needs it cannot run on this datalist."]
        lines = [
            *(lines if missing else ()),
            *self.notes,
            f"Modality: {self.modality or 'not stated'}",
            f"Datalist: {self.datalist}",
            f"Report on every file: {self.report}",
            f"Plots beside it: {f'{_LABELS}, ' if self.labels else ''}{_SIZES}",
        ]
        return Group(*parts, *map(Text, lines))

    def _splits(self) -> Table:
        return _table(
            "Images",
            ("split", "images", "patients"),
            [(split, self.images[split], self.patients[split]) for split in SPLITS],
        )

    def _sides(self) -> Table:
        axes = ("rows", "columns") if self.sizes.shape[1] == 2 else ("x", "y", "z")
        sides = [(axis, *_range(values, ".0f")) for axis, values in zip(axes, self.sizes.T, strict=True)]
        sides += [(f"{axis}, mm", *_range(values, ".2f")) for axis, values in zip(axes, self.spacings.T, strict=False)]
        return _table("Sizes and spacings", ("in the files", "smallest", "median", "largest"), sides)

    def write(self) -> None:
        """Write the numbers as ``summary.json`` and the plots beside the datalist."""
        write_json(
            self.datalist.with_name("summary.json"),
            {
                "images": self.images,
                "patients": self.patients,
                "labels": {split: _by_label(self.labels, counts) for split, counts in self.counts.items()},
                "sources": {source: _by_label(self.labels, counts) for source, counts in self.sources.items()},
                "set_aside": self.set_aside,
                "modality": self.modality,
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


def summarise(
    gathered: Gathered, report: pd.DataFrame, datalist: Path, path: Path, modality: str, notes: list[str]
) -> Summary:
    """Count what `prepare` has done.

    Args:
        gathered: rows with ``patient``, ``split`` and ``reason``.
        report: the table of ``report.csv``.
        datalist: the file written.
        path: of the report.
        modality: of the images.
        notes: sentences the user should read.
    """
    rows = gathered.rows
    used = rows["reason"] == ""
    here = {split: (used & (rows["split"] == split)).to_numpy() for split in SPLITS}
    labelled = used & (rows["split"] != "unlabeled")
    outcomes = list(rows.loc[used, "outcome"])
    return Summary(
        datalist=datalist,
        report=path,
        labels=gathered.labels,
        images={split: int(here[split].sum()) for split in SPLITS},
        patients={split: rows.loc[here[split], "patient"].nunique() for split in SPLITS},
        counts={split: _counts(gathered.values[here[split]]) for split in SPLITS[:3]},
        sources={
            str(source): _counts(gathered.values[(labelled & (rows["source"] == source)).to_numpy()])
            for source in rows.loc[labelled, "source"].unique()
        },
        sizes=np.array([outcome.shape for outcome in outcomes]),
        spacings=np.array([outcome.spacing for outcome in outcomes]),
        set_aside={str(k): int(n) for k, n in report.loc[report["reason"] != "", "reason"].value_counts().items()},
        modality=modality,
        added=gathered.added,
        notes=notes,
    )


def _counts(values: np.ndarray) -> np.ndarray:
    positive, negative = label_counts(values)
    return np.stack([positive, negative, len(values) - positive - negative], axis=1)


def _by_label(labels: Sequence[str], counts: np.ndarray) -> dict[str, dict[str, int]]:
    return {name: dict(zip(STATES, row, strict=True)) for name, row in zip(labels, counts.tolist(), strict=True)}


def _range(values: np.ndarray, form: str) -> list[str]:
    return [format(float(value), form) for value in (values.min(), np.median(values), values.max())]


def _label_table(title: str, labels: Sequence[str], counts: dict[str, np.ndarray]) -> Table:
    rows = [
        (name, *(" / ".join(map(str, each[column])) for each in counts.values())) for column, name in enumerate(labels)
    ]
    return _table(title, ("label", *counts), rows)


def _table(title: str, head: Iterable[object], rows: Iterable[Iterable[object]]) -> Table:
    """Names of the user's may hold brackets, which rich would take for its markup."""
    table = Table(title=title)
    for name in head:
        table.add_column(Text(str(name)))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table
