"""The predictions of an evaluation, gathered once, and their mAUROC as its key metric."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.utils import CommonKeys
from torch import Tensor

from .partial_metrics import mean_partial_auroc
from .predictions import Predictions

LOGITS = "logits"
"""Key of an evaluator's output."""


class _Rows(NamedTuple):
    """What is kept of a mini-batch."""

    files: list[str]
    patients: list[str]
    sources: list[str]
    scores: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


class PredictionsMetric(Metric):
    """The mAUROC of an evaluation, as its key metric; the predictions behind it stand in `engine.state.predictions`.

    They are collected and gathered once; whatever is attached to the evaluator's `COMPLETED` finds them there. The
    mAUROC is always finite, see `medssl.evaluation.mean_partial_auroc`. Batches need `file` and, where a patient has
    several images, `patient`; the evaluator's output needs `pred` and, where something is known, `label`.

    Args:
        labels: names of the K classes.
        base: folder that the images are named relative to; None leaves their names as the batches have them.
    """

    def __init__(self, labels: Sequence[str], base: str | Path | None = None) -> None:
        self.labels = list(labels)
        self.base = None if base is None else Path(base).resolve()
        super().__init__()

    def reset(self) -> None:
        """Forget what was seen before."""
        self._rows: list[_Rows] = []

    def iteration_completed(self, engine: Engine) -> None:
        """Collect what the step that ended saw."""
        self.update((engine.state.batch, engine.state.output))

    def update(self, output: tuple[Any, Any]) -> None:
        """Collect a mini-batch and the evaluator's output for it."""
        batch, said = output
        scores = _numbers(said[CommonKeys.PRED])
        labels = said.get(CommonKeys.LABEL)
        known = np.full_like(scores, np.nan) if labels is None else _numbers(labels)
        logits = _numbers(said[LOGITS]) if LOGITS in said else np.full_like(scores, np.nan)
        files = list(batch["file"])
        patients, sources = list(batch.get("patient", files)), list(batch.get("source", [""] * len(files)))
        self._rows.append(_Rows(files, patients, sources, scores, known, logits))

    def compute(self) -> float:
        """The mAUROC of all that was seen, in all processes together."""
        rows = self._rows
        if idist.get_world_size() > 1:
            rows = [row for part in cast(list, idist.all_gather(rows)) for row in part]
        none = np.zeros((0, len(self.labels)))
        scores, labels, logits = (
            np.concatenate([none, *(getattr(row, part) for row in rows)]) for part in ("scores", "labels", "logits")
        )
        sources = [source for row in rows for source in row.sources]
        self.predictions = Predictions(
            [self._name(file) for row in rows for file in row.files],
            [patient for row in rows for patient in row.patients],
            self.labels,
            scores,
            labels,
            None if np.isnan(logits).all() else logits,
            sources if any(sources) else None,
        )
        return mean_partial_auroc(scores, labels)

    def completed(self, engine: Engine, name: str) -> None:
        """Leave the mAUROC in the engine's metrics, and the predictions beside them."""
        super().completed(engine, name)
        cast(Any, engine.state).predictions = self.predictions

    def _name(self, file: str) -> str:
        return file if self.base is None else Path(os.path.relpath(file, self.base)).as_posix()


def _numbers(tensor: Tensor) -> np.ndarray:
    numbers: np.ndarray = tensor.double().cpu().numpy()
    return numbers
