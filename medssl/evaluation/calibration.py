"""Calibration: does what is given 70 % come true in 70 of 100 cases?

MONAI's ``CalibrationErrorMetric`` averages over the pixels of a segmentation and knows no unknown labels.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .partial_metrics import check_scores

BINS = 10


class ReliabilityCurve(NamedTuple):
    """Points of a reliability plot, from low to high probability; bins without a known image are left out."""

    probability: np.ndarray
    """Mean probability of each bin."""
    frequency: np.ndarray
    """Share of its images that are positive."""
    images: np.ndarray
    """How many known images it holds."""


def reliability_curve(scores: ArrayLike, labels: ArrayLike, bins: int = BINS) -> ReliabilityCurve:
    """The reliability curve of one class over its known labels, in bins of equal width.

    Args:
        scores: ``[N]`` probabilities.
        labels: ``[N]`` of 1, 0, NaN (unknown).
        bins: number of bins between 0 and 1.
    """
    all_scores, all_labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    known = ~np.isnan(all_labels)
    scores, labels = all_scores[known], all_labels[known]
    bin_of_image = _bin_of_image(scores, bins)
    images = np.bincount(bin_of_image, minlength=bins)
    filled = images > 0
    sums = [np.bincount(bin_of_image, weights=values, minlength=bins)[filled] for values in (scores, labels)]
    return ReliabilityCurve(sums[0] / images[filled], sums[1] / images[filled], images[filled])


def expected_calibration_error(
    scores: ArrayLike, labels: ArrayLike, weights: np.ndarray | None = None, bins: int = BINS
) -> np.ndarray:
    """ECE of each class over its known labels (Guo et al. 2017, Eq. 3, with the probability of the class for theirs).

    The mean over the bins, weighted by their images, of the distance between mean probability and share of positives.

    Args:
        scores: ``[N, K]`` probabilities.
        labels: ``[N, K]`` of 1, 0, NaN (unknown).
        weights: ``[R, N]``, how often each image counts in each of R replicates; once each without.
        bins: number of bins of equal width between 0 and 1.

    Returns:
        ``[R, K]``, or ``[K]`` without weights; NaN where nothing is known.

    Raises:
        UserError: when the shapes differ, a label is none of the three, or a score of a known label is not finite.
    """
    scores, labels = check_scores(scores, labels)
    counts = np.ones((1, len(scores))) if weights is None else weights
    errors = [_class_error(*columns, counts, bins) for columns in zip(scores.T, labels.T, strict=True)]
    stacked = np.stack(errors, axis=1)
    return stacked[0] if weights is None else stacked


def _class_error(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray, bins: int) -> np.ndarray:
    known = np.flatnonzero(~np.isnan(labels))
    surplus = np.zeros((len(scores), bins))
    surplus[known, _bin_of_image(scores[known], bins)] = scores[known] - labels[known]
    images = weights @ (~np.isnan(labels)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.abs(weights @ surplus).sum(axis=1) / images


def _bin_of_image(scores: np.ndarray, bins: int) -> np.ndarray:
    # A score on an edge belongs to the bin below, as in scikit-learn's calibration_curve.
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], scores)
