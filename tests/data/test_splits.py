import numpy as np
import pytest

from medssl.data import fold_patients, split_patients


def site(seed: int, unknown: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    patients = random.zipf(1.7, 3000).clip(max=400).astype(str)  # some patients have very many images
    labels = (random.random((3000, 4)) < [0.4, 0.1, 0.02, 0.005]).astype(np.float32)
    labels[random.random(labels.shape) < unknown] = np.nan
    return patients, labels


@pytest.mark.parametrize("unknown", [0.0, 0.7])
def test_patients_stay_together_and_findings_are_spread(unknown: float) -> None:
    patients = np.random.default_rng(1).integers(0, 900, 3000).astype(str)
    labels = site(0, unknown)[1]
    splits = split_patients(patients, labels, (0.7, 0.1, 0.2), seed=5)
    for patient in np.unique(patients):
        assert len(set(splits[patients == patient])) == 1
    for split, fraction in (("training", 0.7), ("validation", 0.1), ("test", 0.2)):
        here = splits == split
        np.testing.assert_allclose(here.mean(), fraction, atol=0.01)
        for value in (0, 1):
            counts = (labels[here] == value).sum(axis=0)
            np.testing.assert_allclose(counts, fraction * (labels == value).sum(axis=0), atol=3, rtol=0.02)
    np.testing.assert_array_equal(splits, split_patients(patients, labels, (0.7, 0.1, 0.2), seed=5))
    assert (splits != split_patients(patients, labels, (0.7, 0.1, 0.2), seed=6)).any()


def test_few_patients_of_very_different_size_fill_every_split() -> None:
    patients, labels = site(2)
    assert set(split_patients(patients, labels)) == {"training", "validation", "test"}
    three = np.array(["a"] * 50 + ["b", "c"])
    assert sorted(set(split_patients(three, np.ones((52, 1))))) == ["test", "training", "validation"]
    assert set(split_patients(three, np.ones((52, 1)), (0.5, 0, 0.5))) == {"training", "test"}
    assert set(split_patients(three, np.empty((52, 0)), (1, 0, 0))) == {"training"}


def test_wrong_fractions_and_too_few_patients_are_refused() -> None:
    for fractions in ((0.5, 0.5), (0.5, 0.1, 0.1), (1.2, -0.2, 0)):
        with pytest.raises(ValueError, match="sum to 1"):
            split_patients(["a", "b", "c"], np.ones((3, 1)), fractions)
    with pytest.raises(ValueError, match="2 patient"):
        split_patients(["a", "a", "b"], np.ones((3, 1)))


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_are_of_like_size_and_findings(folds: int) -> None:
    patients = np.random.default_rng(1).integers(0, 900, 3000).astype(str)
    labels = site(0, 0.7)[1]
    fold = fold_patients(patients, labels, folds, seed=5)
    assert all(len(set(fold[patients == patient])) == 1 for patient in np.unique(patients))
    np.testing.assert_allclose(np.bincount(fold), 3000 / folds, rtol=0.01)
    for value in (0, 1):
        counts = np.array([(labels[fold == number] == value).sum(axis=0) for number in range(folds)])
        np.testing.assert_allclose(counts, np.broadcast_to(counts.mean(axis=0), counts.shape), atol=2, rtol=0.02)
    np.testing.assert_array_equal(fold, fold_patients(list(patients), labels, folds, seed=5))
    assert (fold != fold_patients(patients, labels, folds, seed=6)).any()


def test_every_fold_has_a_patient() -> None:
    assert sorted(fold_patients(["a"] * 50 + ["b", "c"], np.full((52, 2), np.nan), 3)) == [0] * 50 + [1, 2]
    with pytest.raises(ValueError, match="2 or more"):
        fold_patients(["a", "b"], np.ones((2, 1)), 1)
    with pytest.raises(ValueError, match=r"2 patient\(s\) cannot fill 3 folds"):
        fold_patients(["a", "b"], np.ones((2, 1)), 3)


@pytest.mark.parametrize("seed", range(6))
def test_every_class_that_enough_patients_have_is_in_each_split(seed: int) -> None:
    draws = np.random.default_rng(seed)
    classes = 5
    wanted = np.zeros((60, classes), dtype=bool)
    for number in range(classes):  # of hospitals; the rarest class was outlined in three patients
        wanted[draws.choice(60, 3 + number, replace=False), number] = True
    patients = [f"p{number}" for number in range(60)]
    labels = np.where(wanted, 1.0, np.nan)
    splits = split_patients(patients, labels, (0.7, 0.1, 0.2), seed, wanted)
    for number in range(classes):
        assert set(splits[wanted[:, number]]) == {"training", "validation", "test"}
    folds = fold_patients(patients, labels, 3, seed, wanted)
    assert all(set(folds[column]) == {0, 1, 2} for column in wanted.T)
    # Nothing changes where nothing is wanted.
    assert split_patients(patients, labels, seed=seed, wanted=wanted[:, :0]).tolist() == (
        split_patients(patients, labels, seed=seed).tolist()
    )
