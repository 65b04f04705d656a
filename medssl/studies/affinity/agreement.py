"""Which guide to trust: does it order the pre-trainings as their fine-tuned results do?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from .guides import Affinity

GUIDES = {"proxy": "proxy task affinity", "gradient": "gradient task affinity"}


@dataclass(frozen=True)
class Agreement:
    """How well a guide agrees with the gains of fine-tuning.

    Attributes:
        points: kept epochs that were fine-tuned, RandIni left out.
        tau: Kendall's rank correlation: the share of pairs that both order alike minus the share they order otherwise;
            None with fewer than two points or without any order.
        p: the two-sided p-value of no association. It takes the points for independent, which epochs of one run
            are not; with three points it is at least 0.33, with four 0.083, so few tasks prove nothing.
        chosen: gain of the point that the guide ranks first.
        best: the largest gain, which the guide would ideally have chosen.
    """

    points: int
    tau: float | None
    p: float | None
    chosen: float | None
    best: float | None


def agreement(affinities: Sequence[Affinity], guide: str) -> Agreement:
    """Compare a guide with the gains over RandIni.

    Args:
        affinities: those without a gain, or without the guide, are left out, as is epoch 0.
        guide: ``proxy`` or ``gradient``.
    """
    values, gains = points(affinities, guide)
    if not len(values):
        return Agreement(0, None, None, None, None)
    chosen, best = float(gains[values.argmax()]), float(gains.max())
    if len(np.unique(values)) < 2 or len(np.unique(gains)) < 2:
        return Agreement(len(values), None, None, chosen, best)
    tau, p = kendalltau(values, gains)
    return Agreement(len(values), float(tau), float(p), chosen, best)


def points(affinities: Sequence[Affinity], guide: str) -> tuple[np.ndarray, np.ndarray]:
    """The guide's values and the gains, where both are known after epoch 0."""
    both = [
        (getattr(each, guide)[0], each.gain)
        for each in affinities
        if each.epoch and each.gain is not None and getattr(each, guide) is not None
    ]
    values, gains = np.array(both, dtype=float).reshape(-1, 2).T
    return values, gains
