"""What ends a run early says where the run goes on."""

import os
import signal
from typing import Any

import pytest
from ignite.engine import Engine, Events

from medssl.training import run_training


def engine_that(stop: Any, epoch: int = 3) -> Engine:
    engine = Engine(lambda engine, batch: None)

    def save(engine: Engine) -> None:
        engine.state.checkpoint_epoch = engine.state.epoch  # type: ignore[attr-defined]

    engine.add_event_handler(Events.EPOCH_COMPLETED, save)
    engine.add_event_handler(Events.EPOCH_STARTED(once=epoch), stop)
    engine.state.max_epochs = 5
    engine.run = lambda: Engine.run(engine, [0, 1], max_epochs=5)  # type: ignore[method-assign, assignment]
    return engine


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def raise_error() -> None:
    raise ValueError("The disk is full.")


@pytest.mark.parametrize("stop", [raise_interrupt, raise_error])
def test_the_last_checkpoint_is_named(stop: Any) -> None:
    with pytest.raises((KeyboardInterrupt, ValueError)) as caught:
        run_training(engine_that(stop))
    assert caught.value.__notes__ == ["The last checkpoint is that of epoch 2: add --resume True to go on from there."]


def test_a_run_without_a_checkpoint_says_so() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        run_training(engine_that(raise_interrupt, epoch=1))
    assert caught.value.__notes__ == ["There is no checkpoint yet: it begins with the first epoch again."]


def test_terminating_is_interrupting_while_a_training_runs_and_not_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run_training(engine_that(lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert signal.getsignal(signal.SIGTERM) is before
