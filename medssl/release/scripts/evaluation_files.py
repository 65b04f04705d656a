"""What the network says of each image of a datalist, and how right it is, as files.

MONAI's `ClassificationSaver` writes neither header nor names of the classes, and its AUROC of a class is undefined as
soon as one label is unknown.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
from ignite.engine import Engine, Events

from medssl.evaluation.partial_metrics import mean_of_defined, partial_auroc
from medssl.evaluation.predictions import Predictions, write_predictions
from medssl.files import write_json


class EvaluationFiles:
    """Write a CSV with a row an image, and a JSON file with the AUROC of each class and their mean.

    A class without a known positive or without a known negative image is null, and the mean leaves it out. The
    evaluator needs a `PredictionsMetric`.

    Args:
        predictions: path of the CSV.
        figures: path of the JSON file.
    """

    def __init__(self, predictions: str | Path, figures: str | Path) -> None:
        self.predictions, self.figures = Path(predictions), Path(figures)

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write both files."""
        seen: Predictions = cast(Any, engine.state).predictions
        write_predictions(self.predictions, seen)
        aurocs = partial_auroc(seen.scores, seen.labels)
        mean, *of_classes = (None if np.isnan(value) else float(value) for value in (mean_of_defined(aurocs), *aurocs))
        found = {"images": len(seen.images), "mAUROC": mean}
        write_json(self.figures, {**found, "per_class": dict(zip(seen.names, of_classes, strict=True))})
