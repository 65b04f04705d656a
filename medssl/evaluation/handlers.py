"""Handlers of an evaluator: the figures as JSON, the probabilities as CSV."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from medssl.files import whole_file, write_json

from .partial_metrics import PartialAUROC


class SupportsImproved(Protocol):
    """Whatever knows whether the last evaluation was the best so far, such as ``medssl.training.BestModel``."""

    improved: bool


class EvaluationFile:
    """Write the figures of a split into ``metrics.json``.

    The file holds those of the newest split at its top (``split``, ``mAUROC``, ``per_class``, …), and of every split
    evaluated so far under ``splits``.

    Args:
        path: usually ``metrics.json``.
        metric: that the evaluator computes.
        split: name of the split.
        only_if: write only when its ``improved`` is true, so that the figures are those of the model that was kept.
    """

    def __init__(
        self, path: str | Path, metric: PartialAUROC, split: str, only_if: SupportsImproved | None = None
    ) -> None:
        self.path = Path(path)
        self.metric = metric
        self.split = split
        self.only_if = only_if

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator, after its metrics."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the figures, if they are wanted."""
        if self.only_if is not None and not self.only_if.improved:
            return
        figures = self.metric.report()
        splits = _read_json(self.path).get("splits", {})
        splits[self.split] = figures
        write_json(self.path, {"split": self.split, **figures, "splits": splits})


class PredictionsFile:
    """Write the probabilities of every study as CSV: ``image``, then one column a class.

    MONAI's own CSV has no header and no class names.

    Args:
        path: of the CSV.
        labels: names of the K classes.
        base: folder that the image paths are given relative to.
    """

    def __init__(self, path: str | Path, labels: Sequence[str], base: str | Path) -> None:
        self.path = Path(path)
        self.labels = list(labels)
        self.base = Path(base).resolve()
        self._rows: list[list[Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.STARTED, self.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def clear(self, engine: Engine) -> None:
        """Forget what was collected before."""
        self._rows.clear()

    def collect(self, engine: Engine) -> None:
        """Keep the probabilities of a batch."""
        output, batch = cast(dict[str, Any], engine.state.output), cast(dict[str, Any], engine.state.batch)
        probabilities = output[CommonKeys.PRED].float().cpu().tolist()
        files = batch["file"]
        self._rows += [[os.path.relpath(file, self.base), *row] for file, row in zip(files, probabilities, strict=True)]

    def write(self, engine: Engine) -> None:
        """Write the file."""
        with whole_file(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["image", *self.labels])
            writer.writerows([file, *(f"{value:.6f}" for value in values)] for file, *values in self._rows)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
