"""One progress bar for a whole training."""

import sys
from collections.abc import Sequence
from fnmatch import fnmatch

from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from tqdm import tqdm

from ..steps import step_output


class ProgressBar:
    """Steps done of all steps, the epoch, and the metrics of the last epoch.

    Args:
        description: what is being trained.
        metrics: patterns of the names in ``engine.state.metrics`` to show, such as ``*/accuracy``.
        show: whether to show anything, false on all but one process.
    """

    def __init__(self, description: str, metrics: Sequence[str] = (), show: bool = True) -> None:
        self.description = description
        self.metrics = tuple(metrics)
        self.show = show
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the handlers that make the metrics."""
        if self.show:
            engine.add_event_handler(Events.EPOCH_STARTED, self.start)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
            engine.add_event_handler(Events.COMPLETED | Events.TERMINATE | Events.INTERRUPT, self.close)
            engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    def start(self, engine: Engine) -> None:
        """Open the bar in the first epoch, and name the epoch in each."""
        if self._bar is None:
            total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
            # In a file or a log, where each update is a line, an update every now and then is enough.
            interval = 0.3 if sys.stderr.isatty() else 30.0
            self._bar = tqdm(
                total=total, initial=engine.state.iteration, unit="step", mininterval=interval, dynamic_ncols=True
            )
        epoch = f" · epoch {engine.state.epoch}/{engine.state.max_epochs}" if (engine.state.max_epochs or 0) > 1 else ""
        self._bar.set_description(self.description + epoch, refresh=False)

    def step(self, engine: Engine) -> None:
        """One step further."""
        assert self._bar is not None
        shown = self._metrics(engine)
        if not shown and CommonKeys.LOSS in step_output(engine):
            # Before the first metrics there is the loss; asking for it waits for the step, which later ones do not.
            shown = {"loss": f"{step_output(engine)[CommonKeys.LOSS].item():.3f}"}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def close(self, engine: Engine) -> None:
        """End the bar with the metrics of the last epoch."""
        if self._bar is not None:
            self._bar.set_postfix(self._metrics(engine))
            self._bar.close()
            self._bar = None

    def fail(self, engine: Engine, error: BaseException) -> None:
        """End the bar and let the error pass."""
        self.close(engine)
        raise error

    def _metrics(self, engine: Engine) -> dict[str, str]:
        shown = (name for name in engine.state.metrics if any(fnmatch(name, pattern) for pattern in self.metrics))
        return {name: f"{engine.state.metrics[name]:.3f}" for name in shown}
