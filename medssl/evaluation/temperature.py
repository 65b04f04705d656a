"""Temperature scaling: what the validation split says of how sure a network may be, and thresholds on that scale.

A network that was trained on few labels is too sure of itself, and one whose rare outcomes were weighted up calls them
too often. Both are put right by two numbers a class, which change no order of the images and so no AUROC (Platt 1999;
Guo et al. 2017, Sec. 4.2). They stand beside the weights, which stay as they were trained; whoever gives the model away
folds them into its last layer, so that nothing else need know of them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax
from torch import nn

from medssl import runs
from medssl.errors import UserError
from medssl.files import write_json, writing
from medssl.networks import output_layer

from .predictions import Predictions

KNOWN, OF_OUTCOME = 20, 5
"""Known labels of a class, and of each of its outcomes, from which on it is scaled; of exclusive classes known images.

Few suffice where a network trained on as many positive as negative images meets ten negative for one positive, for that
is far off. Fewer do about as much harm to a network that was calibrated as good to one that was not.
"""
RANGE = (0.05, 20.0)
"""Temperatures that are tried. Where a network is worse than chance on validation, none would keep its order."""


@dataclass(frozen=True)
class ClassCalibration:
    """What the validation split says of a class.

    Attributes:
        temperature: the logit is divided by it,
        bias: and this added, before it becomes a probability.
        threshold: probability after that from which on an image counts as positive; None where none could be chosen.
        positive: known positive images that this rests on.
        negative: known negative ones.
        is_scaled: whether there were enough of both; without, the temperature is 1 and the bias 0.
    """

    temperature: float = 1.0
    bias: float = 0.0
    threshold: float | None = None
    positive: int = 0
    negative: int = 0
    is_scaled: bool = False


@dataclass(frozen=True)
class Calibration:
    """The calibration of a network's K classes.

    Attributes:
        exclusive: whether each image has exactly one of them: then they share one temperature, and have no bias.
        classes: name → what is known of it, in the order of the network's outputs.
    """

    exclusive: bool
    classes: dict[str, ClassCalibration]

    @classmethod
    def fit(cls, predictions: Predictions, exclusive: bool = False, bias: bool = True) -> Self:
        """Fit temperatures to the known labels of the validation split.

        Of findings each class has its own temperature and bias, which minimise the cross-entropy over its known labels,
        with Platt's targets (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2) for 1 and 0: so a validation split that happens to be
        told apart without an error does not make the network certain. Exclusive classes share the temperature of the
        softmax, with targets smoothed by one image a class. A class with fewer than `KNOWN` known labels, or with
        fewer than `OF_OUTCOME` of either outcome, stays as it is; so do exclusive ones with fewer known images.

        Args:
            predictions: of the split, with ``logits``.
            exclusive: whether each image has exactly one of the classes.
            bias: whether findings get a bias, too.

        Raises:
            UserError: when there are no logits, or one of a known label is not finite.
        """
        if predictions.logits is None:
            raise UserError("A temperature is fitted to logits, and these predictions have none.")
        logits, labels = predictions.logits, predictions.labels
        if not np.isfinite(logits[~np.isnan(labels)]).all():
            raise UserError("A logit is not finite: the network's output overflowed or its weights are damaged.")
        fitted = _fit_softmax(logits, labels) if exclusive else _fit_findings(logits, labels, bias)
        return cls(exclusive, dict(zip(predictions.names, fitted, strict=True)))

    @classmethod
    def read(cls, folder: str | Path) -> Self | None:
        """The calibration in a run's folder; None where there is none, as in runs of the first edition.

        Raises:
            UserError: when the file is damaged.
        """
        path = Path(folder) / runs.CALIBRATION
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            classes = {name: ClassCalibration(**values) for name, values in content["classes"].items()}
            return cls(bool(content["exclusive"]), classes)
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # no JSON, or none of ours
            raise UserError(f"{path} is damaged: remove it, and evaluate the validation split again.") from error

    def write(self, folder: str | Path) -> None:
        """Write `calibration.json` into a run's folder.

        Raises:
            UserError: when it cannot be written.
        """
        classes = {name: dict(vars(each)) for name, each in self.classes.items()}
        with writing(Path(folder) / runs.CALIBRATION) as path:
            write_json(path, {"exclusive": self.exclusive, "classes": classes})

    @property
    def temperatures(self) -> np.ndarray:
        """Of the K classes."""
        return np.array([each.temperature for each in self.classes.values()])

    @property
    def biases(self) -> np.ndarray:
        """Of the K classes."""
        return np.array([each.bias for each in self.classes.values()])

    @property
    def unscaled(self) -> list[str]:
        """Names of the classes of which too little is known to scale them."""
        return [name for name, each in self.classes.items() if not each.is_scaled]

    def with_thresholds(self, thresholds: Sequence[float | None]) -> Self:
        """The same with these thresholds on the calibrated probabilities."""
        pairs = zip(self.classes.items(), thresholds, strict=True)
        return replace(self, classes={name: replace(each, threshold=limit) for (name, each), limit in pairs})

    def applied(self, predictions: Predictions) -> Predictions:
        """The predictions with calibrated probabilities, in float32 steps as a network gives them.

        Raises:
            UserError: when they are of other classes, or have no logits.
        """
        self._check(predictions)
        if predictions.logits is None:
            raise UserError("The calibration is of logits, and these predictions have none.")
        if len(self.unscaled) == len(self.classes):
            return predictions
        scores = self.probabilities(predictions.logits)
        return replace(predictions, scores=scores.astype(np.float32).astype(np.float64))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of logits, both ``[N, K]``."""
        logits = logits / self.temperatures + self.biases
        return softmax(logits, axis=1) if self.exclusive else expit(logits)

    def undone(self, predictions: Predictions) -> Predictions:
        """Calibrated predictions, such as those that a run keeps, with the probabilities that the network gave before.

        Raises:
            UserError: when they are of other classes.
        """
        self._check(predictions)
        with np.errstate(divide="ignore"):  # what is quite certain was so before
            logits = np.log(predictions.scores) if self.exclusive else logit(predictions.scores.clip(0, 1))
        logits = (logits - self.biases) * self.temperatures
        return replace(predictions, scores=softmax(logits, axis=1) if self.exclusive else expit(logits))

    def _check(self, predictions: Predictions) -> None:
        if list(self.classes) != predictions.names:
            raise UserError(
                f"The calibration is of the classes {', '.join(self.classes)}, but those evaluated are "
                f"{', '.join(predictions.names)}: evaluate the validation split again."
            )

    @torch.no_grad()
    def fold(self, network: nn.Module) -> None:
        """Put it into the last layer of a classifier, whose logits are calibrated from then on.

        Raises:
            UserError: when the network has no linear layer, or another number of classes.
        """
        layer = output_layer(network)
        if layer.out_features != len(self.classes):
            raise UserError(f"The calibration is of {len(self.classes)} classes, the network has {layer.out_features}.")
        temperatures, biases = (layer.weight.new_tensor(values) for values in (self.temperatures, self.biases))
        layer.weight.div_(temperatures[:, None])
        layer.bias.div_(temperatures).add_(biases)


