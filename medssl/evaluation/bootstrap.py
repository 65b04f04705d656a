"""The bootstrap over patients: how far a figure would move with other patients of the same kind.

Patients are drawn with replacement, and all images of a patient go together: images of one patient resemble each other,
so intervals over images would be too narrow. A replicate is never built; it is the number of times each image counts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

_BLOCK = 1_000_000  # weights in memory at a time: 8 MB, of which a statistic makes a few copies


def bootstrap(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    patients: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Statistics of every replicate.

    Args:
        statistics: takes weights ``[R, N]`` (float64), how often each image counts in each replicate, and returns named
            arrays ``[R, …]``, NaN where undefined. The counts of P patients follow a multinomial distribution.
        patients: whose image it is, for each of N images.
        resamples: number of replicates; with 0 the arrays are empty.
        seed: of the draw; the same patients, in whatever order, are drawn equally often under the same seed.

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
