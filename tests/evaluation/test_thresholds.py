"""Youden's threshold against trying every score there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medssl.evaluation import youden_thresholds

CASES = st.tuples(st.integers(0, 6).map(lambda tenth: tenth / 10), st.sampled_from([1.0, 0.0, float("nan")]))


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
