"""What is said of a long work: an estimate from its first steps, a line now and then, what it took, or nothing."""

import io
import re
import sys
from pathlib import Path

import pytest

from medssl import progress
from medssl.commands import main
from medssl.progress import Progress, duration, is_quiet, say, shows_bars, watched


class Clock:
    """In the place of `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setenv(progress.QUIET, "0")  # which is undone afterwards, whatever a test sets it to
    return clock


def work(clock: Clock, steps: int, seconds: float, done: int = 0, slow: int = 10) -> None:
    """A work of so many steps, whose first ones take longer."""
    shown = Progress("training", steps, "steps", done, "validations")
    for number in range(done, steps):
        clock.now += seconds * (slow if number - done < 3 else 1)
        shown.advance(1, lambda: ["loss=0.5"])
    shown.close(["loss=0.25"])


def numbers(line: str) -> list[float]:
    return [float(text) for text in re.findall(r"\d+(?:\.\d+)?", line)]


@pytest.mark.parametrize("done", [0, 1000])
def test_a_file_has_an_estimate_a_line_a_tenth_and_what_it_took(
    clock: Clock, capsys: pytest.CaptureFixture, done: int
) -> None:
    work(clock, done + 2000, 0.3, done)
    first, *between, last = capsys.readouterr().err.splitlines()
    assert "validations" in first
    assert {2000, 0.3, 10} <= set(numbers(first))  # steps of this process, at 0.3 s, 600 s
    assert (done in numbers(first)) or not done
    assert len(between) == (9 if not done else 6)  # tenths of all steps
    assert all("loss=0.5" in line and "left" in line for line in between)
    # Half of the time lies ahead in the middle, but for the slow first steps.
    middle = next(line for line in between if f" {done + 1100 if done else 1000} of" in line)
    assert "minutes left" in middle
    assert numbers(middle)[2] == pytest.approx((900 if done else 1000) * 0.3 / 60, rel=0.05)
    assert "loss=0.25" in last
    assert numbers(last)[:2] == [10, 2000]


def test_slow_steps_are_estimated_early_and_lines_come_every_ten_minutes(
    clock: Clock, capsys: pytest.CaptureFixture
) -> None:
    work(clock, 300, 60, slow=1)
    first, *between, _ = capsys.readouterr().err.splitlines()
    assert "at 60 seconds" in first
    assert "5.0 hours" in first
    assert len(between) in (29, 30)


def test_a_short_work_says_what_it_took_with_figures_and_nothing_without(
    clock: Clock, capsys: pytest.CaptureFixture
) -> None:
    work(clock, 40, 0.01)
    assert list(watched(range(5), "counting")) == [0, 1, 2, 3, 4]
    (line,) = capsys.readouterr().err.splitlines()
    assert "loss=0.25" in line


def test_a_work_that_is_left_says_where_it_stopped(clock: Clock, capsys: pytest.CaptureFixture) -> None:
    items = watched(range(1000), "drawing")
    for number in items:
        clock.now += 1
        if number == 20:
            items.close()
    last = capsys.readouterr().err.splitlines()[-1]
    assert "stopped" in last
    assert numbers(last) == [21, 20, 1000]


def test_quiet_is_asked_for_once_and_other_processes_are_always(
    clock: Clock, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert shows_bars()
    with monkeypatch.context() as second:
        second.setenv("RANK", "1")
        assert not shows_bars()
        work(clock, 2000, 0.3)
    assert main(["bundles", "--to", str(tmp_path), "--quiet"]) == 0
    assert "files written" in capsys.readouterr().out  # a result
    assert is_quiet()
    assert not shows_bars()
    say("a line")
    work(clock, 2000, 0.3)
    assert list(watched(range(3), "counting")) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""


def test_a_terminal_has_a_bar_which_goes_and_logs_stand_above_it(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = Progress("training", 100, "steps")
    for _ in range(50):
        clock.now += 1
        shown.advance(1, lambda: ["loss=0.5"])
    say("something happened")
    assert "loss=0.5" in sys.stderr.getvalue()
    assert "50/100" in sys.stderr.getvalue()
    shown.close(["loss=0.25"])
    lines = [line.rpartition("\r")[2] for line in sys.stderr.getvalue().strip().split("\n")]
    assert len(lines) == 3  # the estimate, what happened, what it took: of the bar nothing is left
    assert lines[1] == "something happened"
    assert "loss=0.25" in lines[2]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.42, "0.4 seconds"), (42, "42 seconds"), (100, "1.7 minutes"), (3600, "60 minutes"), (6 * 3600, "6.0 hours")],
)
def test_durations_have_two_digits(seconds: float, words: str) -> None:
    assert duration(seconds) == words
