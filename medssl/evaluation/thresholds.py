"""From probabilities to decisions: a threshold for each class."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from .partial_metrics import check_scores


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
