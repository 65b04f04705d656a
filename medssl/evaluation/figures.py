"""Every figure of a split with its bootstrap interval, in the form of ``metrics.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medssl.errors import UserError

from .bootstrap import bootstrap, interval
from .calibration import expected_calibration_error
from .partial_metrics import mean_of_defined, partial_auroc, rank_classes, weighted_areas
from .predictions import Predictions
from .triples import number, share, triples

OF_ALL = ("accuracy", "balanced_accuracy", "mAUROC_within_sources")
"""Figures of all classes together, beside the mAUROC."""


def figures(
    predictions: Predictions,
    thresholds: Sequence[float | None],
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    exclusive: bool = False,
    uncalibrated: np.ndarray | None = None,
) -> dict[str, Any]:
    """The figures of a split, over its known labels.

    Args:
        predictions: of the split.
        thresholds: K probabilities from which on an image counts as positive, chosen on the validation split; None
            where there is none.
        resamples: replicates of the bootstrap over patients; with 0 the intervals are None.
        level: of the intervals.
        seed: of the bootstrap.
        exclusive: whether each image has exactly one of the classes.
        uncalibrated: ``[N, K]`` probabilities of the network before its calibration, to tell what that was worth.

    Returns:
        ``images``, ``patients``, ``resamples``; ``mAUROC`` (over the classes that are defined) and ``mAUROC_interval``;
        ``per_class`` (name → AUROC); ``undefined`` (names of the classes without both outcomes); ``known`` (name →
        counts of known positive and negative cases); ``classes``: name → ``auroc``, ``average_precision``,
        ``sensitivity``, ``specificity``, ``ece``, each [value, low, high], and ``threshold``; of exclusive classes
        ``accuracy`` and ``balanced_accuracy`` too. With ``uncalibrated`` each class has ``ece_uncalibrated``. Where the
        images come from several sources, each class has ``auroc_within_sources`` too (over the pairs of images of one
        source: no difference between sources helps), its mean is ``mAUROC_within_sources``, and ``sources`` holds
        ``images``, ``mAUROC`` and ``per_class`` of each source. What is undefined is None, and no figure is NaN.

    Raises:
        UserError: when there is not one threshold for each class, or exclusive classes are not.
    """
    if len(thresholds) != len(predictions.names):
        raise UserError(f"There are {len(predictions.names)} classes, but {len(thresholds)} thresholds.")
    statistics = _Statistics(predictions, thresholds, exclusive, uncalibrated)
    values = {name: value[0] for name, value in statistics(np.ones((1, len(predictions.images)))).items()}
    replicates = bootstrap(statistics, predictions.patients, resamples, seed)
    intervals = {name: interval(replicates[name], level) for name in values}
    found = {name: triples(values[name], *intervals[name]) for name in values}

    mean = found.pop("mAUROC")
    of_all: dict[str, Any] = {name: found.pop(name) for name in OF_ALL if name in found}
    per_class = {name: number(value) for name, value in zip(predictions.names, values["auroc"], strict=True)}
    return {
        "images": len(predictions.images),
        "patients": len(set(predictions.patients)),
        "resamples": resamples,
        "mAUROC": mean and mean[0],
        "mAUROC_interval": mean[1:] if mean and mean[1] is not None else None,
        "per_class": per_class,
        "undefined": [name for name, value in per_class.items() if value is None],
        "known": {
            name: {"positive": int((column == 1).sum()), "negative": int((column == 0).sum())}
            for name, column in zip(predictions.names, predictions.labels.T, strict=True)
        },
        "classes": {
            name: {**{figure: found[figure][k] for figure in found}, "threshold": thresholds[k]}
            for k, name in enumerate(predictions.names)
        },
        **of_all,
        **({"sources": _sources(predictions, statistics.inside)} if statistics.inside else {}),
    }


class _Statistics:
    """What :func:`figures` tells, of replicates: weights ``[R, N]`` → arrays ``[R, K]`` and ``[R]``."""

    def __init__(
        self,
        predictions: Predictions,
        thresholds: Sequence[float | None],
        exclusive: bool,
        uncalibrated: np.ndarray | None,
    ) -> None:
        scores, labels = predictions.scores, predictions.labels
        self.uncalibrated = uncalibrated
        sources = np.array(predictions.sources or [])
        names = np.unique(sources)
        self.inside = {str(name): sources == name for name in names} if len(names) > 1 else {}
        self.scores, self.labels = scores, labels
        self.ranked = rank_classes(scores, labels)
        limits = np.array([np.nan if threshold is None else threshold for threshold in thresholds])
        self.decided = ~np.isnan(limits)
        self.positive, self.negative = (labels == 1).astype(np.float64), (labels == 0).astype(np.float64)
        self.found = self.positive * (scores >= limits)
        self.cleared = self.negative * (scores < limits)
        self.exclusive = exclusive
        if exclusive:
            _check_exclusive(predictions)
            self.right = self.positive * (scores.argmax(axis=1) == labels.argmax(axis=1))[:, None]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        areas = [weighted_areas(ranked, weights) for ranked in self.ranked]
        auroc, average_precision = (np.stack(parts, axis=1) for parts in zip(*areas, strict=True))
        positive, negative = weights @ self.positive, weights @ self.negative
        figures = {
            "mAUROC": mean_of_defined(auroc),
            "auroc": auroc,
            "average_precision": average_precision,
            "sensitivity": share(weights @ self.found, positive * self.decided),
            "specificity": share(weights @ self.cleared, negative * self.decided),
            "ece": expected_calibration_error(self.scores, self.labels, weights),
        }
        if self.uncalibrated is not None:
            figures["ece_uncalibrated"] = expected_calibration_error(self.uncalibrated, self.labels, weights)
        if self.inside:
            within = self._auroc_within_sources(weights)
            figures |= {"auroc_within_sources": within, "mAUROC_within_sources": mean_of_defined(within)}
        if self.exclusive:
            right = weights @ self.right
            figures["accuracy"] = share(right.sum(axis=1), positive.sum(axis=1))
            figures["balanced_accuracy"] = mean_of_defined(share(right, positive))
        return figures

    def _auroc_within_sources(self, weights: np.ndarray) -> np.ndarray:
        """The share of the pairs of a positive and a negative image *of one source* that are in the right order."""
        right, pairs = np.zeros((2, len(weights), len(self.ranked)))
        for inside in self.inside.values():
            own = weights * inside
            of_source = (own @ self.positive) * (own @ self.negative)
            auroc = np.stack([weighted_areas(ranked, own)[0] for ranked in self.ranked], axis=1)
            right += np.where(of_source > 0, auroc, 0) * of_source
            pairs += of_source
        return share(right, pairs)


def _sources(predictions: Predictions, inside: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Images and AUROC of each source by itself."""
    found = {}
    for source, rows in inside.items():
        aurocs = partial_auroc(predictions.scores[rows], predictions.labels[rows])
        per_class = dict(zip(predictions.names, map(number, aurocs), strict=True))
        found[source] = {"images": int(rows.sum()), "mAUROC": number(mean_of_defined(aurocs)), "per_class": per_class}
    return found


def _check_exclusive(predictions: Predictions) -> None:
    known = ~np.isnan(predictions.labels)
    one_hot = known.all(axis=1) & (np.nansum(predictions.labels, axis=1) == 1)
    wrong = np.flatnonzero(~one_hot & known.any(axis=1))
    if len(wrong):
        raise UserError(
            f"{predictions.images[wrong[0]]}: of exclusive classes each image has exactly one, or all are unknown."
        )
