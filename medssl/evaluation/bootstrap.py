"""The bootstrap over patients: how far a figure would move with other patients of the same kind.

Patients are drawn with replacement, and all images of a patient go together: images of one patient resemble each other,
so intervals over images would be too narrow. A replicate is never built; it is the number of times each image counts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medssl.errors import UserError

from .partial_metrics import check_scores, mean_of_defined
from .ranking import rank_class, weighted_areas

_BLOCK = 1_000_000  # weights in memory at a time: 8 MB, of which a statistic makes a few copies


def patient_weights(patients: Sequence[str], resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each image counts in each replicate.

    Args:
        patients: whose image it is, for each of N images.
        resamples: R, the number of replicates.
        seed: of the draw; the same patients, in whatever order, are drawn equally often under the same seed.

    Returns:
        ``[R, N]`` uint16; the counts of P patients follow a multinomial distribution of P draws.
    """
    return np.concatenate([np.zeros((0, len(patients)), np.uint16), *_blocks(patients, resamples, seed)])


def _blocks(patients: Sequence[str], resamples: int, seed: int) -> Iterator[np.ndarray]:
    if not len(patients):
        return
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    generator = np.random.default_rng(seed)
    size = max(1, _BLOCK // len(patients))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = generator.integers(len(names), size=(rows, len(names)))
        # One count for the whole block: each replicate has numbers of its own.
        drawn += np.arange(rows)[:, None] * len(names)
        counts = np.bincount(drawn.ravel(), minlength=rows * len(names)).reshape(rows, len(names))
        yield counts.astype(np.uint16).take(patient, axis=1)


def bootstrap(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    patients: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Statistics of every replicate.

    Args:
        statistics: takes weights ``[R, N]`` (float64) and returns named arrays ``[R, …]``, NaN where undefined.
        patients: whose image it is, for each of N images.
        resamples: number of replicates; with 0 the arrays are empty.
        seed: of the draw.

    Returns:
        the named arrays ``[resamples, …]``.
    """
    parts = [statistics(np.zeros((0, len(patients))))]
    parts += [statistics(block.astype(np.float64)) for block in _blocks(patients, resamples, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(replicates: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of each statistic (Efron & Tibshirani 1993, Sec. 13.3).

    Args:
        replicates: ``[R, …]``; those that are NaN are left out.
        level: the share of replicates within the interval.

    Returns:
        low and high, each ``[…]``, NaN where no replicate is defined.
    """
    bounds = np.full((2, *replicates.shape[1:]), np.nan)
    defined = ~np.isnan(replicates).all(axis=0)
    if defined.any():
        bounds[:, defined] = np.nanquantile(replicates[:, defined], [(1 - level) / 2, (1 + level) / 2], axis=0)
    low, high = bounds
    return low, high


class AUROCIntervals(NamedTuple):
    """Intervals of each class's AUROC, ``[K]``, and of their mean; NaN where undefined."""

    low: np.ndarray
    high: np.ndarray
    mean_low: float
    mean_high: float


def bootstrap_auroc(
    scores: ArrayLike,
    labels: ArrayLike,
    patients: Sequence[str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> AUROCIntervals:
    """Bootstrap intervals of the AUROC of each class, and of the mean over the classes that a replicate defines.

    Args:
        scores: ``[N, K]``, higher means more likely positive.
        labels: ``[N, K]`` of 1, 0, NaN (unknown).
        patients: whose image it is; without them every image is a patient's only one.
        resamples: number of replicates; one in which a class has a single outcome is left out for that class.
        level: of the interval.
        seed: of the draw.

    Raises:
        UserError: when the sizes differ, a label is none of the three, or a score of a known label is not finite.
    """
    scores, labels = check_scores(scores, labels)
    if patients is not None and len(patients) != len(scores):
        raise UserError(f"There are {len(scores)} images, but {len(patients)} patients: name one for each image.")
    ranked = [rank_class(*columns) for columns in zip(scores.T, labels.T, strict=True)]

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"auroc": np.stack([weighted_areas(each, weights)[0] for each in ranked], axis=1)}

    whose = [str(image) for image in range(len(scores))] if patients is None else patients
    replicates = bootstrap(statistics, whose, resamples, seed)["auroc"]
    low, high = interval(replicates, level)
    mean_low, mean_high = interval(mean_of_defined(replicates), level)
    return AUROCIntervals(low, high, float(mean_low), float(mean_high))
