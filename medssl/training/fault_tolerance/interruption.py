"""What ends a run early says where the run goes on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ignite.engine import Engine


def run_training(trainer: Engine) -> None:
    """Run a trainer; to whatever ends it early, add as a note which checkpoint is the last.

    While it runs, SIGTERM does what Ctrl-C does. Neither writes a checkpoint: one in the middle of an epoch would lose
    the run's equality with an undisturbed one.
    """
    try:
        with _terminated_like_interrupted():
            trainer.run()
    except BaseException as error:
        error.add_note(_way_on(trainer))
        raise


def _way_on(trainer: Engine) -> str:
    epoch = getattr(trainer.state, "checkpoint_epoch", 0)
    if not epoch:
        return "There is no checkpoint yet: it begins with the first epoch again."
    return f"The last checkpoint is that of epoch {epoch}: add --resume True to go on from there."


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