def calibrate(network: nn.Module, model: str | Path) -> None:
    """Fold the calibration that stands beside a model's weights into a network that has them; without one do nothing.

    Args:
        network: of `medssl.networks.build_classifier`, with the weights loaded.
        model: path of the weights.

    Raises:
        UserError: when the calibration is damaged, or of another number of classes.
    """
    calibration = Calibration.read(Path(model).parent)
    if calibration is not None:
        calibration.fold(network)


def _fit_findings(logits: np.ndarray, labels: np.ndarray, bias: bool) -> list[ClassCalibration]:
    fitted = []
    for column, known in zip(logits.T, labels.T, strict=True):
        positive, negative = int((known == 1).sum()), int((known == 0).sum())
        enough = min(positive, negative) >= OF_OUTCOME and positive + negative >= KNOWN
        temperature, shift = _fit_finding(column, known, bias) if enough else (1.0, 0.0)
        fitted.append(ClassCalibration(temperature, shift, None, positive, negative, enough))
    return fitted


def _fit_finding(logits: np.ndarray, labels: np.ndarray, bias: bool) -> tuple[float, float]:
    """Temperature and bias that minimise the cross-entropy of one class; convex in 1 / temperature and bias."""
    known = ~np.isnan(labels)
    logits, positive = logits[known], labels[known] == 1
    targets = np.where(positive, (positive.sum() + 1) / (positive.sum() + 2), 1 / ((~positive).sum() + 2))
    # An image's scale does not matter, but that of all: the search begins where they are about 1.
    size = max(float(np.abs(logits).mean()), 1e-6)
    scaled = logits / size

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        shifted = values[0] * scaled + values[1]
        gap = expit(shifted) - targets
        loss = float((np.logaddexp(0, shifted) - targets * shifted).mean())
        return loss, np.array([(gap * scaled).mean(), gap.mean()])

    slopes = (size / RANGE[1], size / RANGE[0])
    start = np.array([np.clip(size, *slopes), 0.0])
    bounds = [slopes, (None, None) if bias else (0, 0)]
    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"gtol": 1e-9, "ftol": 1e-14}
    )
    return float(size / found.x[0]), float(found.x[1])


def _fit_softmax(logits: np.ndarray, labels: np.ndarray) -> list[ClassCalibration]:
    known = (labels == 1).any(axis=1)
    counts = [(int((column == 1).sum()), int((column == 0).sum())) for column in labels.T]
    images, classes = int(known.sum()), labels.shape[1]
    enough = images >= KNOWN
    temperature = 1.0
    if enough:
        targets = (images * (labels[known] == 1) + 1) / (images + classes)

        def objective(log_temperature: float) -> float:
            return float(-(targets * log_softmax(logits[known] / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

        found: Any = minimize_scalar(objective, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": 1e-6})
        temperature = float(np.exp(found.x))
    return [ClassCalibration(temperature, 0.0, None, *each, enough) for each in counts]
