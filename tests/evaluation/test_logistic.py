"""Probes that are regularised by folds over patients: against plain loops, and on features that mislead."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from medssl.evaluation import choose_strength, feature_gains, linear_probe
from medssl.evaluation.logistic import STRENGTHS, USUAL, best_strength, deal_folds, fold_aurocs

NAN = np.nan


def partial_labels(images: int, classes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([1, 0, NAN], size=(images, classes), p=[0.3, 0.5, 0.2])


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_no_patient_is_in_two_folds_and_each_fold_has_its_share(folds: int) -> None:
    labels = partial_labels(200, 3, 0)
    patients = [f"patient {number // 3}" for number in range(200)]
    dealt = deal_folds(labels, patients, folds)
    for column, fold in zip(labels.T, dealt.T, strict=True):
        assert ((fold == -1) == np.isnan(column)).all()
        for patient in set(patients):
            of_patient = {number for number, name in zip(fold, patients, strict=True) if name == patient} - {-1}
            assert len(of_patient) < 2
        positive = [
            len({patients[image] for image in np.flatnonzero((fold == number) & (column == 1))})
            for number in range(folds)
        ]
        assert max(positive) - min(positive) <= 1
    assert not (deal_folds(labels, patients, folds, seed=1) == dealt).all()
    assert (deal_folds(labels, patients, folds) == dealt).all()


def test_few_labels_have_fewer_folds_and_fewer_still_have_none() -> None:
    labels = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, NAN], [0, 0, 0, NAN], [0, 0, NAN, NAN]])
    dealt = deal_folds(labels, ["a", "b", "c", "d", "e"])
    assert sorted(set(dealt[:, 0])) == [0, 1]  # two patients with a positive image
    assert (dealt[:, [1, 3]] == -1).all()  # one such patient, and no negative image
    assert (deal_folds(labels, ["a", "a", "c", "d", "e"]) == -1).all()  # both positives are of one patient
    features = np.random.default_rng(0).normal(size=(5, 3))
    assert choose_strength(features, labels[:, [1, 3]]) == USUAL
    assert best_strength(features, labels, np.full(labels.shape, -1))[0] == USUAL
    assert choose_strength(features[:0], labels[:0]) == USUAL
    assert linear_probe(features, labels[:, [1]], features).shape == (5, 1)


def slow_fold_auroc(features: np.ndarray, column: np.ndarray, fold: np.ndarray, strength: float) -> float:
    """Pairs of one fold, counted one by one."""
    won = pairs = 0.0
    for number in range(fold.max() + 1):
        fitted, judged = (fold != number) & (fold >= 0), fold == number
        scaler = StandardScaler().fit(features[fitted])
        probe = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000, tol=1e-6)
        scores = probe.fit(scaler.transform(features[fitted]), column[fitted]).predict_proba(
            scaler.transform(features[judged])
        )[:, 1]
        for positive in scores[column[judged] == 1]:
            for negative in scores[column[judged] == 0]:
                won += float(positive > negative) + 0.5 * float(positive == negative)
                pairs += 1
    return won / pairs


def test_the_auroc_out_of_folds_is_that_of_pairs_within_them() -> None:
    random = np.random.default_rng(1)
    labels = partial_labels(90, 2, 1)
    features = random.normal(size=(90, 6)) * [100, 1, 1, 1, 1, 0.01]
    features[:, 0] += 100 * np.nan_to_num(labels[:, 0], nan=0.5)
    folds = deal_folds(labels, [str(number // 2) for number in range(90)])
    for strength in STRENGTHS:
        found = fold_aurocs(features, labels, folds, strength)
        expected = [slow_fold_auroc(features, labels[:, k], folds[:, k], strength) for k in range(2)]
        assert found == pytest.approx(expected, abs=9e-3)  # a pair or two may change its order by the tolerance
    assert np.isnan(fold_aurocs(features, labels, np.full(labels.shape, -1), 0.1)).all()


def noisy(images: int, seed: int, columns: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Many features, of which each says a little, as those of a network."""
    random = np.random.default_rng(seed)
    labels = (random.random((images, 1)) < 0.4).astype(float)
    return random.normal(size=(images, columns)) + 0.15 * labels, labels


def test_much_is_regularised_where_little_is_known_and_the_probe_is_better_for_it() -> None:
    """Failed when `C` was always scikit-learn's 1."""
    others, truth = noisy(2000, 100)
    gains = []
    for seed in range(5):
        features, labels = noisy(80, seed)
        chosen = choose_strength(features, labels)
        assert chosen < 1
        scores = [linear_probe(features, labels, others, strength=strength) for strength in (chosen, 1.0)]
        np.testing.assert_array_equal(linear_probe(features, labels, others), scores[0])
        better, worse = (roc_auc_score(truth[:, 0], each[:, 0]) for each in scores)
        gains.append(better - worse)
    assert np.mean(gains) > 0.01


def test_folds_over_patients_see_through_features_that_only_name_the_patient() -> None:
    """With images dealt to folds, a weak regularisation seems best, for it learns the patients by heart."""
    random = np.random.default_rng(0)
    patients = [str(number // 10) for number in range(300)]
    of_patient = np.repeat(random.normal(size=(30, 60)), 10, axis=0)
    labels = np.repeat((random.random((30, 1)) < 0.5).astype(float), 10, axis=0)
    features = of_patient + 0.1 * random.normal(size=(300, 60))
    by_image = best_strength(features, labels, deal_folds(labels))[1]
    by_patient = best_strength(features, labels, deal_folds(labels, patients))[1]
    assert by_image > 0.95
    assert by_patient < 0.8


def test_features_gain_by_what_they_add_and_not_by_being_unlike() -> None:
    random = np.random.default_rng(2)
    cause = random.normal(size=(240, 2))
    labels = (cause.sum(axis=1, keepdims=True) + 0.3 * random.normal(size=(240, 1)) > 0).astype(float)
    labels[::7] = NAN
    first = cause[:, :1] @ random.normal(size=(1, 12)) + 0.5 * random.normal(size=(240, 12))
    others = {
        "the other half": cause[:, 1:] @ random.normal(size=(1, 12)) + 0.5 * random.normal(size=(240, 12)),
        "the same": 2 * first,
        "noise": random.normal(size=(240, 12)),
    }
    patients = [str(number // 2) for number in range(240)]
    gains = feature_gains(first, others, labels, patients)
    assert gains["the other half"] is not None
    assert gains["the other half"] > 0.1
    for name in ("the same", "noise"):
        assert gains[name] == pytest.approx(0, abs=0.03)
    assert feature_gains(first, others, np.full((240, 1), NAN), patients) == dict.fromkeys(others)
