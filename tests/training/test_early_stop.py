"""Early stopping: at the right validation, and at the same one when the run was interrupted or had ended."""

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from medssl.training import EarlyStop, RunCheckpoint

SCORES = [0.5, 0.6, 0.6, 0.55, 0.7, 0.69, 0.7, 0.65, 0.9, 0.95]


def train(folder: Path, patience: int, epochs: int = 10, every: int = 1, resume: bool = False) -> list[int]:
    """A training whose validations have the scores above; returns the epochs that it trained."""
    early_stop = EarlyStop(patience, "score")
    evaluator, trainer = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    trained: list[int] = []

    def validate(engine: Engine) -> None:
        if engine.state.epoch % every == 0:
            evaluator.run([0])

    @evaluator.on(Events.EPOCH_COMPLETED)
    def measure(engine: Engine) -> None:
        engine.state.metrics["score"] = SCORES[trainer.state.epoch - 1]

    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: trained.append(engine.state.epoch))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    states = {"network": nn.Linear(1, 1), "early_stop": early_stop}
    RunCheckpoint(folder, states, resume, interval=2).attach(trainer)
    early_stop.attach(evaluator, trainer)
    trainer.run([0, 1], max_epochs=epochs)
    return trained


# The best scores are in epochs 1, 2, 5 and 9: an equal score is no rise.
@pytest.mark.parametrize(("patience", "last"), [(0, 10), (1, 3), (2, 4), (3, 8), (4, 10)])
def test_training_ends_after_so_many_validations_without_a_rise(patience: int, last: int, tmp_path: Path) -> None:
    assert train(tmp_path, patience) == list(range(1, last + 1))
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == last


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


def test_a_negative_patience_is_refused() -> None:
    with pytest.raises(ValueError, match="patience is a number of validations, or 0 for no early stop, got -1"):
        EarlyStop(-1, "score")
