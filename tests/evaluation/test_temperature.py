"""Temperatures against a slow search, the order of images, and a folded network against calibrated logits."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from scipy.optimize import minimize
from scipy.special import expit
from torch import nn

from medssl.errors import UserError
from medssl.evaluation import (
    Calibration,
    EvaluationFiles,
    Predictions,
    PredictionsMetric,
    calibrate,
    expected_calibration_error,
    partial_auroc,
    read_predictions,
)
from medssl.networks import build_classifier

NAMES = ["Mass", "Edema", "Rare"]


def study(images: int = 400, seed: int = 0, sure: float = 4.0, shift: float = 2.0) -> Predictions:
    """Logits that are `sure` times too large, and shifted; of `Rare` five positive images are known."""
    random = np.random.default_rng(seed)
    labels = (random.random((images, 3)) < 0.4).astype(float)
    logits = sure * (labels - 0.5 + random.normal(size=labels.shape)) + shift
    labels[random.random(labels.shape) < 0.5] = np.nan
    labels[5:, 2] = np.nan
    labels[:5, 2] = 1
    files = [f"{number}.png" for number in range(images)]
    return Predictions(files, files, NAMES, expit(logits), labels, logits)


def slow_loss(values: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> float:
    """Cross-entropy over the known labels, one after the other, with Platt's targets."""
    positive, negative = (labels == 1).sum(), (labels == 0).sum()
    total = 0.0
    for logit, label in zip(logits, labels, strict=True):
        if np.isnan(label):
            continue
        target = (positive + 1) / (positive + 2) if label == 1 else 1 / (negative + 2)
        probability = 1 / (1 + np.exp(-(logit / values[0] + values[1])))
        total -= target * np.log(probability) + (1 - target) * np.log(1 - probability)
    return total / (positive + negative)


def test_each_class_has_the_temperature_and_bias_of_the_least_cross_entropy() -> None:
    found = study()
    calibration = Calibration.fit(found)
    for column in range(2):
        arguments = (found.logits[:, column], found.labels[:, column])
        best = minimize(slow_loss, [1.0, 0.0], args=arguments, method="Nelder-Mead", options={"xatol": 1e-7}).x
        np.testing.assert_allclose([calibration.temperatures[column], calibration.biases[column]], best, rtol=1e-3)
    without = Calibration.fit(found, bias=False)
    assert (without.biases == 0).all()
    arguments = (found.logits[:, 0], found.labels[:, 0])
    others = [slow_loss(np.array([factor * without.temperatures[0], 0]), *arguments) for factor in (0.95, 1, 1.05)]
    assert min(others) == others[1]


def test_a_class_with_too_few_known_labels_is_left_alone_and_named() -> None:
    calibration = Calibration.fit(study())
    rare = calibration.classes["Rare"]
    assert (rare.temperature, rare.bias, rare.is_scaled, rare.positive, rare.negative) == (1, 0, False, 5, 0)
    assert calibration.unscaled == ["Rare"]


def test_where_no_class_is_scaled_nothing_changes() -> None:
    found = study(images=19)
    calibration = Calibration.fit(found)
    assert calibration.unscaled == NAMES
    assert calibration.applied(found) is found
    exclusive = replace(found, labels=np.eye(3)[np.arange(19) % 3])
    assert Calibration.fit(exclusive, exclusive=True).unscaled == NAMES


def test_images_that_it_was_not_fitted_to_are_calibrated_and_keep_their_order() -> None:
    test = study(4000, seed=1)
    calibrated = Calibration.fit(study()).applied(test)
    np.testing.assert_allclose(Calibration.fit(study()).undone(calibrated).scores, test.scores, atol=1e-5)
    before, after = (expected_calibration_error(each.scores, each.labels) for each in (test, calibrated))
    assert (before[:2] > 0.2).all()
    assert (after[:2] < 0.08).all()
    assert after[2] == pytest.approx(before[2])
    np.testing.assert_allclose(*(partial_auroc(each.scores, each.labels) for each in (test, calibrated)), atol=1e-6)


def test_unknown_labels_do_not_count_whatever_their_logits_are() -> None:
    found = study()
    unknown = np.isnan(found.labels)
    found.logits[unknown] = np.random.default_rng(5).normal(scale=50, size=unknown.sum())
    assert Calibration.fit(found) == Calibration.fit(study())


@pytest.mark.parametrize("sure", [10.0, -10.0])
def test_where_nothing_is_mistaken_or_everything_a_finite_temperature_keeps_the_order(sure: float) -> None:
    labels = np.repeat([[1.0], [0.0]], 12, axis=0)
    logits = sure * (labels - 0.5) + np.linspace(0, 1, 24)[:, None]
    files = [str(number) for number in range(24)]
    found = Predictions(files, files, ["Mass"], expit(logits), labels, logits)
    calibrated = Calibration.fit(found).applied(found).scores[:, 0]
    assert calibrated.max() < 0.99  # 12 images do not make certain
    assert (np.argsort(calibrated, kind="stable") == np.argsort(logits[:, 0], kind="stable")).all()


