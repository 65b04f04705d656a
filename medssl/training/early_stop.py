"""End a training that no longer gets better."""

import logging
from collections.abc import Mapping

import ignite.distributed as idist
from ignite.engine import Engine, Events

from medssl.errors import UserError

logger = logging.getLogger(__name__)


class EarlyStop:
    """Stop the trainer after ``patience`` validations in a row without a rise of the metric.

    As one of the states of :class:`RunCheckpoint` it stops a resumed run where an undisturbed one stops, and a run that
    has stopped trains no further when it is resumed. (Ignite's ``EarlyStopping``, which MONAI's handler wraps, trains
    one more epoch each time, and needs the trainer when it is built, which a config cannot give it.)

    Args:
        patience: validations; 0 means never to stop.
        metric: name of the metric in the evaluator's ``state.metrics``; higher is better.

    Raises:
        UserError: for a negative patience.
    """

    def __init__(self, patience: int, metric: str) -> None:
        if patience < 0:
            raise UserError(f"patience is a number of validations, or 0 for no early stop, got {patience}.")
        self.patience = patience
        self.metric = metric
        self.best = float("-inf")
        self.waited = 0

    @property
    def exhausted(self) -> bool:
        """Whether the training should end."""
        return 0 < self.patience <= self.waited

    def attach(self, evaluator: Engine, trainer: Engine) -> None:
        """Register with both engines, after the handlers of theirs that compute and restore the metric's state."""
        evaluator.add_event_handler(Events.COMPLETED, self.judge, trainer)
        trainer.add_event_handler(Events.STARTED, self.stop_if_exhausted)

    def judge(self, evaluator: Engine, trainer: Engine) -> None:
        """Look at the validation that ended."""
        score = float(evaluator.state.metrics[self.metric])
        self.waited = 0 if score > self.best else self.waited + 1
        self.best = max(self.best, score)
        self.stop_if_exhausted(trainer)

    def stop_if_exhausted(self, trainer: Engine) -> None:
        """Tell the trainer to end after this epoch."""
        if not self.exhausted:
            return
        if idist.get_rank() == 0:
            logger.info("Stopping: no %s above %.4f in %d validations.", self.metric, self.best, self.waited)
        trainer.terminate()

    def state_dict(self) -> dict[str, float]:
        """The best score so far, and the validations since."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore both."""
        self.best, self.waited = float(state["best"]), int(state["waited"])
