"""The ordinary range of an image's values, and isolated ones far beyond it that would coarsen what is stored."""

from math import ceil, log2

import numpy as np

LEVELS = 2**16 - 1
"""Steps of a stored image, see `medssl.transforms.write_stored`."""
FINE = 1 / 2000  # of the ordinary range: a step that is fine enough for any image
SAMPLE = 2**17  # values that are looked at first
TAIL, FEWEST_IN_TAIL = 0.01, 3  # what the bulk of the values leaves out at either end: a share, at least a number


def storage_step(span: float) -> float:
    """The step in which a range of values is stored: the smallest power of two that covers it."""
    return 2.0 ** ceil(log2(span / LEVELS)) if span > 0 else 1.0


def spread_sample(values: np.ndarray) -> np.ndarray:
    """At most 131 072 values, evenly from all over an image; [N]."""
    return values.reshape(-1)[:: -(-values.size // SAMPLE) | 1]  # an odd stride meets no axis's own period


def limit_extremes(values: np.ndarray, fine: float | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Limit isolated extreme values, where the image would otherwise be stored too coarsely.

    A damaged voxel of 1e7 would round all others of a CT to 256; metal of 30 000 HU leaves them exact to 0.25 HU, and
    stays.

    Args:
        values: of an image; finite.
        fine: the step to be kept to, such as 0.5 HU; by default 1/2000 of the ordinary range.

    Returns:
        The values, the same array where all is well; and the note on what was limited, or on a coarse step. Whole
        numbers up to 65 535 apart are stored exactly, until they are resampled: they need no such note.
    """
    span = float(values.max()) - float(values.min())
    sample = spread_sample(values)
    low, high = _bulk(sample)
    fine = (high - low) * FINE if fine is None else fine
    if low == high or storage_step(span) <= fine:
        return values, ()
    low, high = _without_gap(values, low, high)
    beyond = (values < low) | (values > high)
    notes = []
    if count := np.count_nonzero(beyond):
        farthest = max(float(values.min()), float(values.max()), key=lambda end: abs(end - low))
        which = f"value of {farthest:.5g}" if count == 1 else f"values as far off as {farthest:.5g}"
        notes.append(f"{count} {which} limited to the range of the others, {low:.5g} to {high:.5g}")
        values = np.clip(values, np.float32(low), np.float32(high))
    step, is_whole = storage_step(high - low), np.array_equal(sample, np.rint(sample))
    if step > max(fine, is_whole):
        notes.append(f"values from {low:.5g} to {high:.5g} are kept in steps of {step:g}")
    return values, tuple(notes)


def _bulk(sample: np.ndarray) -> tuple[float, float]:
    """The 1st and the 99th percentile, without what an image is padded with: a commonest value at one of its ends."""
    distinct, counts = np.unique(sample, return_counts=True)
    commonest = int(counts.argmax())
    if commonest in (0, len(counts) - 1) and len(counts) > 2:
        distinct, counts = np.delete(distinct, commonest), np.delete(counts, commonest)
    ranked = np.repeat(distinct, counts)
    tail = max(round(TAIL * len(ranked)), min(FEWEST_IN_TAIL, len(ranked) // 8))
    return float(ranked[tail]), float(ranked[-1 - tail])


def _without_gap(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """From the bulk on to the next value outwards, as long as it is nearer than the bulk is wide."""
    outside = np.unique(values[(values < low) | (values > high)]).astype(np.float64)
    above, below = outside[outside > high], -outside[outside < low][::-1]
    return -_end_of_run(-low, below, high - low), _end_of_run(high, above, high - low)


def _end_of_run(start: float, rising: np.ndarray, largest_gap: float) -> float:
    run = np.array([start, *rising])
    gaps = np.flatnonzero(np.diff(run) > largest_gap)
    return float(run[gaps[0]] if len(gaps) else run[-1])
