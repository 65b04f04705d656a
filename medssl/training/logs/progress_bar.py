"""The progress of a whole training, or of an evaluation."""

from collections.abc import Sequence
from fnmatch import fnmatch

from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from medssl.progress import Progress, is_shown

from ..optimizing import count_mini_batches
from ..steps import step_output


class ProgressBar:
    """Steps done of all steps, the time that is left, the epoch, and the metrics of the last epoch; see `Progress`.

    Ignite's ``ProgressBar`` begins anew with each epoch, so that nobody learns when the training ends, and redraws
    itself twice a step: a log file gets two lines a step.

    Args:
        description: what is being done.
        metrics: patterns of the names in ``engine.state.metrics`` to show, such as ``*/accuracy``.
        steps: of the optimizer in all, see `EndAfterSteps`; 0 for whole epochs.
    """

    def __init__(self, description: str, metrics: Sequence[str] = (), steps: int = 0) -> None:
        self.description = description
        self.metrics = tuple(metrics)
        self.steps = steps
        self._progress: Progress | None = None

    def attach(self, engine: Engine) -> None:
        """Register with an engine, after the handlers that make the metrics."""
        if is_shown():
            engine.add_event_handler(Events.ITERATION_STARTED, self.begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
            engine.add_event_handler(Events.COMPLETED, self.close)
            engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    def begin(self, engine: Engine) -> None:
        """Begin with the first step, be it that of a resumed run."""
        if self._progress is not None:
            return
        state, epochs = engine.state, engine.state.max_epochs or 0
        length, accumulate = state.epoch_length or 0, int(getattr(engine, "accumulation_steps", 1))
        total = count_mini_batches(self.steps, length, accumulate) if self.steps else epochs * length
        units = "steps" if accumulate == 1 else "mini-batches"
        between = "what is done between the epochs" if epochs > 1 else ""
        self._progress = Progress(self.description, total, units, state.iteration - 1, between)

    def step(self, engine: Engine) -> None:
        """One step further."""
        assert self._progress is not None
        self._progress.advance(1, lambda: self._figures(engine))

    def close(self, engine: Engine) -> None:
        """End with the metrics of the last epoch."""
        self._end(engine, finished=True)

    def fail(self, engine: Engine, error: BaseException) -> None:
        """Say where it ended, and let the error pass."""
        self._end(engine, finished=False)
        raise error

    def _end(self, engine: Engine, finished: bool) -> None:
        if self._progress is not None:
            self._progress.close(self._figures(engine), finished)
            self._progress = None

    def _figures(self, engine: Engine) -> list[str]:
        """The epoch, and the metrics; before there are some, the loss, which waits for the step."""
        state, epochs = engine.state, engine.state.max_epochs or 0
        names = [name for name in state.metrics if any(fnmatch(name, pattern) for pattern in self.metrics)]
        shown = {name: state.metrics[name] for name in names}
        output = step_output(engine) if state.output is not None else {}
        if not shown and CommonKeys.LOSS in output:
            shown = {"loss": output[CommonKeys.LOSS].item()}
        epoch = [f"epoch {state.epoch}/{epochs}"] if epochs > 1 else []
        return epoch + [f"{name}={value:.3f}" for name, value in shown.items()]
