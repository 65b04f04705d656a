"""Is one run better than another? Both see the same patients, so their difference is resampled, not each of them."""

from typing import Any

import numpy as np

from medssl.errors import UserError

from .bootstrap import bootstrap, interval
from .partial_metrics import mean_of_defined, rank_classes, weighted_areas
from .predictions import Predictions


def compare_runs(
    first: Predictions, second: Predictions, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """The difference in mAUROC and in each class's AUROC of two runs on the same images, by a paired bootstrap.

    Args:
        first: predictions of a run.
        second: those of another, on the same images in any order, with the same classes in any order.
        resamples: replicates of the bootstrap over the first run's patients.
        level: of the intervals.
        seed: of the bootstrap.

    Returns:
        ``images``, ``patients``, ``resamples``; ``mAUROC``: its values in the ``first`` and the ``second`` run, the
        ``difference`` (second − first) as [value, low, high], and ``p``, the two-sided p-value of there being none:
        twice the share of replicates on the other side of 0 (or on it), counting the sample itself as one (Davison &
        Hinkley 1997, Sec. 4.2), so that p is below 1 − level when the interval leaves 0 out; ``per_class``: the same
        for each class. A class that is undefined in the sample is None.

    Raises:
        UserError: when the runs' classes, images or labels differ.
    """
    second = _in_order_of(first, second)
    ranked = [rank_classes(run.scores, run.labels) for run in (first, second)]

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        auroc = np.stack([[weighted_areas(each, weights)[0] for each in run] for run in ranked], axis=-1)  # [K, R, 2]
        return {"per_class": auroc.transpose(1, 0, 2), "mAUROC": mean_of_defined(auroc, axis=0)}

    values = {name: value[0] for name, value in statistics(np.ones((1, len(first.images)))).items()}
    differences = {
        name: np.diff(each)[..., 0] for name, each in bootstrap(statistics, first.patients, resamples, seed).items()
    }
    per_class = zip(first.names, values["per_class"], differences["per_class"].T, strict=True)
    return {
        "images": len(first.images),
        "patients": len(set(first.patients)),
        "resamples": resamples,
        "mAUROC": _comparison(values["mAUROC"], differences["mAUROC"], level),
        "per_class": {name: _comparison(pair, replicates, level) for name, pair, replicates in per_class},
    }


def _comparison(pair: np.ndarray, differences: np.ndarray, level: float) -> dict[str, Any] | None:
    """Of the figure's values ``[2]`` in the two runs and its differences ``[R]`` in the replicates."""
    if np.isnan(pair).any():
        return None
    first, second = map(float, pair)
    low, high = interval(differences, level)
    below, above = (differences <= 0).sum(), (differences >= 0).sum()
    count = (~np.isnan(differences)).sum()
    p = min(1.0, float(2 * (min(below, above) + 1) / (count + 1))) if count else None
    ends = [None, None] if np.isnan(low) else [float(low), float(high)]
    return {"first": first, "second": second, "difference": [second - first, *ends], "p": p}


def _in_order_of(first: Predictions, second: Predictions) -> Predictions:
    """The second run's predictions with images and classes in the order of the first's."""
    if set(first.names) != set(second.names):
        raise UserError(
            f"The runs cannot be compared, for their classes differ: {', '.join(first.names)} in the first, "
            f"{', '.join(second.names)} in the second."
        )
    place = {image: row for row, image in enumerate(second.images)}
    if len(place) != len(second.images) or len(set(first.images)) != len(first.images):
        raise UserError("The runs cannot be compared, for an image occurs twice in one of them.")
    if set(first.images) != set(second.images):
        shared = len(set(first.images) & set(second.images))
        raise UserError(
            f"The runs cannot be compared, for their images differ: {len(first.images)} in the first, "
            f"{len(second.images)} in the second, {shared} in both. Evaluate both on the same split."
        )
    rows = [place[image] for image in first.images]
    columns = [second.names.index(name) for name in first.names]
    scores, labels = second.scores[rows][:, columns], second.labels[rows][:, columns]
    differ = ~((labels == first.labels) | (np.isnan(labels) & np.isnan(first.labels)))
    if differ.any():
        row, column = np.argwhere(differ)[0]
        raise UserError(
            f"The runs cannot be compared, for {int(differ.sum())} labels differ, the first of them "
            f"{first.names[column]} of {first.images[row]}."
        )
    return Predictions(first.images, first.patients, first.names, scores, labels)
