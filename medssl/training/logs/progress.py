"""The progress bar of a training or an evaluation: ignite's, at a pace that fits a log file too."""

import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

from ignite import handlers
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from tqdm import tqdm

from ..steps import step_output


class _PacedBar(tqdm):
    # Ignite sets both in every step, and tqdm would redraw the bar each time: in a file, two lines a step.
    def set_description(self, desc: str | None = None, refresh: bool | None = False) -> None:
        super().set_description(desc, refresh=False)

    def set_postfix(self, *args: Any, **values: Any) -> None:
        super().set_postfix(*args, **{**values, "refresh": False})


class ProgressBar(handlers.ProgressBar):
    """The steps of the epoch, and the metrics of the last one; one line for the whole run.

    Args:
        description: what is being done.
        metrics: patterns of the names in ``engine.state.metrics`` to show, such as ``*/accuracy``.
    """

    def __init__(self, description: str, metrics: Sequence[str] = ()) -> None:
        # In a file or a log, where each update is a line, an update every now and then is enough.
        interval = 0.3 if sys.stderr.isatty() else 30.0
        super().__init__(persist=True, desc=description, mininterval=interval, dynamic_ncols=True)
        self.pbar_cls = _PacedBar
        self.metrics = tuple(metrics)

    def attach(self, engine: Engine) -> None:  # type: ignore[override]
        """Register with an engine, after the handlers that make the metrics."""
        super().attach(engine, output_transform=lambda _: self._shown(engine), closing_event_name=Events.COMPLETED)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _shown(self, engine: Engine) -> dict[str, str]:
        state = engine.state
        shown = {"epoch": f"{state.epoch}/{state.max_epochs}"} if (state.max_epochs or 0) > 1 else {}
        names = [name for name in state.metrics if any(fnmatch(name, pattern) for pattern in self.metrics)]
        if not names and CommonKeys.LOSS in step_output(engine):
            # Before the first metrics there is the loss; asking for it waits for the step, which later ones do not.
            return {**shown, "loss": f"{step_output(engine)[CommonKeys.LOSS].item():.3f}"}
        return {**shown, **{name: f"{state.metrics[name]:.3f}" for name in names}}

    def _close(self, engine: Engine) -> None:
        if self.pbar is not None:
            self.pbar.set_postfix(self._shown(engine))
        super()._close(engine)

    def _fail(self, engine: Engine, error: BaseException) -> None:
        if self.pbar is not None:
            self.pbar.close()  # where it is: ignite would call it done
        raise error
