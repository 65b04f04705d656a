"""How far a long work is: what it will take, measured on its first steps, how much is left, and what it took.

It is said on stderr, by the first process of a distributed run: on a terminal a bar, which goes when the work ends, and
a line before and after; in a file a line now and then, for there each redrawing of a bar would stay. With
``MEDSSL_QUIET=1``, ``medssl COMMAND --quiet`` or ``--quiet True`` of a bundle nothing of it is said, and no bar of
MONAI's is shown; warnings, mistakes and results still are. Nothing random is drawn here.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack
from typing import Any, TypeVar

QUIET = "MEDSSL_QUIET"
"""The environment variable that asks for quiet; processes that a study starts inherit it."""
FIRST, MEASURED = 3, 20
"""Steps that are slower than others (caches, kernels), and those that the estimate is measured on after them."""
PATIENCE = 30.0
"""Seconds after which fewer of either will do."""
SHORT, LONG, DRAWN = 10.0, 600.0, 0.3
"""Seconds: between two lines in a file at least, or at most; between two drawings of a bar."""

Item = TypeVar("Item")


def is_quiet() -> bool:
    """Whether nothing but warnings, mistakes and results is to be said."""
    return os.environ.get(QUIET, "") not in ("", "0")


def be_quiet() -> None:
    """Say no more than that, from now on and in every process that this one starts."""
    os.environ[QUIET] = "1"


def is_shown() -> bool:
    """Whether progress is said here: not where it is quiet, and of a distributed run by the first process alone."""
    return not is_quiet() and os.environ.get("RANK", "0") == "0"


def shows_bars() -> bool:
    """Whether bars are drawn: where progress is said, on a terminal."""
    return is_shown() and sys.stderr.isatty()


def say(line: str) -> None:
    """A line on stderr, above the bars that are drawn there; nothing where it is quiet."""
    if shows_bars():
        from tqdm import tqdm  # not before it is needed: commands answer at once

        tqdm.write(line, file=sys.stderr)
    elif is_shown():
        print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words, with two or three digits: `42 seconds`, `10 minutes`, `3.2 hours`."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds)} seconds"


def _digits(value: float) -> str:
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _pace(seconds: float) -> str:
    """Of one step: how long it takes, or how many there are in a second."""
    if seconds >= 9.95:
        return duration(seconds)
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1 / max(seconds, 1e-9):.0f} a second"


class Progress:
    """The progress of one work; `advance` with every step, `close` at the end.

    Args:
        what: is being done, such as ``pre-training``.
        total: steps in all; None where nobody knows, and then nothing is estimated.
        units: what the steps are called, several of them.
        done: steps that an earlier process has done.
        between: what comes between the steps beside them, which the estimate does not know yet; "" for nothing.
    """

    def __init__(self, what: str, total: int | None, units: str = "steps", done: int = 0, between: str = "") -> None:
        self.what, self.total, self.units, self.between = what, total, units, between
        self.done = self._begun_with = done
        self._started = self._said = self._drawn = time.perf_counter()
        self._first: tuple[int, float] | None = None  # steps and time when the first ones had been done
        self._is_estimated = total is None
        self._tenth = self._tenths()
        self._bar: Any = None
        self._logs = ExitStack()
        if shows_bars():
            from tqdm import tqdm
            from tqdm.contrib.logging import logging_redirect_tqdm

            # What is logged stands above the bar, not in it.
            self._logs.enter_context(logging_redirect_tqdm([logging.getLogger(), logging.getLogger("medssl")]))
            self._bar = tqdm(
                total=total, initial=done, desc=what, unit=f" {units}", leave=False, miniters=1, mininterval=0,
                dynamic_ncols=True,
            )  # fmt: skip

    def advance(self, count: int = 1, figures: Callable[[], Sequence[str]] = list) -> None:
        """So many steps further.

        Args:
            count: of them.
            figures: gives what else there is to say, such as ``["epoch 3/10", "loss=0.31"]``; called only when
                something is said, for to know a loss is to wait for a device.
        """
        self.done += count
        now = time.perf_counter()
        if not self._is_estimated:
            self._estimate(now)
        if self._bar is not None:
            if now - self._drawn >= DRAWN:
                self._draw(now, figures())
        elif self._is_due(now):
            self._said, self._tenth = now, self._tenths()
            say(", ".join([f"{self.what}: {self._counted()}", *self._left(now), *figures()]))

    def close(self, figures: Sequence[str] = (), finished: bool = True) -> None:
        """Say what it took; a work of a few seconds without figures has nothing to say.

        Args:
            figures: that it ends with.
            finished: False for a work that something stopped.
        """
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._logs.close()
        took, steps = time.perf_counter() - self._started, self.done - self._begun_with
        if took < SHORT and not figures:
            return
        if finished:
            said = f"{self.what} took {duration(took)}"
            counted = f"{steps} {self.units} at {_pace(took / max(1, steps))}"
        else:
            said, counted = f"{self.what} was stopped after {duration(took)}", self._counted()
        say(", ".join([said, counted, *figures]))

    def _estimate(self, now: float) -> None:
        """What all of it will take, once enough steps were measured, where that is worth a line."""
        if self._first is None:
            if self.done - self._begun_with >= FIRST or now - self._started >= PATIENCE:
                self._first = self.done, now
            return
        steps, since = self.done - self._first[0], now - self._first[1]
        if steps < MEASURED and (now - self._started < PATIENCE or not steps):
            return
        self._is_estimated = True
        assert self.total is not None
        each, left = since / steps, self.total - self.done
        if each * left < SHORT:
            return
        self._said = now
        begun = f" ({self._begun_with} of {self.total} were done before)" if self._begun_with else ""
        more = f", and {self.between}" if self.between else ""
        whole = duration(each * (self.total - self._begun_with))
        say(f"{self.what}: {self.total - self._begun_with} {self.units}{begun} at {_pace(each)}: about {whole}{more}")

    def _is_due(self, now: float) -> bool:
        if not self._is_estimated:
            return False
        since = now - self._said
        return since >= LONG or (self._tenths() > self._tenth and since >= SHORT and self.done != self.total)

    def _draw(self, now: float, figures: Sequence[str]) -> None:
        self._drawn = now
        self._bar.set_postfix_str(", ".join(figures), refresh=False)
        self._bar.update(self.done - self._bar.n)

    def _tenths(self) -> int:
        return 10 * self.done // self.total if self.total else 0

    def _counted(self) -> str:
        return f"{self.done} of {self.total} {self.units}" if self.total else f"{self.done} {self.units}"

    def _left(self, now: float) -> list[str]:
        """By all that has passed, validations and the like too."""
        if not self.total:
            return []
        each = (now - self._started) / (self.done - self._begun_with)
        return [f"about {duration(each * max(0, self.total - self.done))} left"]


def watched(
    items: Iterable[Item], what: str, units: str = "images", total: int | None = None, show: bool = True
) -> Iterator[Item]:
    """The items, one after the other, with their progress.

    Args:
        items: each of them a step.
        what: is being done.
        units: what the items are, several of them.
        total: of them; None to ask `items` for its length, if it has one.
        show: False to say nothing.
    """
    if not (show and is_shown()):
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    progress, finished = Progress(what, total, units), False
    try:
        for item in items:
            yield item
            progress.advance()
        finished = True
    finally:
        progress.close(finished=finished)
