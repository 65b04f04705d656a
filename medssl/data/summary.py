"""What `prepare` used and set aside, as numbers and as tables for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Group
from rich.table import Table

from .datalist import SPLITS
from .partial_labels import label_counts


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
        set_aside: number of files or rows for each reason.
        notes: what else the user should know, such as classes with too few images.
    """

    datalist: Path
    report: Path
    labels: list[str]
    images: dict[str, int]
    patients: dict[str, int]
    counts: dict[str, np.ndarray]
    set_aside: dict[str, int]
    notes: list[str]

    def __rich__(self) -> Group:
        parts: list[Table | str] = [self._splits()]
        if self.labels:
            parts.append(self._labels())
        if self.set_aside:
            parts.append(self._set_aside())
        missing = [split for split in SPLITS[:3] if self.labels and not self.images[split]]
        if missing:
            parts.append(f"There is no {' and no '.join(missing)} split: what needs it cannot run on this datalist.")
        parts += self.notes
        parts.append(f"Datalist: {self.datalist}\nReport on every file: {self.report}")
        return Group(*parts)

    def _splits(self) -> Table:
        table = Table("split", "images", "patients", title="Images")
        for split in SPLITS:
            table.add_row(split, str(self.images[split]), str(self.patients[split]))
        return table

    def _labels(self) -> Table:
        table = Table("label", *SPLITS[:3], title="Labels: positive / negative / unknown")
        for column, name in enumerate(self.labels):
            table.add_row(name, *(" / ".join(map(str, self.counts[split][column])) for split in SPLITS[:3]))
        return table

    def _set_aside(self) -> Table:
        table = Table("reason", "files or rows", title="Set aside")
        for reason, count in self.set_aside.items():
            table.add_row(reason, str(count))
        return table


def summarise(
    rows: pd.DataFrame, values: np.ndarray, labels: list[str], datalist: Path, report: Path, notes: list[str]
) -> Summary:
    """Count the table of `prepare`: ``rows`` with patient, split and reason, ``values`` [N, K]."""
    used = rows["reason"] == ""
    here = {split: (used & (rows["split"] == split)).to_numpy() for split in SPLITS}
    counts = {}
    for split in SPLITS[:3]:
        positive, negative = label_counts(values[here[split]])
        counts[split] = np.stack([positive, negative, here[split].sum() - positive - negative], axis=1)
    return Summary(
        datalist=datalist,
        report=report,
        labels=labels,
        images={split: int(here[split].sum()) for split in SPLITS},
        patients={split: rows.loc[here[split], "patient"].nunique() for split in SPLITS},
        counts=counts,
        set_aside={str(reason): int(count) for reason, count in rows.loc[~used, "reason"].value_counts().items()},
        notes=notes,
    )
