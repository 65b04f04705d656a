"""What an evaluation of masks leaves of a split: a row for each image and class and the figures, and a closing line."""

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
from ignite.engine import Engine, Events

from medssl import runs
from medssl.files import write_json, write_text, writing

from ..handlers import read_splits
from ..triples import triple_line
from .baselines import MASK_BASELINES, MaskBaselines
from .figures import segmentation_figures
from .rows import MaskRow


class SegmentationFiles:
    """Write the rows of a split as CSV and its figures into ``metrics.json``, as `EvaluationFiles` of a classifier.

    The evaluator needs a `MaskMetric`. Attach this in every process of a distributed run: the first writes.

    Args:
        output_dir: folder of the run.
        split: name of the split.
        classes: names of the classes.
        resamples: replicates of the bootstrap over patients; 0 where the intervals are not worth the time.
        baselines: gives trivial results once the evaluator has ended: name → rows; see `MaskBaselines`.
        keep_others: whether the figures of other splits stay: not where they are of another model.
    """

    def __init__(
        self,
        output_dir: str | Path,
        split: str,
        classes: Sequence[str],
        resamples: int = 1000,
        baselines: Callable[[], Mapping[str, Sequence[MaskRow]]] | None = None,
        keep_others: bool = True,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.split = split
        self.classes = list(classes)
        self.resamples = resamples
        self.baselines = baselines
        self.keep_others = keep_others

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator, and what it writes beside."""
        if isinstance(self.baselines, MaskBaselines):
            self.baselines.attach(engine)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write both files.

        Raises:
            UserError: when ``metrics.json`` holds something else, or a file cannot be written.
        """
        rows: list[MaskRow] = cast(Any, engine.state).mask_rows
        if idist.get_rank() > 0:
            return
        with writing(self.output_dir / runs.masks_file(self.split)) as path:
            write_mask_rows(path, rows)
        found = segmentation_figures(rows, self.classes, self.resamples)
        if self.baselines is not None:
            found["baselines"] = {name: self._baseline(of_it) for name, of_it in self.baselines().items()}
        with writing(self.output_dir / runs.METRICS) as path:
            others = read_splits(path) if self.keep_others else {}
            write_json(path, {"split": self.split, **found, "splits": {**others, self.split: found}})

    def _baseline(self, rows: Sequence[MaskRow]) -> dict[str, Any]:
        found = segmentation_figures(rows, self.classes, self.resamples)
        mean, ends = found["mDice"], found["mDice_interval"] or [None, None]
        return {"mDice": None if mean is None else [mean, *ends], "per_class": found["per_class"]}


def write_mask_rows(path: Path, rows: Sequence[MaskRow]) -> None:
    """Rows as CSV, one an image and class; what is undefined is empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(MaskRow)], lineterminator="\n")
    table.writeheader()
    for row in rows:
        values = asdict(row).items()
        table.writerow(
            {name: "" if isinstance(value, float) and math.isnan(value) else value for name, value in values}
        )
    write_text(path, text.getvalue())


def read_mask_rows(path: str | Path) -> list[MaskRow]:
    """What `write_mask_rows` wrote."""
    numbers = {field.name for field in fields(MaskRow) if field.type is float}
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [
            MaskRow(**{name: float(cell or "nan") if name in numbers else cell for name, cell in row.items()})  # type: ignore[arg-type]
            for row in csv.DictReader(file)
        ]


def segmentation_line(run: str | Path, split: str) -> str:
    """The mean Dice of a split with its interval, beside the trivial results, and the files of the run.

    Args:
        run: folder of a segmentation that was evaluated on ``split``.
        split: its name.
    """
    run = Path(run)
    found = json.loads((run / runs.METRICS).read_text(encoding="utf-8"))["splits"][split]
    mean = triple_line([found["mDice"], *(found["mDice_interval"] or (None, None))])
    beside = [f"{MASK_BASELINES[name]} {triple_line(one['mDice'])}" for name, one in found.get("baselines", {}).items()]
    names = (runs.METRICS, runs.masks_file(split), runs.overlays_file(split))
    files = ", ".join(name for name in names if (run / name).is_file())
    comparison = f" (beside it: {', '.join(beside)})" if beside else ""
    classes = ", ".join(f"{name} {triple_line([value, None, None])}" for name, value in found["per_class"].items())
    return f"Mean Dice on {split}: {mean}{comparison}\n{classes}\n{run}: {files}. As a page: medssl report {run}"
