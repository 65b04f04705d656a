"""Probabilities: does what is given 70 % come true in 70 of 100 cases, and from which on is an image called positive?

MONAI's ``CalibrationErrorMetric`` averages over the pixels of a segmentation and knows no unknown labels.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from .partial_metrics import check_scores

BINS = 10
"""Of equal width, between 0 and 1."""


class ReliabilityCurve(NamedTuple):
    """Points of a reliability plot, from low to high probability; bins without a known image are left out."""

    probability: np.ndarray
    """Mean probability of each bin."""
    frequency: np.ndarray
    """Share of its images that are positive."""
    images: np.ndarray
    """How many known images it holds."""


def reliability_curve(scores: ArrayLike, labels: ArrayLike) -> ReliabilityCurve:
    """The reliability curve of one class over its known labels, in `BINS` bins.

    Args:
        scores: ``[N]`` probabilities.
        labels: ``[N]`` of 1, 0, NaN (unknown).
    """
    all_scores, all_labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    known = ~np.isnan(all_labels)
    scores, labels = all_scores[known], all_labels[known]
    bin_of_image = _bin_of_image(scores)
    images = np.bincount(bin_of_image, minlength=BINS)
    filled = images > 0
    sums = [np.bincount(bin_of_image, weights=values, minlength=BINS)[filled] for values in (scores, labels)]
    return ReliabilityCurve(sums[0] / images[filled], sums[1] / images[filled], images[filled])


def expected_calibration_error(scores: ArrayLike, labels: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """ECE of each class over its known labels (Guo et al. 2017, Eq. 3, with the probability of the class for theirs).

    The mean over the bins, weighted by their images, of the distance between mean probability and share of positives.

    Args:
        scores: ``[N, K]`` probabilities.
        labels: ``[N, K]`` of 1, 0, NaN (unknown).
        weights: ``[R, N]``, how often each image counts in each of R replicates; once each without.

    Returns:
        ``[R, K]``, or ``[K]`` without weights; NaN where nothing is known.

    Raises:
        UserError: when the shapes differ, a label is none of the three, or a score of a known label is not finite.
    """
    scores, labels = check_scores(scores, labels)
    counts = np.ones((1, len(scores))) if weights is None else weights
    errors = [_class_error(*columns, counts) for columns in zip(scores.T, labels.T, strict=True)]
    stacked = np.stack(errors, axis=1)
    return stacked[0] if weights is None else stacked


def _class_error(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    known = np.flatnonzero(~np.isnan(labels))
    surplus = np.zeros((len(scores), BINS))
    surplus[known, _bin_of_image(scores[known])] = scores[known] - labels[known]
    images = weights @ (~np.isnan(labels)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.abs(weights @ surplus).sum(axis=1) / images


def _bin_of_image(scores: np.ndarray) -> np.ndarray:
    # A score on an edge belongs to the bin below, as in scikit-learn's calibration_curve.
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], scores)


def youden_thresholds(scores: ArrayLike, labels: ArrayLike) -> list[float | None]:
    """The threshold of each class that maximises sensitivity + specificity on its known labels (Youden 1950).

    An image counts as positive when its score is at least the threshold. Choose it on the validation split: chosen on
    the split that it is judged on, it flatters.

    Args:
        scores: ``[N, K]``.
        labels: ``[N, K]`` of 1, 0, NaN (unknown).

    Returns:
        K scores that occur, of equally good ones the highest; None for a class without a known positive or without a
        known negative case.

    Raises:
        UserError: when the shapes differ, a label is none of the three, or a score of a known label is not finite.
    """
    scores, labels = check_scores(scores, labels)
    return [_youden_threshold(*columns) for columns in zip(scores.T, labels.T, strict=True)]


def _youden_threshold(scores: np.ndarray, labels: np.ndarray) -> float | None:
    known = ~np.isnan(labels)
    if len(np.unique(labels[known])) < 2:
        return None
    false_positive_rate, sensitivity, thresholds = roc_curve(labels[known], scores[known], drop_intermediate=False)
    # Rounded, so that not the last bit decides between equally good ones. The first threshold is infinite, and nothing
    # is positive; at the last everything is, which is as good.
    gain = np.round(sensitivity - false_positive_rate, 12)
    return float(thresholds[1:][np.argmax(gain[1:])])
