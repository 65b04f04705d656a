"""The figures of a split, each against scikit-learn on the known images of every replicate."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    recall_score,
    roc_auc_score,
)

from medssl.evaluation import Predictions, expected_calibration_error, figures
from medssl.evaluation.bootstrap import bootstrap

NAMES = ["Edema", "Mass", "Hernia"]
THRESHOLDS = [0.3, 0.55, None]
Measure = Callable[[np.ndarray, np.ndarray, float], float]


def one_auroc(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    return roc_auc_score(labels, scores) if len(set(labels)) == 2 else np.nan


def one_average_precision(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    return average_precision_score(labels, scores) if len(set(labels)) == 2 else np.nan


def one_sensitivity(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    return recall_score(labels, scores >= threshold) if 1 in labels else np.nan


def one_specificity(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    return recall_score(labels, scores >= threshold, pos_label=0) if 0 in labels else np.nan


def one_ece(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    return expected_calibration_error(scores[:, None], labels[:, None])[0]


def partial_predictions(images: int = 80) -> Predictions:
    generator = np.random.default_rng(0)
    labels = (generator.random((images, 3)) < 0.4).astype(float)
    scores = np.round(np.clip(0.4 + 0.2 * labels + generator.normal(scale=0.2, size=labels.shape), 0, 1), 2)
    labels[generator.random(labels.shape) < 0.4] = np.nan
    labels[:, 2] = np.where(np.isnan(labels[:, 2]), np.nan, 0)
    patients = [f"p{number}" for number in generator.integers(40, size=images)]
    return Predictions([f"{number}.png" for number in range(images)], patients, NAMES, scores, labels)


def replicates_of(predictions: Predictions, measure: Callable[[np.ndarray], float], resamples: int) -> list:
    """The measure of the image numbers of the sample itself, and its percentile interval."""
    values = []
    for counts in bootstrap(lambda weights: {"of": weights.astype(int)}, predictions.patients, resamples)["of"]:
        values.append(measure(np.repeat(np.arange(len(counts)), counts)))
    return [measure(np.arange(len(predictions.images))), *np.nanquantile(values, [0.025, 0.975])]


def within_sources(labels: np.ndarray, scores: np.ndarray, sources: np.ndarray) -> float:
    """Of all pairs of a positive and a negative image of one source, the share in the right order."""
    right = [
        float(scores[i] > scores[j]) + 0.5 * float(scores[i] == scores[j])
        for i in np.flatnonzero(labels == 1)
        for j in np.flatnonzero(labels == 0)
        if sources[i] == sources[j]
    ]
    return float(np.mean(right)) if right else np.nan


def test_auroc_within_sources_counts_pairs_of_one_source_only() -> None:
    predictions = partial_predictions()
    sources = np.array(["north", "south", "far"])[np.random.default_rng(3).integers(3, size=80)]
    sources[0] = "alone"  # no pair is in it
    found = figures(replace(predictions, sources=sources.tolist()), THRESHOLDS, resamples=30)
    for k, name in enumerate(NAMES[:2]):

        def of_images(rows: np.ndarray, k: int = k) -> float:
            return within_sources(predictions.labels[rows, k], predictions.scores[rows, k], sources[rows])

        expected = replicates_of(predictions, of_images, 30)
        np.testing.assert_allclose(found["classes"][name]["auroc_within_sources"], expected, rtol=1e-12)
    assert found["classes"]["Hernia"]["auroc_within_sources"] is None
    mean = np.mean([found["classes"][name]["auroc_within_sources"][0] for name in NAMES[:2]])
    assert found["mAUROC_within_sources"][0] == pytest.approx(mean)
    assert list(found["sources"]) == ["alone", "far", "north", "south"]
    north = (sources == "north") & ~np.isnan(predictions.labels[:, 0])
    own = roc_auc_score(predictions.labels[north, 0], predictions.scores[north, 0])
    assert found["sources"]["north"]["per_class"]["Edema"] == pytest.approx(own)
    assert found["sources"]["alone"] == {"images": 1, "mAUROC": None, "per_class": dict.fromkeys(NAMES)}
    assert found["per_class"] == figures(predictions, THRESHOLDS, resamples=0)["per_class"]


def test_what_only_tells_the_sources_apart_is_worth_nothing_within_them() -> None:
    random = np.random.default_rng(0)
    south = random.random(400) < 0.5
    labels = (random.random((400, 1)) < np.where(south, 0.8, 0.2)[:, None]).astype(float)
    scores = np.clip(south * 0.5 + random.random(400) * 0.4, 0, 1)[:, None]
    files = [str(number) for number in range(400)]
    sources = np.where(south, "south", "north").tolist()
    found = figures(Predictions(files, files, ["Mass"], scores, labels, sources=sources), [None], resamples=100)
    assert found["mAUROC"] > 0.75
    low, high = found["mAUROC_within_sources"][1:]
    assert low < 0.5 < high
    one = figures(Predictions(files, files, ["Mass"], scores, labels, sources=["south"] * 400), [None], resamples=0)
    assert "mAUROC_within_sources" not in one


@pytest.mark.parametrize(
    ("figure", "measure"),
    [
        ("auroc", one_auroc),
        ("average_precision", one_average_precision),
        ("sensitivity", one_sensitivity),
        ("specificity", one_specificity),
        ("ece", one_ece),
    ],
)
def test_every_figure_of_a_class_has_its_value_and_interval(figure: str, measure: Measure) -> None:
    predictions = partial_predictions()
    found = figures(predictions, THRESHOLDS, resamples=100)
    for k, name in enumerate(NAMES[:2]):

        def of_images(rows: np.ndarray, k: int = k) -> float:
            rows = rows[~np.isnan(predictions.labels[rows, k])]
            return measure(predictions.labels[rows, k], predictions.scores[rows, k], THRESHOLDS[k])

        assert found["classes"][name][figure] == pytest.approx(replicates_of(predictions, of_images, 100), rel=1e-9)


def test_the_mean_is_over_the_classes_that_are_defined() -> None:
    predictions = partial_predictions()
    found = figures(predictions, THRESHOLDS, resamples=100)

    def mean(rows: np.ndarray) -> float:
        values = []
        for scores, labels in zip(predictions.scores[rows].T, predictions.labels[rows].T, strict=True):
            known = ~np.isnan(labels)
            values.append(one_auroc(labels[known], scores[known], 0))
        return np.nanmean(values)

    assert [found["mAUROC"], *found["mAUROC_interval"]] == pytest.approx(replicates_of(predictions, mean, 100))
    assert found["per_class"] == {name: found["classes"][name]["auroc"][0] for name in NAMES[:2]} | {"Hernia": None}
    assert found["undefined"] == ["Hernia"]
    hernia = found["classes"]["Hernia"]
    assert {name for name, value in hernia.items() if value is None} == set(hernia) - {"ece"}
    assert found["known"]["Hernia"] == {"positive": 0, "negative": int((predictions.labels[:, 2] == 0).sum())}
    assert (found["images"], found["patients"]) == (80, len(set(predictions.patients)))


def test_without_resamples_the_values_stay_and_nothing_is_nan() -> None:
    predictions = partial_predictions()
    full, quick = figures(predictions, THRESHOLDS, resamples=10), figures(predictions, THRESHOLDS, resamples=0)
    json.dumps(full, allow_nan=False)
    json.dumps(quick, allow_nan=False)
    assert quick["mAUROC"] == full["mAUROC"]
    assert quick["mAUROC_interval"] is None
    assert quick.keys() == full.keys()
    for name in NAMES:
        for figure, triple in full["classes"][name].items():
            expected = [triple[0], None, None] if isinstance(triple, list) else triple
            assert quick["classes"][name][figure] == expected


def exclusive_predictions(images: int = 60) -> Predictions:
    generator = np.random.default_rng(0)
    classes = generator.integers(3, size=images)
    scores = generator.dirichlet(np.ones(3), size=images) * 0.7 + 0.3 * np.eye(3)[classes]
    labels = np.eye(3)[classes]
    labels[::7] = np.nan
    patients = [f"p{number // 2}" for number in range(images)]
    return Predictions([f"{number}.png" for number in range(images)], patients, NAMES, scores, labels)


def test_exclusive_classes_have_an_accuracy() -> None:
    predictions = exclusive_predictions()
    found = figures(predictions, [0.5] * 3, resamples=100, exclusive=True)

    def measured(measure: Callable) -> list:
        def of_images(rows: np.ndarray) -> float:
            rows = rows[~np.isnan(predictions.labels[rows, 0])]
            return measure(predictions.labels[rows].argmax(1), predictions.scores[rows].argmax(1))

        return replicates_of(predictions, of_images, 100)

    assert found["accuracy"] == pytest.approx(measured(accuracy_score))
    assert found["balanced_accuracy"] == pytest.approx(measured(balanced_accuracy_score))
    assert "accuracy" not in figures(predictions, [0.5] * 3, resamples=0)


@pytest.mark.parametrize("label", [[1, 1, 0], [0, 0, 0], [1, 0, np.nan]])
def test_exclusive_classes_that_are_not_are_refused(label: list[float]) -> None:
    predictions = exclusive_predictions()
    predictions.labels[11] = label
    with pytest.raises(ValueError, match=r"11\.png: of exclusive classes each image has exactly one"):
        figures(predictions, [0.5] * 3, resamples=0, exclusive=True)


def test_there_is_a_threshold_for_each_class() -> None:
    with pytest.raises(ValueError, match="There are 3 classes, but 1 thresholds"):
        figures(partial_predictions(), [0.5])
