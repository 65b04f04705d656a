"""One progress bar for a whole training, or an evaluation."""

import sys
from collections.abc import Sequence
from fnmatch import fnmatch

from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from tqdm import tqdm

from ..steps import step_output


class ProgressBar:
    """Steps done of all steps, the time that is left, the epoch, and the metrics of the last epoch.

    Ignite's ``ProgressBar`` begins anew with each epoch, so that nobody learns when the training ends, and redraws
    itself twice a step: a log file gets two lines a step.

    Args:
        description: what is being done.
        metrics: patterns of the names in ``engine.state.metrics`` to show, such as ``*/accuracy``.
    """

    def __init__(self, description: str, metrics: Sequence[str] = ()) -> None:
        self.description = description
        self.metrics = tuple(metrics)
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Register with an engine, after the handlers that make the metrics."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        engine.add_event_handler(Events.COMPLETED, self.close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    def step(self, engine: Engine) -> None:
        """One step further."""
        state, epochs = engine.state, engine.state.max_epochs or 0
        if self._bar is None:
            self._bar = tqdm(
                total=epochs * (state.epoch_length or 0),
                initial=state.iteration - 1,  # of a resumed run
                unit="step",
                # In a file or a log, where each update is a line, an update every now and then is enough.
                mininterval=0.3 if sys.stderr.isatty() else 30.0,
                dynamic_ncols=True,
            )
        shown = self._shown(engine)
        if not shown and CommonKeys.LOSS in step_output(engine):
            # Before the first metrics there is the loss; asking for it waits for the step, which later ones do not.
            shown = {"loss": f"{step_output(engine)[CommonKeys.LOSS].item():.3f}"}
        epoch = f" · epoch {state.epoch}/{epochs}" if epochs > 1 else ""
        self._bar.set_description(self.description + epoch, refresh=False)
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def close(self, engine: Engine) -> None:
        """End the bar with the metrics of the last epoch."""
        if self._bar is not None:
            self._bar.set_postfix(self._shown(engine))
            self._bar.close()
            self._bar = None

    def fail(self, engine: Engine, error: BaseException) -> None:
        """End the bar and let the error pass."""
        self.close(engine)
        raise error

    def _shown(self, engine: Engine) -> dict[str, str]:
        names = [name for name in engine.state.metrics if any(fnmatch(name, pattern) for pattern in self.metrics)]
        return {name: f"{engine.state.metrics[name]:.3f}" for name in names}
