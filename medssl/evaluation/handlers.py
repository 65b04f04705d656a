"""What an evaluation leaves of a split: its predictions and its figures, as files, and a line on the screen."""

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events

from medssl import runs
from medssl.errors import UserError
from medssl.files import write_json, writing

from .baselines import BASELINES
from .calibration import youden_thresholds
from .figures import figures
from .predictions import Predictions, read_predictions, write_predictions
from .temperature import Calibration
from .triples import triple_line

VALIDATION = "validation"
"""The split that thresholds are chosen on."""
Baselines = Callable[[Iterable[Mapping[str, Any]]], Mapping[str, np.ndarray]]
"""From the batches of a loader to named results `[N, K]`, such as `medssl.evaluation.TrivialBaselines`."""


class EvaluationFiles:
    """Write the predictions of a split as CSV, and its figures into ``metrics.json``.

    MONAI's own CSV has no header and no class names; `medssl.evaluation.read_predictions` reads ours. ``metrics.json``
    holds the figures of the newest split at its top (``split``, ``mAUROC``, ``per_class``, …; see
    `medssl.evaluation.figures`), and those of every split evaluated so far under ``splits``. The thresholds of the
    classes are chosen on the validation split, whose predictions must be there before another split is evaluated.

    Where the evaluator's output has `LOGITS`, the validation split calibrates the probabilities, too: what it says is
    in ``calibration.json`` (see `medssl.evaluation.Calibration`), and all files and figures are of calibrated
    probabilities, beside the calibration error without.

    The evaluator needs a `PredictionsMetric`. Attach this in every process of a distributed run: the first writes.

    Args:
        output_dir: folder of the run.
        split: name of the split.
        exclusive: whether each image has exactly one of the classes.
        resamples: replicates of the bootstrap over patients; 0 where the intervals are not worth the time.
        baselines: trivial results to write beside, such as `medssl.evaluation.TrivialBaselines`. They are for
            evaluation in one process.
        loader: for the baselines, giving the images in the order in which the evaluator sees them; without it the
            evaluator's own.
        keep_others: whether the figures of other splits stay: not where they are of another model.
    """

    def __init__(
        self,
        output_dir: str | Path,
        split: str,
        exclusive: bool = False,
        resamples: int = 1000,
        baselines: Baselines | None = None,
        loader: Iterable[Mapping[str, Any]] | None = None,
        keep_others: bool = True,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.split = split
        self.exclusive = exclusive
        self.resamples = resamples
        self.baselines = baselines
        self.loader = loader
        self.keep_others = keep_others

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write both files.

        Raises:
            UserError: when the validation's predictions are of other classes, ``metrics.json`` holds something else,
                or a file cannot be written.
        """
        raw: Predictions = cast(Any, engine.state).predictions
        if idist.get_rank() > 0:
            return
        calibration = self._calibration(raw)
        predictions = calibration.applied(raw) if calibration else raw
        with writing(self.output_dir / runs.predictions_file(self.split)) as path:
            write_predictions(path, predictions)
        thresholds = self._thresholds(predictions)
        if calibration and self.split == VALIDATION:
            calibration.with_thresholds(thresholds).write(self.output_dir)
        uncalibrated = raw.scores if predictions is not raw else None
        found = figures(predictions, thresholds, self.resamples, exclusive=self.exclusive, uncalibrated=uncalibrated)
        if calibration:
            found["uncalibrated"] = calibration.unscaled
        if self.baselines is not None:
            results = self.baselines(cast(Any, self.loader or engine.state.dataloader))
            found["baselines"] = {name: self._baseline(predictions, scores) for name, scores in results.items()}
        with writing(self.output_dir / runs.METRICS) as path:
            others = read_splits(path) if self.keep_others else {}
            write_json(path, {"split": self.split, **found, "splits": {**others, self.split: found}})

    def _calibration(self, predictions: Predictions) -> Calibration | None:
        if predictions.logits is None:
            if self.split == VALIDATION:  # what stands there is of another model
                (self.output_dir / runs.CALIBRATION).unlink(missing_ok=True)
            return None
        if self.split == VALIDATION:
            return Calibration.fit(predictions, self.exclusive)
        return Calibration.read(self.output_dir)

    def _thresholds(self, predictions: Predictions) -> list[float | None]:
        validation = predictions
        if self.split != VALIDATION:
            path = self.output_dir / runs.predictions_file(VALIDATION)
            if not path.is_file():
                warnings.warn(
                    f"There is no {path} to choose thresholds on, so sensitivity and specificity stay undefined: "
                    "evaluate the validation split first.",
                    stacklevel=2,
                )
                return [None] * len(predictions.names)
            validation = read_predictions(path)
            if validation.names != predictions.names:
                raise UserError(
                    f"{path} is of the classes {', '.join(validation.names)}, but those evaluated are "
                    f"{', '.join(predictions.names)}: evaluate the validation split again."
                )
        return youden_thresholds(validation.scores, validation.labels)

    def _baseline(self, predictions: Predictions, scores: np.ndarray) -> dict[str, Any]:
        # A class that could not be learned has a constant score, which is no result: as if nothing of it were known.
        labels = np.where(np.ptp(scores, axis=0) > 0, predictions.labels, np.nan)
        baseline = replace(predictions, scores=scores, labels=labels)
        found = figures(baseline, [None] * len(predictions.names), self.resamples)
        mean, ends = found["mAUROC"], found["mAUROC_interval"] or [None, None]
        return {"mAUROC": None if mean is None else [mean, *ends], "per_class": found["per_class"]}


def read_splits(path: Path) -> dict[str, Any]:
    """What a file of figures holds of each split; nothing where there is none.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return {**json.loads(path.read_text(encoding="utf-8")).get("splits", {})} if path.exists() else {}
    except (ValueError, TypeError, AttributeError) as error:  # no JSON, or none of ours
        raise UserError(f"{path} is damaged: remove it, and evaluate again.") from error


def closing_line(run: str | Path, split: str) -> str:
    """The mAUROC of a split with its interval, beside both baselines, and the files of the run.

    Args:
        run: folder of a fine-tuning run that was evaluated on ``split``.
        split: its name.
    """
    run = Path(run)
    figures = json.loads((run / runs.METRICS).read_text(encoding="utf-8"))["splits"][split]
    mean = triple_line([figures["mAUROC"], *(figures["mAUROC_interval"] or (None, None))])
    beside = [
        f"{BASELINES[name]} {triple_line(baseline['mAUROC'])}"
        for name, baseline in figures.get("baselines", {}).items()
    ]
    names = (runs.METRICS, runs.predictions_file(split), runs.grad_cam_file(split))
    files = ", ".join(name for name in names if (run / name).is_file())
    comparison = f" (beside it: {', '.join(beside)})" if beside else ""
    return f"mAUROC on {split}: {mean}{comparison}\n{run}: {files}. As a page: medssl report {run}"
