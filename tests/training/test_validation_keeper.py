"""The best model is kept with its predictions, and a training ends at the right validation, interrupted or not."""

import json
import os
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from medssl.evaluation import EvaluationFiles, PredictionsMetric, read_predictions
from medssl.training import RunCheckpoint, ValidationKeeper

SCORES = [0.5, 0.6, 0.6, 0.55, 0.7, 0.69, 0.7, 0.65, 0.9, 0.95]


def weights_kept(folder: Path, keeper: ValidationKeeper, scores: list[float]) -> list[int]:
    """The number of the validation that `model.pt` is of, after each of them."""
    engine, kept = Engine(lambda engine, batch: None), []
    for number, score in enumerate(scores):
        nn.init.constant_(keeper.network.weight, number)  # type: ignore[arg-type]
        engine.state.metrics["val_mAUROC"] = score
        keeper(engine)
        kept.append(int(torch.load(folder / "model.pt", weights_only=True)["weight"][0, 0]))
    return kept


def test_the_best_model_is_kept_with_its_description(tmp_path: Path) -> None:
    keeper = ValidationKeeper(tmp_path, nn.Linear(2, 1), {"labels": ["Mass"]})
    # An equal score is no rise.
    assert weights_kept(tmp_path, keeper, [0.6, 0.8, 0.7, 0.8, float("nan"), 0.9]) == [0, 1, 1, 1, 1, 5]
    assert json.loads((tmp_path / "model.json").read_text()) == {"labels": ["Mass"]}
    assert sorted(os.listdir(tmp_path)) == ["model.json", "model.pt"]


def test_where_no_validation_can_be_better_the_last_is_kept(tmp_path: Path) -> None:
    keeper = ValidationKeeper(tmp_path, nn.Linear(2, 1), {}, keep_last=True)
    assert weights_kept(tmp_path, keeper, [0.5] * 3) == [0, 1, 2]  # as it is where no class is defined


def test_predictions_and_figures_are_those_of_the_model_that_was_kept(tmp_path: Path) -> None:
    keeper = ValidationKeeper(tmp_path, nn.Linear(2, 1), {})
    truth = torch.tensor([[1.0], [0.0], [1.0], [0.0]])

    def validate(scores: list[float], *handlers: ValidationKeeper | EvaluationFiles) -> None:
        evaluator = Engine(lambda engine, batch: {"pred": torch.tensor(scores)[:, None], "label": truth})
        for handler in handlers:  # before the metric: the order is theirs
            handler.attach(evaluator)
        PredictionsMetric(["Mass"]).attach(evaluator, "val_mAUROC")
        evaluator.run([{"file": list("abcd")}])

    validate([0.9, 0.6, 0.5, 0.1], keeper)
    validate([0.2] * 4, EvaluationFiles(tmp_path, "test", resamples=0))
    assert list(json.loads((tmp_path / "metrics.json").read_text())["splits"]) == ["validation", "test"]
    validate([0.9, 0.6, 0.4, 0.5], keeper)  # not better
    assert read_predictions(tmp_path / "predictions_validation.csv").scores[2, 0] == pytest.approx(0.5)
    validate([0.9, 0.6, 0.7, 0.1], keeper)
    assert read_predictions(tmp_path / "predictions_validation.csv").scores[2, 0] == pytest.approx(0.7)
    written = json.loads((tmp_path / "metrics.json").read_text())
    # The figures of the test split were of the model before.
    assert (written["split"], written["mAUROC"], list(written["splits"])) == ("validation", 1.0, ["validation"])
    assert written["mAUROC_interval"] is None


def train(folder: Path, patience: int, epochs: int = 10, every: int = 1, resume: bool = False) -> list[int]:
    """A training whose validations have the scores above; returns the epochs that it trained."""
    keeper = ValidationKeeper(folder, nn.Linear(1, 1), {}, patience=patience)
    evaluator, trainer = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    trained: list[int] = []

    def validate(engine: Engine) -> None:
        if engine.state.epoch % every == 0:
            evaluator.run([0])

    @evaluator.on(Events.EPOCH_COMPLETED)
    def measure(engine: Engine) -> None:
        engine.state.metrics["val_mAUROC"] = SCORES[trainer.state.epoch - 1]

    keeper.attach(evaluator)
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: trained.append(engine.state.epoch))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    RunCheckpoint(folder, {"keeper": keeper}, resume, interval=2).attach(trainer)
    keeper.set_trainer(trainer)
    trainer.run([0, 1], max_epochs=epochs)
    assert trainer.state.metrics == evaluator.state.metrics  # for whatever shows them
    return trained


# The best scores are in epochs 1, 2, 5 and 9: an equal score is no rise.
@pytest.mark.parametrize(("patience", "last"), [(0, 10), (1, 3), (2, 4), (3, 8), (4, 10)])
def test_training_ends_after_so_many_validations_without_a_rise(patience: int, last: int, tmp_path: Path) -> None:
    assert train(tmp_path, patience) == list(range(1, last + 1))
    assert torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["epoch"] == last


def test_validations_count_not_epochs(tmp_path: Path) -> None:
    # Epochs 2, 4, 6, 8: 0.6, 0.55, 0.69, 0.65, and 0.95 in the tenth.
    assert train(tmp_path / "one", 1, every=2)[-1] == 4
    assert train(tmp_path / "two", 2, every=2)[-1] == 10


@pytest.mark.parametrize("interrupted_after", [1, 2, 3, 5, 6, 7])
def test_a_resumed_run_stops_where_an_undisturbed_one_does(interrupted_after: int, tmp_path: Path) -> None:
    first = train(tmp_path, 3, epochs=interrupted_after)
    assert train(tmp_path, 3, resume=True) == list(range(first[-1] + 1, 9))


def test_a_run_that_stopped_trains_no_further(tmp_path: Path) -> None:
    assert train(tmp_path, 2)[-1] == 4
    assert train(tmp_path, 2, resume=True) == []
    # More patience is another wish, and is granted: the count goes on.
    assert train(tmp_path, 3, resume=True) == [5, 6, 7, 8]


def test_a_negative_patience_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="patience is a number of validations, or 0 for no early stop, got -1"):
        ValidationKeeper(tmp_path, nn.Linear(1, 1), {}, patience=-1)