def test_exclusive_classes_share_the_temperature_of_their_softmax() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, 300)
    labels = np.eye(3)[classes]
    logits = 3 * (labels + random.normal(size=labels.shape))
    labels[::4] = np.nan
    files = [str(number) for number in range(300)]
    found = Predictions(files, files, NAMES, torch.tensor(logits).softmax(1).numpy(), labels, logits)
    calibration = Calibration.fit(found, exclusive=True)
    assert len(set(calibration.temperatures)) == 1
    assert (calibration.biases == 0).all()
    known = torch.tensor(~np.isnan(labels[:, 0]))
    targets = (225 * torch.tensor(labels)[known] + 1) / 228

    def loss(temperature: float) -> float:
        return float(nn.functional.cross_entropy(torch.tensor(logits)[known] / temperature, targets))

    grid = np.linspace(0.5, 6, 1101)
    assert calibration.temperatures[0] == pytest.approx(grid[np.argmin([loss(each) for each in grid])], abs=0.006)
    applied = calibration.applied(found)
    np.testing.assert_allclose(calibration.undone(applied).scores, found.scores, atol=1e-5)
    np.testing.assert_allclose(applied.scores.sum(axis=1), 1, rtol=1e-6)
    assert (applied.scores.argmax(axis=1) == found.scores.argmax(axis=1)).all()


@pytest.mark.parametrize(("name", "dims"), [("resnet10_quarter", 2), ("resnet10_quarter", 3), ("densenet121", 2)])
def test_a_folded_network_gives_calibrated_logits(tmp_path: Path, name: str, dims: int) -> None:
    torch.manual_seed(0)
    network = build_classifier(name, dims, 1, 3).eval()
    images = torch.randn(2, 1, *[32] * dims)
    with torch.no_grad():
        logits = network(images).numpy()
    calibration = Calibration.fit(study())
    files = ["a", "b"]
    expected = calibration.applied(Predictions(files, files, NAMES, logits, np.full((2, 3), np.nan), logits)).scores
    calibrate(network, tmp_path / "model.pt")  # there is none yet
    with torch.no_grad():
        np.testing.assert_array_equal(network(images).numpy(), logits)
    calibration.write(tmp_path)
    calibrate(network, tmp_path / "model.pt")
    with torch.no_grad():
        np.testing.assert_allclose(network(images).sigmoid().numpy(), expected, atol=1e-6)


def evaluate(files: EvaluationFiles, found: Predictions, with_logits: bool = True) -> dict:
    def step(engine: Engine, batch: dict) -> dict:
        logits = {"logits": torch.tensor(found.logits)} if with_logits else {}
        return {"pred": torch.tensor(found.scores), "label": torch.tensor(found.labels), **logits}

    engine = Engine(step)
    files.attach(engine)
    PredictionsMetric(found.names).attach(engine, "val_mAUROC")
    engine.run([{"file": found.images, "patient": found.patients}])
    return json.loads((files.output_dir / "metrics.json").read_text())


def test_an_evaluation_calibrates_and_tells_the_error_before_and_after(tmp_path: Path) -> None:
    validation, test = study(), study(1000, seed=1)
    evaluate(EvaluationFiles(tmp_path, "validation", resamples=0), validation)
    written = evaluate(EvaluationFiles(tmp_path, "test", resamples=0), test)
    calibration = Calibration.read(tmp_path)
    assert calibration is not None
    assert replace_thresholds(calibration) == Calibration.fit(validation)
    before, after = (expected_calibration_error(each.scores, each.labels) for each in (test, calibration.applied(test)))
    for column, name in enumerate(NAMES):
        assert written["classes"][name]["ece_uncalibrated"][0] == pytest.approx(before[column])
        assert written["classes"][name]["ece"][0] == pytest.approx(after[column])
        assert written["classes"][name]["threshold"] == calibration.classes[name].threshold
    assert written["uncalibrated"] == ["Rare"]
    # The file and the thresholds are of calibrated probabilities, and the thresholds call what they called before.
    scores = read_predictions(tmp_path / "predictions_test.csv").scores
    np.testing.assert_array_equal(scores, calibration.applied(test).scores)
    mass = written["classes"]["Mass"]
    called = scores[:, 0] >= mass["threshold"]
    assert mass["sensitivity"][0] == pytest.approx(called[test.labels[:, 0] == 1].mean())

    # A model without logits brings no calibration, and that of another does not stay.
    written = evaluate(EvaluationFiles(tmp_path, "validation", resamples=0), validation, with_logits=False)
    assert Calibration.read(tmp_path) is None
    assert "ece_uncalibrated" not in written["classes"]["Mass"]


def replace_thresholds(calibration: Calibration) -> Calibration:
    return calibration.with_thresholds([None] * len(calibration.classes))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    found = study()
    calibration = Calibration.fit(found)
    with pytest.raises(UserError, match="Rare"):
        calibration.applied(Predictions(found.images, found.patients, ["A", "B", "C"], found.scores, found.labels))
    with pytest.raises(UserError, match="3 classes"):
        calibration.fold(nn.Linear(4, 2))
    (tmp_path / "calibration.json").write_text('{"exclusive": false}')
    with pytest.raises(UserError, match=r"calibration\.json is damaged"):
        Calibration.read(tmp_path)
