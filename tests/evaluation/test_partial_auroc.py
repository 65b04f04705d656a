"""The AUROC over known labels against scikit-learn, entry by entry and batch by batch."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from medssl.evaluation import PartialAUROC, partial_auroc

NAMES = ["Mass", "Nodule", "Effusion", "Fibrosis"]


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


def fed(metric: PartialAUROC, scores: np.ndarray, labels: np.ndarray, batch_size: int) -> PartialAUROC:
    for start in range(0, len(scores), batch_size):
        batch = slice(start, start + batch_size)
        metric(torch.tensor(scores[batch], dtype=torch.float32), torch.tensor(labels[batch], dtype=torch.float32))
    return metric


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_batches_add_up_to_the_whole(batch_size: int) -> None:
    scores, labels = partial_study(1, 100, 4, ties=False, unknown=0.5)
    labels[:, 2] = 1  # not defined, so it is left out of the mean
    metric = fed(PartialAUROC(NAMES), scores, labels, batch_size)
    assert metric.aggregate() == pytest.approx(np.nanmean(sklearn_auroc(scores, labels)), rel=1e-6)
    metric.reset()
    other = partial_study(2, 30, 4, ties=False, unknown=0.2)
    assert fed(metric, *other, batch_size).aggregate() == pytest.approx(np.mean(sklearn_auroc(*other)), rel=1e-6)


def test_lists_of_single_images_count_as_a_batch_does() -> None:
    # What MONAI's handlers hand over where an evaluator decollates.
    scores, labels = partial_study(3, 40, 4, ties=False, unknown=0.5)
    metric = PartialAUROC(NAMES)
    metric(list(torch.tensor(scores, dtype=torch.float32)), list(torch.tensor(labels, dtype=torch.float32)))
    assert metric.aggregate() == pytest.approx(np.nanmean(sklearn_auroc(scores, labels)), rel=1e-6)


def test_the_mean_stays_finite_where_nothing_is_defined_and_says_so() -> None:
    metric = fed(PartialAUROC(NAMES), np.zeros((5, 4)), np.ones((5, 4)), 2)
    with pytest.warns(UserWarning, match="No class has known positive and known negative cases"):
        assert metric.aggregate() == 0.5
