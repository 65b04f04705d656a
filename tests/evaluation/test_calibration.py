"""Calibration against scikit-learn's curve, replicates against repeated images, thresholds against every score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from medssl.evaluation import expected_calibration_error, reliability_curve, youden_thresholds

CASES = st.tuples(st.integers(0, 6).map(lambda tenth: tenth / 10), st.sampled_from([1.0, 0.0, float("nan")]))


def study(images: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    scores = np.concatenate([generator.random((images, 2)) ** 2, np.arange(11)[:, None].repeat(2, 1) / 10])
    labels = (generator.random(scores.shape) < 0.3).astype(float)
    labels[generator.random(scores.shape) < 0.4] = np.nan
    return scores, labels


def slow_error(scores: np.ndarray, labels: np.ndarray) -> float:
    known = ~np.isnan(labels)
    scores, labels = scores[known], labels[known]
    total = 0.0
    for number in range(10):
        low, high = number / 10, (number + 1) / 10
        inside = (scores > low) & (scores <= high) if number else scores <= high
        if inside.any():
            total += inside.mean() * abs(scores[inside].mean() - labels[inside].mean())
    return total


def test_the_error_is_the_mean_gap_of_the_bins() -> None:
    scores, labels = study()
    expected = [slow_error(scores[:, k], labels[:, k]) for k in range(2)]
    np.testing.assert_allclose(expected_calibration_error(scores, labels), expected, rtol=1e-12)


def test_replicates_are_those_of_repeated_images() -> None:
    scores, labels = study(80)
    weights = np.random.default_rng(1).integers(0, 4, (5, len(scores)))
    found = expected_calibration_error(scores, labels, weights.astype(float))
    for counts, errors in zip(weights, found, strict=True):
        rows = np.repeat(np.arange(len(scores)), counts)
        np.testing.assert_allclose(errors, [slow_error(scores[rows, k], labels[rows, k]) for k in range(2)], rtol=1e-9)


def test_the_curve_is_that_of_scikit_learn_on_the_known_images() -> None:
    scores, labels = study()
    known = ~np.isnan(labels[:, 0])
    frequency, probability = calibration_curve(labels[known, 0], scores[known, 0], n_bins=10)
    curve = reliability_curve(scores[:, 0], labels[:, 0])
    np.testing.assert_allclose(curve.frequency, frequency)
    np.testing.assert_allclose(curve.probability, probability)
    assert curve.images.sum() == known.sum()
    error = (curve.images * abs(curve.frequency - curve.probability)).sum() / curve.images.sum()
    assert error == pytest.approx(expected_calibration_error(scores, labels)[0])


def test_where_nothing_is_known_nothing_is_calibrated() -> None:
    assert np.isnan(expected_calibration_error(np.full((3, 1), 0.5), np.full((3, 1), np.nan))).all()
    assert len(reliability_curve(np.full(3, 0.5), np.full(3, np.nan)).images) == 0


def youden(scores: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    called = scores >= threshold
    return called[labels == 1].mean() + (~called)[labels == 0].mean()


@settings(deadline=None)
@given(st.lists(CASES, max_size=30))
def test_no_score_is_a_better_threshold_and_no_higher_one_is_as_good(cases: list[tuple[float, float]]) -> None:
    scores, labels = np.array(cases).reshape(-1, 2).T
    (threshold,) = youden_thresholds(scores[:, None], labels[:, None])
    if not {0.0, 1.0} <= set(labels):
        assert threshold is None
        return
    assert threshold is not None
    best = youden(scores, labels, threshold)
    for other in scores[~np.isnan(labels)]:
        assert youden(scores, labels, other) < best + 1e-12
        assert other <= threshold or youden(scores, labels, other) < best - 1e-12


def test_the_threshold_is_a_finite_number_even_where_scores_are_the_wrong_way_round() -> None:
    (threshold,) = youden_thresholds([[0.9], [0.8], [0.2]], [[0], [0], [1]])
    assert threshold == pytest.approx(0.2)  # everything is called positive, which is no worse than nothing


def test_each_class_has_its_own() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.4, 0.6, 0.5], [0.7, 0.3, 0.5]])
    labels = [[0, 1, np.nan], [1, 0, 1], [1, 0, 1]]
    assert youden_thresholds(scores, labels) == [0.4, 0.9, None]
