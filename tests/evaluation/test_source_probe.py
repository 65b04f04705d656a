"""Can the source be read? On features that hold it, that do not, and against scikit-learn written out."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from medssl.evaluation.logistic import USUAL, deal_folds
from medssl.evaluation.source_probe import probe_sources


def drawn(sources: list[str], apart: float, seed: int = 0) -> np.ndarray:
    """Noise, in whose first feature each source has a mean of its own."""
    features = np.random.default_rng(seed).normal(size=(len(sources), 6))
    features[:, 0] += apart * np.unique(sources, return_inverse=True)[1]
    return features


def test_a_source_that_is_in_the_features_is_read_and_one_that_is_not_is_not() -> None:
    sources = ["north", "south"] * 150
    found = probe_sources(drawn(sources, 3.0), sources)
    assert found.mean is not None
    assert found.mean > 0.95
    assert found.images == {"north": 150, "south": 150}
    assert found.auroc == {"north": found.mean, "south": found.mean}
    assert "can be read" in str(found)
    assert f"{found.mean:.2f}" in str(found)
    nothing = probe_sources(drawn(sources, 0.0), sources)
    assert nothing.mean == pytest.approx(0.5, abs=0.1)
    assert "hardly" in str(nothing)


def test_each_source_is_judged_on_patients_that_its_probe_was_not_fitted_to() -> None:
    sources = [*"aabc"] * 40
    patients = [str(number // 4) for number in range(160)]
    features = drawn(sources, 0.8)
    found = probe_sources(features, sources, patients)
    for name in "abc":
        column = np.array([float(source == name) for source in sources])
        fold = deal_folds(column[:, None], patients)[:, 0]
        areas, pairs = [], []
        for number in range(3):
            fitted, judged = fold != number, fold == number
            scaler = StandardScaler().fit(features[fitted])
            probe = LogisticRegression(C=USUAL, class_weight="balanced", max_iter=1000, tol=1e-3)
            probe.fit(scaler.transform(features[fitted]), column[fitted])
            scores = probe.decision_function(scaler.transform(features[judged]))
            areas.append(roc_auc_score(column[judged], scores))
            pairs.append(column[judged].sum() * (1 - column[judged]).sum())
        assert found.auroc[name] == pytest.approx(np.average(areas, weights=pairs), abs=0.01)
    assert found.mean == pytest.approx(np.mean([*found.auroc.values()]))


def test_a_patient_is_not_taken_for_a_hospital() -> None:
    # Every patient has features of its own and 20 images: only folds over patients see that nothing is to be read.
    generator = np.random.default_rng(1)
    patients = [str(number // 20) for number in range(400)]
    sources = ["ab"[int(patient) % 2] for patient in patients]
    features = generator.normal(size=(20, 30))[[int(patient) for patient in patients]]
    found = probe_sources(features, sources, patients)
    assert found.mean is not None
    assert found.mean < 0.75
    each = probe_sources(features, sources)
    assert each.mean is not None
    assert each.mean > 0.95


@pytest.mark.parametrize(
    ("sources", "words"), [(["a"] * 9, "one source"), ([""] * 9, "one source"), (["a"] + ["b"] * 8, "Too few patients")]
)
def test_where_there_is_nothing_to_tell_it_says_so(sources: list[str], words: str) -> None:
    found = probe_sources(drawn(sources, 1.0), sources)
    assert found.mean is None
    assert words in str(found)


def test_images_of_no_named_source_do_not_count_and_many_are_thinned_out() -> None:
    sources = ["a", "", "b"] * 100
    found = probe_sources(drawn(sources, 4.0), sources, most=60)
    assert sum(found.images.values()) == 60
    assert set(found.images) == {"a", "b"}
