"""Area under the ROC curve with unknown labels: per class over the known entries, and their mean."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from torch import Tensor

from medssl.errors import UserError


def partial_auroc(scores: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """AUROC of each class over its known labels, as the Mann-Whitney statistic (ties count half).

    MONAI's ``compute_roc_auc`` is NaN as soon as one label of a class is.

    Args:
        scores: ``[N, K]``, higher means more likely positive.
        labels: ``[N, K]`` of 1, 0, NaN (unknown).

    Returns:
        ``[K]``, NaN for a class without a known positive or without a known negative case.

    Raises:
        UserError: when the shapes differ, a label is none of the three, or a score of a known label is not finite.
    """
    scores, labels = check_scores(scores, labels)
    known = ~np.isnan(labels)
    return np.array([_auroc(scores[known[:, k], k], labels[known[:, k], k] == 1) for k in range(labels.shape[1])])


def check_scores(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels ``[N, K]`` as float64, if they are what they should be.

    Raises:
        UserError: when the shapes differ, a label is none of 1, 0, NaN, or a score of a known label is not finite.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if scores.shape != labels.shape or scores.ndim != 2:
        raise UserError(f"scores {list(scores.shape)} and labels {list(labels.shape)} must both be [images, classes].")
    known = ~np.isnan(labels)
    if not np.isin(labels[known], (0, 1)).all():
        raise UserError("labels must be 1, 0 or NaN (unknown).")
    if not np.isfinite(scores[known]).all():
        raise UserError("A score is not finite: the network's output overflowed or its weights are damaged.")
    return scores, labels


def mean_partial_auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """The mean AUROC (mAUROC) over the defined classes, always finite: 0.5, with a warning, where none is defined.

    For MONAI's choice of the best model stops for good at the first NaN.

    Args:
        scores: ``[N, K]``.
        labels: ``[N, K]`` of 1, 0, NaN (unknown).

    Raises:
        UserError: as `partial_auroc`.
    """
    mean = float(mean_of_defined(partial_auroc(scores, labels)))
    if np.isnan(mean):
        warnings.warn("No class has known positive and known negative cases: mAUROC is taken as 0.5.", stacklevel=2)
        return 0.5
    return mean


def mean_of_defined(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean along an axis of what is not NaN, and NaN where nothing is: ``np.nanmean`` without its warning."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = values.sum(axis=axis, where=defined) / defined.sum(axis=axis)
    return mean


def _auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    positives, negatives = positive.sum(), (~positive).sum()
    if not positives or not negatives:
        return float("nan")
    rank_sum = rankdata(scores)[positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


class PartialAUROC(CumulativeIterationMetric):
    """`mean_partial_auroc` as a metric of MONAI's, gathered over batches and processes.

    Args:
        labels: names of the K classes.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = list(labels)

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return y_pred.float(), y.float()

    def aggregate(self) -> float:
        """The mAUROC of what was seen since the last reset."""
        scores, labels = (torch.as_tensor(seen).cpu().numpy() for seen in self.get_buffer())
        return mean_partial_auroc(scores, labels)
