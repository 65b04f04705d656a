"""Handlers of an evaluator: the figures as JSON, the probabilities as CSV.

Attach them in every process of a distributed run: what each of them saw is gathered, and the first writes.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from medssl.errors import UserError
from medssl.files import write_json

from .figures import figures
from .predictions import Predictions, read_predictions, write_predictions
from .thresholds import youden_thresholds


class SupportsImproved(Protocol):
    """Whatever knows whether the last evaluation was the best so far, such as ``medssl.training.BestModel``."""

    improved: bool


Baselines = Callable[[Iterable[Mapping[str, Any]]], Mapping[str, np.ndarray]]
"""From the batches of a loader to named results ``[N, K]``, such as ``medssl.evaluation.TrivialBaselines``."""


class PredictionsFile:
    """Write the probabilities of every image as CSV, beside what the batch knows of it: ``patient`` and ``label``.

    MONAI's own CSV has no header and no class names. :func:`medssl.evaluation.read_predictions` reads the file.

    Args:
        path: of the CSV.
        labels: names of the K classes.
        base: folder that the image paths are given relative to.
        only_if: write only when its ``improved`` is true, so that the predictions are those of the model that was kept.
    """

    def __init__(
        self, path: str | Path, labels: Sequence[str], base: str | Path, only_if: SupportsImproved | None = None
    ) -> None:
        self.path = Path(path)
        self.labels = list(labels)
        self.base = Path(base).resolve()
        self.only_if = only_if
        self._seen = _Seen()

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator, after what ``only_if`` is."""
        self._seen.attach(engine)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file, if it is wanted."""
        if self.only_if is not None and not self.only_if.improved:
            return
        predictions = self._seen.predictions(self.labels, self.base)
        if idist.get_rank() == 0:
            write_predictions(self.path, predictions)


class EvaluationFile:
    """Write the figures of a split into ``metrics.json``.

    The file holds those of the newest split at its top (``split``, ``mAUROC``, ``per_class``, …; see
    :func:`medssl.evaluation.figures`), and of every split evaluated so far under ``splits``. Batches need ``file``,
    ``label`` and, where a patient has several images, ``patient``.

    Args:
        path: usually ``metrics.json``.
        split: name of the split.
        labels: names of the K classes.
        thresholds_from: predictions of the validation split, on which each class's threshold is chosen; without it the
            split itself serves.
        baselines: trivial results to write beside, such as ``medssl.evaluation.TrivialBaselines``. They are for
            evaluation in one process.
        loader: for the baselines, giving the images in the order in which the evaluator sees them; without it the
            evaluator's own.
        only_if: write only when its ``improved`` is true, so that the figures are those of the model that was kept;
            those of other splits, which are of the model before, go.
        exclusive: whether each image has exactly one of the classes.
        resamples: replicates of the bootstrap over patients; 0 where the intervals are not worth the time.
    """

    def __init__(
        self,
        path: str | Path,
        split: str,
        labels: Sequence[str],
        thresholds_from: str | Path | None = None,
        baselines: Baselines | None = None,
        loader: Iterable[Mapping[str, Any]] | None = None,
        only_if: SupportsImproved | None = None,
        exclusive: bool = False,
        resamples: int = 1000,
    ) -> None:
        self.path = Path(path)
        self.split = split
        self.labels = list(labels)
        self.thresholds_from = None if thresholds_from is None else Path(thresholds_from)
        self.baselines = baselines
        self.loader = loader
        self.only_if = only_if
        self.exclusive = exclusive
        self.resamples = resamples
        self._seen = _Seen()

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator, after what ``only_if`` is and after the :class:`PredictionsFile`."""
        self._seen.attach(engine)
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the figures, if they are wanted.

        Raises:
            UserError: when the classes of ``thresholds_from`` are others, or ``path`` holds something else.
        """
        if self.only_if is not None and not self.only_if.improved:
            return
        predictions = self._seen.predictions(self.labels)
        if idist.get_rank() > 0:
            return
        found = self._figures(predictions, self._thresholds(predictions))
        if self.baselines is not None:
            results = self.baselines(cast(Any, self.loader or engine.state.dataloader))
            found["baselines"] = {name: self._baseline(predictions, scores) for name, scores in results.items()}
        splits = {**(_read_splits(self.path) if self.only_if is None else {}), self.split: found}
        write_json(self.path, {"split": self.split, **found, "splits": splits})

    def _figures(self, predictions: Predictions, thresholds: Sequence[float | None]) -> dict[str, Any]:
        return figures(predictions, thresholds, self.resamples, exclusive=self.exclusive)

    def _thresholds(self, predictions: Predictions) -> list[float | None]:
        if self.thresholds_from is None:
            return youden_thresholds(predictions.scores, predictions.labels)
        if not self.thresholds_from.is_file():
            warnings.warn(
                f"There is no {self.thresholds_from} to choose thresholds on, so sensitivity and specificity stay "
                "undefined: evaluate the validation split first.",
                stacklevel=2,
            )
            return [None] * len(self.labels)
        validation = read_predictions(self.thresholds_from)
        if validation.names != self.labels:
            raise UserError(
                f"{self.thresholds_from} is of the classes {', '.join(validation.names)}, but those evaluated are "
                f"{', '.join(self.labels)}: evaluate the validation split again."
            )
        return youden_thresholds(validation.scores, validation.labels)

    def _baseline(self, predictions: Predictions, scores: np.ndarray) -> dict[str, Any]:
        # A class that could not be learned has a constant score, which is no result: as if nothing of it were known.
        labels = np.where(np.ptp(scores, axis=0) > 0, predictions.labels, np.nan)
        baseline = Predictions(predictions.images, predictions.patients, predictions.names, scores, labels)
        found = figures(baseline, [None] * len(self.labels), self.resamples)
        mean, ends = found["mAUROC"], found["mAUROC_interval"] or [None, None]
        return {"mAUROC": None if mean is None else [mean, *ends], "per_class": found["per_class"]}


class _Seen:
    """What an evaluator saw since it started, in all processes together."""

    def __init__(self) -> None:
        self._rows: list[tuple[list[str], list[str] | None, np.ndarray, np.ndarray | None]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)

    def clear(self, engine: Engine) -> None:
        self._rows.clear()

    def collect(self, engine: Engine) -> None:
        output, batch = cast(dict[str, Any], engine.state.output), cast(dict[str, Any], engine.state.batch)
        patients, labels = batch.get("patient"), output.get(CommonKeys.LABEL)
        self._rows.append(
            (
                list(batch["file"]),
                None if patients is None else list(patients),
                output[CommonKeys.PRED].double().cpu().numpy(),
                None if labels is None else labels.double().cpu().numpy(),
            )
        )

    def predictions(self, names: list[str], base: Path | None = None) -> Predictions:
        """Of all images, named relative to a folder where one is given."""
        rows = self._rows
        if idist.get_world_size() > 1:
            rows = [row for part in cast(list, idist.all_gather(rows)) for row in part]
        files = [file for row in rows for file in row[0]]
        images = files if base is None else [Path(os.path.relpath(file, base)).as_posix() for file in files]
        patients = [patient for row in rows for patient in row[1] or row[0]]
        scores = np.concatenate([np.zeros((0, len(names))), *(row[2] for row in rows)])
        labelled = bool(rows) and all(row[3] is not None for row in rows)
        labels = np.concatenate([row[3] for row in rows]) if labelled else np.full_like(scores, np.nan)
        return Predictions(images, patients, names, scores, labels)


def _read_splits(path: Path) -> dict[str, Any]:
    try:
        return {**json.loads(path.read_text(encoding="utf-8")).get("splits", {})} if path.exists() else {}
    except (ValueError, TypeError, AttributeError) as error:  # no JSON, or none of ours
        raise UserError(f"{path} is damaged: remove it, and evaluate again.") from error
