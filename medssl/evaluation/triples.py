"""A value with the two ends of its interval, as ``metrics.json`` has it: what is undefined is None, never NaN."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where there is nothing to share."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def number(value: float | np.ndarray) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else float(value)


def triples(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> Any:
    """``[K]`` arrays as K triples, or single values as one; None for what is undefined, or for an end that is."""
    if np.ndim(values):
        return [triples(*each) for each in zip(values, low, high, strict=True)]
    return None if np.isnan(values) else [number(end) for end in (values, low, high)]


def triple_line(values: Sequence[float | None] | None) -> str:
    """A triple for the screen; without an interval the value alone."""
    if values is None or values[0] is None:
        return "undefined"
    value, low, high = values
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
