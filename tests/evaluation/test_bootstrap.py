"""The bootstrap over patients: what it draws, against a slow loop, and whether its intervals hold what they promise."""

import numpy as np
import pytest
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score

from medssl.evaluation import Predictions, figures
from medssl.evaluation.bootstrap import bootstrap

PATIENTS = ["p7", "p1", "p7", "p3", "p1", "p7", "p2"]


def patient_weights(patients: list[str], resamples: int, seed: int = 0) -> np.ndarray:
    """How often each image counts in each replicate, `[R, N]`."""
    return bootstrap(lambda weights: {"weights": weights.astype(int)}, patients, resamples, seed)["weights"]


def auroc_intervals(
    scores: np.ndarray, labels: np.ndarray, patients: list[str], resamples: int, level: float = 0.95, seed: int = 0
) -> np.ndarray:
    """Both ends `[2, K + 1]` of the interval of each class's AUROC and of their mean; NaN where undefined."""
    images, names = [str(number) for number in range(len(scores))], [f"class {k}" for k in range(scores.shape[1])]
    predictions = Predictions(images, patients, names, scores, labels)
    found = figures(predictions, [None] * len(names), resamples, level, seed)
    ends = [(found["classes"][name]["auroc"] or [None])[1:] or [None, None] for name in names]
    return np.array([*ends, found["mAUROC_interval"] or [None, None]], dtype=float).T


def test_images_of_a_patient_go_together_and_as_many_patients_are_drawn_as_there_are() -> None:
    weights = patient_weights(PATIENTS, resamples=4000)
    assert weights.shape == (4000, 7)
    of_patient = {name: weights[:, PATIENTS.index(name)].astype(int) for name in sorted(set(PATIENTS))}
    for column, name in enumerate(PATIENTS):
        np.testing.assert_array_equal(weights[:, column], of_patient[name])
    assert (sum(of_patient.values()) == 4).all()
    for counts in of_patient.values():  # each is binomial: 4 draws of 4 patients
        shares = np.bincount(counts, minlength=5) / 4000
        np.testing.assert_allclose(shares, binom.pmf(range(5), 4, 0.25), atol=0.03)


def test_the_draw_depends_on_the_seed_and_neither_on_the_order_nor_on_the_size_of_a_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = patient_weights(PATIENTS, resamples=50, seed=3)
    assert (weights != patient_weights(PATIENTS, resamples=50, seed=4)).any()
    order = np.random.default_rng(0).permutation(7)
    np.testing.assert_array_equal(patient_weights([PATIENTS[i] for i in order], 50, 3), weights[:, order])
    monkeypatch.setattr("medssl.evaluation.bootstrap._BLOCK", 30)
    np.testing.assert_array_equal(patient_weights(PATIENTS, 50, 3), weights)


def slow_interval(
    scores: np.ndarray, labels: np.ndarray, patients: list[str], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Builds each replicate image by image, and asks scikit-learn; the last column is the mean."""
    replicates = []
    for counts in weights:
        rows = np.repeat(np.arange(len(patients)), counts)
        values = []
        for label, score in zip(labels[rows].T, scores[rows].T, strict=True):
            known = ~np.isnan(label)
            both = len(set(label[known])) == 2
            values.append(roc_auc_score(label[known], score[known]) if both else np.nan)
        defined = [value for value in values if not np.isnan(value)]
        replicates.append([*values, np.mean(defined) if defined else np.nan])
    columns = [[value for value in column if not np.isnan(value)] for column in zip(*replicates, strict=True)]
    bounds = np.array([np.quantile(column, [0.05, 0.95]) if column else [np.nan, np.nan] for column in columns])
    return bounds[:, 0], bounds[:, 1]


@pytest.mark.parametrize("images", [12, 60])
def test_intervals_are_those_of_a_slow_loop(images: int) -> None:
    generator = np.random.default_rng(images)
    labels = (generator.random((images, 4)) < 0.3).astype(float)
    scores = np.round(generator.normal(labels), 1)
    labels[generator.random((images, 4)) < 0.5] = np.nan
    labels[:, 2] = np.where(np.isnan(labels[:, 2]), np.nan, 1)  # one outcome only
    patients = [f"p{number}" for number in generator.integers(images // 2, size=images)]
    found = auroc_intervals(scores, labels, patients, resamples=100, level=0.9, seed=1)
    low, high = slow_interval(scores, labels, patients, patient_weights(patients, 100, 1))
    np.testing.assert_allclose(found, [low, high], rtol=1e-12)
    assert np.isnan(found[0]).tolist() == [False, False, True, False, False]


def simulated_study(generator: np.random.Generator, patients: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Three images of each patient; two scores, of which a patient shifts his own; labels mostly of the patient."""
    whose = np.repeat(np.arange(patients), 3)
    labels = (generator.random((patients, 2)) < 0.4).astype(float)[whose]
    other = generator.random(labels.shape) < 0.1
    labels[other] = (generator.random(labels.shape) < 0.4)[other]
    scores = labels + generator.normal(scale=0.8**0.5, size=(patients, 2))[whose]
    scores += generator.normal(scale=0.2**0.5, size=scores.shape)
    labels[generator.random(labels.shape) < 0.3] = np.nan
    return scores, labels, [str(patient) for patient in whose]


def test_intervals_cover_at_the_nominal_rate_and_would_not_if_patients_were_ignored() -> None:
    truth = norm.cdf(1 / 2**0.5)  # of two images of different patients: normal scores of variance 1, one apart
    generator = np.random.default_rng(0)
    simulations = 300
    of_class, of_mean, ignoring_patients = [], [], []
    for number in range(simulations):
        scores, labels, patients = simulated_study(generator, patients=120)
        low, high = auroc_intervals(scores, labels, patients, resamples=300)
        of_class.append(low[0] <= truth <= high[0])
        of_mean.append(low[-1] <= truth <= high[-1])
        if number < 100:
            low, high = auroc_intervals(scores, labels, [str(image) for image in range(len(scores))], resamples=300)
            ignoring_patients.append(low[0] <= truth <= high[0])
    least, most = binom.ppf([0.002, 0.998], simulations, 0.95)
    assert least <= sum(of_class) <= most
    assert least <= sum(of_mean) <= most
    assert sum(ignoring_patients) < 88


def test_no_resamples_and_no_images_have_no_interval() -> None:
    scores, labels = np.array([[0.1], [0.9]]), np.array([[0.0], [1.0]])
    for count, resamples in ((2, 0), (0, 10)):
        assert np.isnan(auroc_intervals(scores[:count], labels[:count], ["a", "b"][:count], resamples)).all()


def test_memory_does_not_grow_with_the_number_of_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medssl.evaluation.bootstrap._BLOCK", 21)
    sizes = []

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        sizes.append(len(weights))
        return {"sum": weights.sum(axis=1)}

    assert bootstrap(statistics, PATIENTS, resamples=10)["sum"].shape == (10,)
    assert sizes == [0, 3, 3, 3, 1]
