"""AUROC and average precision of replicates against scikit-learn with sample weights, on whatever hypothesis finds."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from medssl.evaluation import partial_auroc
from medssl.evaluation.ranking import rank_class, weighted_areas

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
    for column in range(scores.shape[1]):
        found = weighted_areas(rank_class(scores[:, column], labels[:, column]), weights)
        expected = [by_scikit_learn(scores[:, column], labels[:, column], weight) for weight in weights]
        np.testing.assert_allclose(np.transpose(found), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(weighted_studies())
def test_the_auroc_is_that_of_scikit_learn(study: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, _ = study
    once = np.ones(len(scores))
    expected = [by_scikit_learn(*columns, once)[0] for columns in zip(scores.T, labels.T, strict=True)]
    np.testing.assert_allclose(partial_auroc(scores, labels), expected, rtol=1e-9, atol=1e-12)
