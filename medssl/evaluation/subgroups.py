"""The AUROC, or the Dice, within parts of a split, such as its hospitals, or its women and men: who is served worse?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medssl.errors import UserError

from .bootstrap import bootstrap, interval
from .masks.figures import segmentation_figures
from .masks.rows import MaskRow
from .partial_metrics import mean_of_defined, rank_classes, weighted_areas
from .predictions import Predictions
from .triples import triples

FEWEST = 5
"""Known images of either outcome from which on a class counts in a group: of fewer no figure tells anything."""


def subgroups(
    predictions: Predictions, group: Sequence[str], resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """The AUROC within each group of images, with its interval.

    Args:
        predictions: of N images.
        group: the name of each image's group, N of them.
        resamples: replicates of the bootstrap over the group's patients; with 0 the intervals are None.
        level: of the intervals.
        seed: of the bootstrap.

    Returns:
        group → ``images``, ``patients``, ``mean`` (over the classes that count in the group) and ``per_class``
        (name → AUROC), each [value, low, high], or None where too little is known (`FEWEST`); by name.

    Raises:
        UserError: when there is not one name for each image.
    """
    names = np.asarray(group, dtype=str)
    if len(names) != len(predictions.images):
        raise UserError(f"There are {len(predictions.images)} images, but groups of {len(names)}.")
    return {
        str(name): _group(predictions, np.flatnonzero(names == name), resamples, level, seed)
        for name in np.unique(names)
    }


def mask_subgroups(
    rows: Sequence[MaskRow], group: Mapping[str, str], names: Sequence[str], resamples: int = 1000
) -> dict[str, dict[str, Any]]:
    """As `subgroups`, the Dice of masks.

    Args:
        rows: of all images.
        group: image → the name of its group.
        names: of the classes.
        resamples: replicates of the bootstrap over the group's patients.
    """
    found = {}
    for name in sorted(set(group.values())):
        figures = segmentation_figures([row for row in rows if group[row.image] == name], names, resamples)
        mean, per_class = figures["mDice"], {key: each["dice"] for key, each in figures["classes"].items()}
        counts = {key: figures[key] for key in ("images", "patients")}
        ends = figures["mDice_interval"] or (None, None)
        found[name] = {**counts, "mean": None if mean is None else [mean, *ends], "per_class": per_class}
    return found


def _group(predictions: Predictions, rows: np.ndarray, resamples: int, level: float, seed: int) -> dict[str, Any]:
    patients = [predictions.patients[row] for row in rows.tolist()]
    labels = predictions.labels[rows]
    enough = np.minimum((labels == 1).sum(axis=0), (labels == 0).sum(axis=0)) >= FEWEST
    ranked = rank_classes(predictions.scores[rows], np.where(enough, labels, np.nan))

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        auroc = np.stack([weighted_areas(each, weights)[0] for each in ranked], axis=1)
        return {"mean": mean_of_defined(auroc), "per_class": auroc}

    values = {name: value[0] for name, value in statistics(np.ones((1, len(rows)))).items()}
    replicates = bootstrap(statistics, patients, resamples, seed)
    found = {name: triples(value, *interval(replicates[name], level)) for name, value in values.items()}
    return {
        "images": len(rows),
        "patients": len(set(patients)),
        "mean": found["mean"],
        "per_class": dict(zip(predictions.names, found["per_class"], strict=True)),
    }
