"""The AUROC over known labels and that of replicates against scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from medssl.evaluation import mean_partial_auroc, partial_auroc
from medssl.evaluation.partial_metrics import rank_classes, weighted_areas


def partial_study(seed: int, images: int, classes: int, ties: bool, unknown: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < 0.4).astype(float)
    scores = generator.normal(labels)  # better than chance
    if ties:
        scores = np.round(scores)
    labels[generator.random((images, classes)) < unknown] = np.nan
    return scores, labels


def sklearn_auroc(scores: np.ndarray, labels: np.ndarray) -> list[float]:
    values = []
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        both = len(set(labels[known, k])) == 2
        values.append(roc_auc_score(labels[known, k], scores[known, k]) if both else float("nan"))
    return values


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("images", "unknown"), [(200, 0.0), (200, 0.5), (200, 0.9), (12, 0.6)])
def test_auroc_is_that_of_scikit_learn_on_the_known_entries(seed: int, ties: bool, images: int, unknown: float) -> None:
    scores, labels = partial_study(seed, images, 5, ties, unknown)
    np.testing.assert_allclose(partial_auroc(scores, labels), sklearn_auroc(scores, labels), rtol=1e-12)


def test_scores_of_unknown_entries_are_never_looked_at() -> None:
    scores, labels = partial_study(0, 50, 3, ties=False, unknown=0.5)
    spoilt = np.where(np.isnan(labels), np.nan, scores)
    np.testing.assert_array_equal(partial_auroc(spoilt, labels), partial_auroc(scores, labels))


def test_a_class_with_one_outcome_or_none_has_no_auroc() -> None:
    nan = float("nan")
    labels = [[1, 0, nan, 1], [1, 0, nan, 0], [nan, nan, nan, nan]]
    values = partial_auroc(np.arange(12.0).reshape(3, 4), labels)
    assert np.isnan(values).tolist() == [True, True, True, False]
    assert values[3] == 0  # the positive case has the lower score
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(partial_auroc(np.zeros((0, 2)), np.zeros((0, 2)))).all()


def test_equal_scores_are_a_coin_toss() -> None:
    assert partial_auroc(np.zeros((6, 1)), [[1], [0], [1], [0], [0], [np.nan]]).tolist() == [0.5]


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 3)), r"scores \[3, 2\] and labels \[3, 3\]"),
        (np.zeros(3), np.zeros(3), r"must both be \[images, classes\]"),
        (np.zeros((2, 1)), [[2], [0]], "labels must be 1, 0 or NaN"),
        (np.zeros((2, 1)), [[-1], [0]], "labels must be 1, 0 or NaN"),
        ([[np.nan], [1.0]], [[1], [0]], "score is not finite"),
        ([[np.inf], [1.0]], [[1], [0]], "score is not finite"),
    ],
)
def test_what_is_no_partial_study_is_refused(scores: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partial_auroc(scores, labels)


def test_the_mean_is_over_the_classes_that_are_defined() -> None:
    scores, labels = partial_study(1, 100, 4, ties=False, unknown=0.5)
    labels[:, 2] = 1
    assert mean_partial_auroc(scores, labels) == pytest.approx(np.nanmean(sklearn_auroc(scores, labels)), rel=1e-12)


def test_the_mean_stays_finite_where_nothing_is_defined_and_says_so() -> None:
    with pytest.warns(UserWarning, match="No class has known positive and known negative cases"):
        assert mean_partial_auroc(np.zeros((5, 4)), np.ones((5, 4))) == 0.5


SCORES = st.one_of(st.integers(0, 4).map(float), st.floats(-1e6, 1e6))  # many ties, or few
LABELS = st.sampled_from([1.0, 0.0, float("nan")])


@st.composite
def weighted_studies(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images, classes, replicates = draw(st.integers(0, 30)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    scores = draw(arrays(float, (images, classes), elements=SCORES))
    labels = draw(arrays(float, (images, classes), elements=LABELS))
    weights = draw(arrays(float, (replicates, images), elements=st.integers(0, 4).map(float)))
    return scores, labels, weights


def by_scikit_learn(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    seen = ~np.isnan(labels) & (weights > 0)
    if len(set(labels[seen])) < 2:
        return float("nan"), float("nan")
    known = labels[seen], scores[seen]
    return tuple(measure(*known, sample_weight=weights[seen]) for measure in (roc_auc_score, average_precision_score))


@settings(max_examples=50, deadline=None)
@given(weighted_studies())
def test_replicates_are_those_of_scikit_learn(study: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, weights = study
    for column, ranked in enumerate(rank_classes(scores, labels)):
        found = weighted_areas(ranked, weights)
        expected = [by_scikit_learn(scores[:, column], labels[:, column], weight) for weight in weights]
        np.testing.assert_allclose(np.transpose(found), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(weighted_studies())
def test_the_auroc_is_that_of_scikit_learn(study: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, _ = study
    once = np.ones(len(scores))
    expected = [by_scikit_learn(*columns, once)[0] for columns in zip(scores.T, labels.T, strict=True)]
    np.testing.assert_allclose(partial_auroc(scores, labels), expected, rtol=1e-9, atol=1e-12)
