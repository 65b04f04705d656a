"""Every figure of the masks of a split with its bootstrap interval, in the form of ``metrics.json``."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from medssl.errors import UserError

from ..bootstrap import bootstrap, interval
from ..partial_metrics import mean_of_defined
from ..triples import number, share, triples
from .rows import MaskRow

_MEASURES = tuple(field.name for field in fields(MaskRow) if field.type is float)
_AVERAGED = ("dice", "surface_dice", "hd95", "volume_error", "absolute_volume_error", "false_lesions_per_image")


def segmentation_figures(
    rows: Sequence[MaskRow], names: Sequence[str], resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """The figures of a split: of each class over the images in which it was outlined.

    Args:
        rows: of `MaskMeasures`, of all images; a class has none in an image in which it was not outlined.
        names: of the classes.
        resamples: replicates of the bootstrap over patients; with 0 the intervals are None.
        level: of the intervals.
        seed: of the bootstrap.

    Returns:
        ``images``, ``patients``, ``resamples``; ``mDice`` (over the classes that are defined) and ``mDice_interval``;
        ``per_class`` (name → Dice); ``undefined`` (names of the classes without a Dice); ``known``: name → numbers of
        images in which the class was ``outlined``, those in which it is ``present``, and of these it was ``missed`` (no
        voxel found), and where it is absent but was found (``invented``; there the Dice is 0. Where it neither is nor
        was found no figure is defined but the volumes); ``classes``: name → ``dice``, ``surface_dice``, ``hd95`` (mm),
        ``volume_error`` (found minus outlined, ml or cm²) and ``absolute_volume_error``, means over images, and of what
        is counted by lesions ``lesion_sensitivity`` (the share of all lesions that were found) and
        ``false_lesions_per_image``, each [value, low, high]. Where the images come from several sources, ``sources``
        holds ``images``, ``mDice`` and ``per_class`` of each. What is undefined is None, and no figure is NaN.

    Raises:
        UserError: when a class has two rows in an image.
    """
    statistics = _Statistics(rows, names)
    values = {name: value[0] for name, value in statistics(np.ones((1, len(statistics.patients)))).items()}
    replicates = bootstrap(statistics, statistics.patients, resamples, seed)
    found = {name: triples(values[name], *interval(replicates[name], level)) for name in values}
    mean = found.pop("mDice")
    per_class = {name: number(value) for name, value in zip(names, values["dice"], strict=True)}
    return {
        "images": len(statistics.patients),
        "patients": len(set(statistics.patients)),
        "resamples": resamples,
        "mDice": mean and mean[0],
        "mDice_interval": mean[1:] if mean and mean[1] is not None else None,
        "per_class": per_class,
        "undefined": [name for name, value in per_class.items() if value is None],
        "known": {name: _known([row for row in rows if row.name == name]) for name in names},
        "classes": {name: {figure: found[figure][k] for figure in found} for k, name in enumerate(names)},
        **_sources(statistics, names),
    }


class _Statistics:
    """What :func:`segmentation_figures` tells, of replicates: weights ``[R, N]`` → arrays ``[R, K]`` and ``[R]``."""

    def __init__(self, rows: Sequence[MaskRow], names: Sequence[str]) -> None:
        first = {row.image: row for row in rows}
        self.patients = [row.patient for row in first.values()]
        self.sources = np.array([row.source for row in first.values()], dtype=str)
        images = {image: place for place, image in enumerate(first)}
        classes = {name: place for place, name in enumerate(names)}
        cells = [(images[row.image], classes[row.name]) for row in rows]
        if len(set(cells)) < len(cells):
            twice = next(row for row, cell in zip(rows, cells, strict=True) if cells.count(cell) > 1)
            raise UserError(f"{twice.image} has two rows of {twice.name}: each image is judged once.")
        tables = np.full((len(_MEASURES), len(images), len(classes)), np.nan)
        for cell, row in zip(cells, rows, strict=True):
            tables[:, *cell] = [getattr(row, measure) for measure in _MEASURES]
        self.of = dict(zip(_MEASURES, tables, strict=True))
        self.of["volume_error"] = self.of["predicted_volume"] - self.of["volume"]
        self.of["absolute_volume_error"] = np.abs(self.of["volume_error"])
        self.of["false_lesions_per_image"] = self.of["false_lesions"]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        totals = {name: weights @ np.nan_to_num(table) for name, table in self.of.items()}
        figures = {name: share(totals[name], weights @ ~np.isnan(self.of[name])) for name in _AVERAGED}
        figures["lesion_sensitivity"] = share(totals["found_lesions"], totals["lesions"])
        return figures | {"mDice": mean_of_defined(figures["dice"])}


def _known(rows: Sequence[MaskRow]) -> dict[str, int]:
    """In how many images a class was outlined, and how often it was there or found alone."""
    return {
        "outlined": len(rows),
        "present": sum(row.volume > 0 for row in rows),
        "missed": sum(row.volume > 0 and row.predicted_volume == 0 for row in rows),
        "invented": sum(row.volume == 0 and row.predicted_volume > 0 for row in rows),
    }


def _sources(statistics: _Statistics, names: Sequence[str]) -> dict[str, Any]:
    """Images and Dice of each source by itself, where there are several."""
    sources, images = np.unique(statistics.sources, return_counts=True)
    if len(sources) < 2:
        return {}
    values = statistics((statistics.sources == sources[:, None]).astype(np.float64))
    return {
        "sources": {
            str(source): {
                "images": int(images[place]),
                "mDice": number(values["mDice"][place]),
                "per_class": dict(zip(names, map(number, values["dice"][place]), strict=True)),
            }
            for place, source in enumerate(sources)
        }
    }
