"""The paired comparison of two runs: a difference is found, none is not made up, and nothing else is compared."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from medssl.evaluation import Predictions, compare_runs
from medssl.evaluation.bootstrap import bootstrap


def run_of(labels: np.ndarray, skill: float, seed: int, unknown: np.ndarray) -> Predictions:
    """Scores of which half the noise is the images', the same for every run."""
    noise = np.random.default_rng(0).normal(size=labels.shape) + np.random.default_rng(seed).normal(size=labels.shape)
    scores = 1 / (1 + np.exp(-skill * labels - noise))
    images = [f"images/{number}.png" for number in range(len(labels))]
    patients = [f"p{number // 2}" for number in range(len(labels))]
    names = ["Edema", "Mass", "Hernia"][: labels.shape[1]]
    return Predictions(images, patients, names, scores, np.where(unknown, np.nan, labels))


def two_runs(first_skill: float, second_skill: float, images: int = 300) -> tuple[Predictions, Predictions]:
    generator = np.random.default_rng(5)
    labels = (generator.random((images, 2)) < 0.4).astype(float)
    unknown = generator.random(labels.shape) < 0.3
    return run_of(labels, first_skill, 1, unknown), run_of(labels, second_skill, 2, unknown)


def test_a_true_difference_is_found() -> None:
    found = compare_runs(*two_runs(0.5, 2.0))
    for one in (found["mAUROC"], *found["per_class"].values()):
        value, low, high = one["difference"]
        assert value == pytest.approx(one["second"] - one["first"])
        assert 0 < low < value < high
        assert one["p"] < 0.01
    swapped = compare_runs(*two_runs(0.5, 2.0)[::-1])
    assert swapped["mAUROC"]["difference"] == pytest.approx(-np.array(found["mAUROC"]["difference"])[[0, 2, 1]])
    assert swapped["mAUROC"]["p"] == found["mAUROC"]["p"]


def test_a_run_does_not_differ_from_itself() -> None:
    run, _ = two_runs(1.0, 1.0)
    found = compare_runs(run, run)["mAUROC"]
    assert found["difference"] == [0, 0, 0]
    assert found["p"] == 1


def test_between_equally_good_runs_small_p_are_as_rare_as_they_should_be() -> None:
    p, covered = [], []
    generator = np.random.default_rng(0)
    for _ in range(200):
        labels = (generator.random((160, 1)) < 0.4).astype(float)
        scores = labels[:, :, None] + generator.normal(size=(160, 1, 1)) + generator.normal(size=(160, 1, 2))
        images = [str(number) for number in range(160)]
        runs = [Predictions(images, images, ["Edema"], scores[..., run], labels) for run in range(2)]
        found = compare_runs(*runs, resamples=300)["mAUROC"]
        p.append(found["p"])
        covered.append(found["difference"][1] <= 0 <= found["difference"][2])
    for level in (0.05, 0.25, 0.5, 0.75):
        least, most = binom.ppf([0.002, 0.998], 200, level)
        assert least <= (np.array(p) <= level).sum() <= most
    assert binom.ppf(0.002, 200, 0.95) <= sum(covered) <= binom.ppf(0.998, 200, 0.95)


def test_interval_and_p_are_those_of_a_slow_loop() -> None:
    first, second = two_runs(0.8, 1.0, images=60)
    found = compare_runs(first, second, resamples=60, level=0.9, seed=2)
    differences = []
    for counts in bootstrap(lambda weights: {"of": weights.astype(int)}, first.patients, 60, 2)["of"]:
        rows = np.repeat(np.arange(60), counts)
        values = []
        for run in (first, second):
            known = [rows[~np.isnan(run.labels[rows, k])] for k in range(2)]
            values.append([roc_auc_score(run.labels[r, k], run.scores[r, k]) for k, r in enumerate(known)])
        differences.append(np.subtract(values[1], values[0]))
    mass = np.array(differences)[:, 1]
    assert found["per_class"]["Mass"]["difference"][1:] == pytest.approx(np.quantile(mass, [0.05, 0.95]))
    assert found["per_class"]["Mass"]["p"] == pytest.approx(2 * (min((mass <= 0).sum(), (mass >= 0).sum()) + 1) / 61)
    assert found["mAUROC"]["difference"][1:] == pytest.approx(np.quantile(np.mean(differences, 1), [0.05, 0.95]))


def test_images_are_matched_by_name_and_classes_too() -> None:
    first, second = two_runs(0.8, 1.2)
    order = np.random.default_rng(0).permutation(len(first.images))
    shuffled = Predictions(
        [second.images[i] for i in order],
        [second.patients[i] for i in order],
        second.names[::-1],
        second.scores[order, ::-1],
        second.labels[order, ::-1],
    )
    assert compare_runs(first, shuffled) == compare_runs(first, second)


def test_a_class_without_both_outcomes_has_no_comparison() -> None:
    first, second = two_runs(0.8, 1.2)
    for run in (first, second):
        run.labels[run.labels[:, 1] == 1, 1] = np.nan
    found = compare_runs(first, second, resamples=20)
    assert found["per_class"]["Mass"] is None
    assert found["mAUROC"]["first"] == found["per_class"]["Edema"]["first"]
    without = compare_runs(first, second, resamples=0)["mAUROC"]
    assert without["difference"][1:] == [None, None]
    assert without["p"] is None


def test_only_runs_on_the_same_labelled_images_are_compared() -> None:
    first, second = two_runs(0.8, 1.2)
    labels = second.labels.copy()
    row, column = np.argwhere(np.isnan(labels))[0]
    labels[row, column] = 0
    cases = {
        "their classes differ": replace(second, names=["Edema", "Nodule"]),
        "300 in the first, 300 in the second, 299 in both": replace(second, images=["other.png", *second.images[1:]]),
        "an image occurs twice": replace(second, images=[second.images[1], *second.images[1:]]),
        f"1 labels differ, the first of them {first.names[column]} of images/{row}.png": replace(second, labels=labels),
    }
    for message, other in cases.items():
        with pytest.raises(ValueError, match=message):
            compare_runs(first, other)
