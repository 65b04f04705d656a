"""The points of learning curves: mAUROC at a place, over draws of the subset and over patients of the test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from medssl.evaluation.bootstrap import bootstrap, interval
from medssl.evaluation.partial_metrics import mean_of_defined, rank_classes, weighted_areas

from .learning_curve import Extrapolation, extrapolate, mean_interval

FINE_TUNED, PROBE = "fine-tuned", "probe"
RESAMPLES = 1000


@dataclass(frozen=True)
class Place:
    """Images to test on.

    The AUROC is that inside each source, for telling hospitals apart is no finding: its columns are the pairs of class
    and source, and those that are known both positive and negative there count alike.

    Attributes:
        name: such as `within A + B` or `at C`.
        trained: names of the sources that were trained on.
        outside: whether none of its images are from these.
        items: of the datalist's test split.
        labels: names of the K classes.
        learnable: `[K]`, the classes that training can tell of; None for all.
    """

    name: str
    trained: str
    outside: bool
    items: Sequence[Mapping[str, Any]]
    labels: Sequence[str]
    learnable: np.ndarray | None = None

    def of_classes(self, learnable: np.ndarray) -> Self:
        """The same, of fewer classes."""
        return replace(self, learnable=learnable)

    @property
    def patients(self) -> list[str]:
        """Whose image each is."""
        return [item["patient"] for item in self.items]

    @cached_property
    def columns(self) -> list[tuple[int, np.ndarray]]:
        """Class, and its labels `[N]` with those of other sources unknown, for each pair that is defined."""
        if not self.items:
            return []
        labels = np.array([item["label"] for item in self.items], dtype=np.float64)
        source = np.array([item["source"] for item in self.items])
        pairs = [
            (number, np.where(source == name, column, np.nan))
            for number, column in enumerate(labels.T)
            for name in np.unique(source)
            if self.learnable is None or self.learnable[number]
        ]
        return [(number, column) for number, column in pairs if (column == 1).any() and (column == 0).any()]

    @property
    def is_defined(self) -> bool:
        """Whether there is an AUROC."""
        return bool(self.columns)

    def areas(self, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """AUROC of each of the C columns `[C, R]` by scores `[N, K]`, in replicates of weights `[R, N]`."""
        classes, labels = zip(*self.columns, strict=True)
        ranked = rank_classes(scores[:, list(classes)], np.stack(labels, axis=1))
        return np.stack([weighted_areas(each, weights)[0] for each in ranked])


@dataclass(frozen=True)
class Cell:
    """A point of a curve.

    Attributes:
        place: that was tested.
        method: `fine-tuned` or `probe`.
        arm: what it began with.
        size: labelled training images.
        values: mAUROC of each draw.
        per_class: `[draws, K]`, NaN where undefined.
        replicates: `[RESAMPLES]`, the mean over the draws with other patients, the same in all cells of a place.
    """

    place: Place
    method: str
    arm: str
    size: int
    values: np.ndarray
    per_class: np.ndarray
    replicates: np.ndarray

    @property
    def over_draws(self) -> tuple[float, float, float]:
        """Mean and 95 % t-interval over the draws."""
        return mean_interval(self.values)

    @property
    def over_patients(self) -> tuple[float, float]:
        """The 95 % interval of the mean over test patients."""
        low, high = interval(self.replicates)
        return float(low), float(high)

    def gain(self, other: "Cell") -> dict[str, float]:
        """What it gains over another of the same place: paired by draw, and by patient."""
        mean, low, high = mean_interval(self.values - other.values)
        patients_low, patients_high = interval(self.replicates - other.replicates)
        return {
            "gain": mean,
            "gain_low": low,
            "gain_high": high,
            "gain_patients_low": float(patients_low),
            "gain_patients_high": float(patients_high),
        }


def cell_of(place: Place, method: str, arm: str, size: int, scores: Sequence[np.ndarray]) -> Cell:
    """A point of a curve from the probabilities `[N, K]` of each draw."""
    once = np.ones((1, len(place.items)))
    areas = np.stack([place.areas(each, once)[:, 0] for each in scores])  # [draws, C]
    classes = np.array([number for number, _ in place.columns])
    per_class = np.full((len(scores), len(place.labels)), np.nan)
    for number in np.unique(classes):
        per_class[:, number] = areas[:, classes == number].mean(axis=1)

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        means = [mean_of_defined(place.areas(each, weights), axis=0) for each in scores]
        return {"mAUROC": np.mean(means, axis=0)}

    replicates = bootstrap(statistics, place.patients, RESAMPLES)["mAUROC"]
    return Cell(place, method, arm, size, areas.mean(axis=1), per_class, replicates)


@dataclass(frozen=True)
class Results:
    """All points."""

    cells: Sequence[Cell]
    draws: int

    @property
    def places(self) -> list[Place]:
        """In the order of the study."""
        return list({cell.place.name: cell.place for cell in self.cells}.values())

    def curves(self, place: Place) -> dict[tuple[str, str], list[Cell]]:
        """Method and arm → points, by rising size."""
        curves: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            if cell.place.name == place.name:
                curves.setdefault((cell.method, cell.arm), []).append(cell)
        return {key: sorted(cells, key=lambda cell: cell.size) for key, cells in curves.items()}

    @cached_property
    def extrapolations(self) -> dict[tuple[str, str, str], Extrapolation]:
        """What each curve says of more images, by name of the place, method and arm."""
        return {
            (place.name, *key): extrapolate(
                [cell.size for cell in cells], np.stack([cell.values for cell in cells], axis=1)
            )
            for place in self.places
            for key, cells in self.curves(place).items()
        }


def known_sources(*items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the sources of items, sorted; none where they have no names."""
    return sorted({item["source"] for all_ in items for item in all_} - {""})
