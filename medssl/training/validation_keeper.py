"""What is kept of the validations of a training: the best model with its predictions and figures, and patience."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn

from medssl import runs
from medssl.errors import UserError
from medssl.evaluation.handlers import VALIDATION, EvaluationFiles
from medssl.files import write_json, writing
from medssl.networks import plain_state

from .saved_weights import write_tensors

logger = logging.getLogger(__name__)


class ValidationKeeper:
    """Keep the best model so far as ``model.pt``, with what the validation said of it, and end a run that stands still.

    The metrics of the newest validation stand beside the trainer's own, for which it must be given to `set_trainer`.

    Beside the weights, a plain state dict, stand their description and, where the evaluator has a
    `medssl.evaluation.PredictionsMetric`, the files of `medssl.evaluation.EvaluationFiles` for the validation split,
    the calibration of the model among them.

    It is a handler of the evaluator, and one of the states of `RunCheckpoint`: a resumed run keeps and stops what an
    undisturbed one does, and a run that has stopped trains no further when it is resumed. (MONAI's ``CheckpointSaver``
    writes in place and its ``EarlyStopHandler`` trains one more epoch each time it is resumed.)

    Args:
        output_dir: folder of the run.
        network: to save; a wrapper for distributed training is taken off.
        description: what inference needs to know besides the weights (architecture, labels, image size, …).
        exclusive: whether each image has exactly one of the classes.
        patience: validations in a row without a rise of the metric after which the trainer stops; 0
            means never.
        keep_last: take every validation for the best so far, where the metric cannot tell one from another.
        metric: name of the metric in the evaluator's ``state.metrics``; higher is better.
        files: writes what the validation said of the model; None for `medssl.evaluation.EvaluationFiles`.

    Raises:
        UserError: for a negative patience.
    """

    def __init__(
        self,
        output_dir: str | Path,
        network: nn.Module,
        description: Mapping[str, Any],
        exclusive: bool = False,
        patience: int = 0,
        keep_last: bool = False,
        metric: str = "val_mAUROC",
        files: Callable[[Engine], None] | None = None,
    ) -> None:
        if patience < 0:
            raise UserError(f"patience is a number of validations, or 0 for no early stop, got {patience}.")
        self.output_dir = Path(output_dir)
        self.network = network
        self.description = dict(description)
        self.patience = patience
        self.keep_last = keep_last
        self.metric = metric
        self.best = float("-inf")
        self.waited = 0
        self._trainer: Engine | None = None
        # Intervals come with the evaluation; the figures of other splits are those of the model before.
        self._files = files
        self._predictions = EvaluationFiles(output_dir, VALIDATION, exclusive, resamples=0, keep_others=False)

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def set_trainer(self, trainer: Engine) -> None:
        """Give the trainer to show and to stop, after the `RunCheckpoint` was attached to it."""
        self._trainer = trainer
        trainer.add_event_handler(Events.STARTED, self._stop_if_exhausted)

    def __call__(self, engine: Engine) -> None:
        """Keep what the evaluator judged if the score has risen, and stop the trainer after this epoch if it is time.

        Raises:
            UserError: when a file cannot be written.
        """
        if self._trainer is not None:
            self._trainer.state.metrics.update(engine.state.metrics)
        score = float(engine.state.metrics[self.metric])
        improved = score > self.best
        self.best, self.waited = (score, 0) if improved else (self.best, self.waited + 1)
        if improved or self.keep_last:
            self._keep(engine)
        self._stop_if_exhausted()

    def state_dict(self) -> dict[str, float]:
        """The best score so far, and the validations since."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore both."""
        self.best, self.waited = float(state["best"]), int(state["waited"])

    def _keep(self, engine: Engine) -> None:
        network = self.network
        inner: nn.Module = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
        write_tensors(plain_state(inner), self.output_dir / runs.MODEL)
        if idist.get_rank() == 0:
            with writing(self.output_dir / runs.MODEL_DESCRIPTION) as path:
                write_json(path, self.description)
        if self._files is not None:
            self._files(engine)
        elif hasattr(engine.state, "predictions"):
            self._predictions(engine)

    def _stop_if_exhausted(self) -> None:
        if self._trainer is None or not 0 < self.patience <= self.waited:
            return
        if idist.get_rank() == 0:
            logger.info("Stopping: no %s above %.4f in %d validations.", self.metric, self.best, self.waited)
        self._trainer.terminate()
