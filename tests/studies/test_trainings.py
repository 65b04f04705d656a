"""Trainings side by side, with quick modules in place of bundles."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from medssl.progress import duration
from medssl.studies import BundleRun
from medssl.studies.trainings import TETHERED, Training, how_far, run_trainings, share_of_machine

MODULE = """
import os, sys, time
folder, seconds, complaint = sys.argv[1:]
with open(os.path.join(folder, "times.txt"), "a") as file:
    print(time.time(), os.environ["OMP_NUM_THREADS"], file=file)
    file.flush()
    time.sleep(float(seconds))
    if complaint:
        sys.exit("Traceback\\n" + complaint)
    print(time.time(), file=file)
"""


@dataclass(frozen=True)
class QuickRun(BundleRun):
    """Waits, notes when, and may fail."""

    seconds: float = 0.3
    complaint: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def words(self, show: Callable[[Path], str] = str) -> list[str]:
        return ["quick_module", show(self.options["output_dir"]), str(self.seconds), self.complaint]


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Training]:
    (tmp_path / "quick_module.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda name, **values: Training(name, [QuickRun("quick", options={"output_dir": tmp_path / name}, **values)])


def times(training: Training) -> list[float]:
    return [float(line.split()[0]) for line in (training.folder / "times.txt").read_text().splitlines()]


def test_chains_run_side_by_side_each_in_its_order_and_nothing_twice(training: Callable[..., Training]) -> None:
    chains = [[training(f"{chain}{step}") for step in range(2)] for chain in "abc"]
    announced: list[str] = []
    run_trainings(chains, lambda what, run: announced.append(what), parallel=2)
    assert sorted(announced) == ["a0", "a1", "b0", "b1", "c0", "c1"]
    for first, second in chains:
        assert times(first)[1] < times(second)[0]
        assert first.ended
        assert 0.3 <= first.seconds < 10
    moments = [(times(one)[0], 1) for chain in chains for one in chain]
    moments += [(times(one)[1], -1) for chain in chains for one in chain]
    going = [sum(change for other, change in moments if other <= moment) for moment, _ in moments]
    assert max(going) == 2
    run_trainings(chains, lambda what, run: announced.append(what), parallel=2)
    assert len(announced) == 6


def test_a_failure_is_told_in_its_own_words_and_ends_the_others(training: Callable[..., Training]) -> None:
    slow = training("slow", seconds=60)
    wrong = training("wrong", complaint="medssl: There is no datalist.")
    begun = time.perf_counter()
    with pytest.raises(ValueError, match=r"wrong failed: There is no datalist\. See .*log\.txt"):
        run_trainings([[slow], [wrong]], lambda what, run: None, parallel=2)
    assert time.perf_counter() - begun < 30
    assert not slow.ended
    assert not wrong.ended
    with pytest.raises(ValueError, match=r"odd failed: exit code 1, ZeroDivisionError\."):
        run_trainings([[training("odd", complaint="ZeroDivisionError")]], lambda what, run: None, parallel=2)


def test_an_interruption_ends_every_process_and_begins_no_other(training: Callable[..., Training]) -> None:
    chains = [[training(name, seconds=60)] for name in "abc"]
    begun = time.perf_counter()

    def interrupt() -> None:
        while not all((chain[0].folder / "times.txt").exists() for chain in chains[:2]):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_trainings(chains, lambda what, run: None, parallel=2)
    assert time.perf_counter() - begun < 30
    assert [chain[0].folder.exists() for chain in chains] == [True, True, False]
    assert not any(chain[0].ended for chain in chains)


def test_a_process_ends_with_the_one_that_started_it(training: Callable[..., Training]) -> None:
    run = training("orphan", seconds=60).runs[0]
    run.options["output_dir"].mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, TETHERED, *run.words()], stdin=subprocess.PIPE, env=environment)
    while not (run.options["output_dir"] / "times.txt").exists():
        time.sleep(0.01)
        assert process.poll() is None
    assert process.stdin is not None
    process.stdin.close()  # what the system does when the other process is gone
    assert process.wait(timeout=20) == -signal.SIGTERM


def test_cores_and_gpus_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert share_of_machine(1, parallel=2, processes=2) == {"OMP_NUM_THREADS": "2"}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    gpus = [share_of_machine(slot, parallel=2, processes=2)["CUDA_VISIBLE_DEVICES"] for slot in range(2)]
    assert gpus == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    shares = [share_of_machine(slot, parallel=16, processes=1) for slot in range(3)]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["5", "7", "5"]
    assert shares[0]["OMP_NUM_THREADS"] == "1"


def test_what_is_left_is_estimated_for_each_kind_by_those_that_ended(training: Callable[..., Training]) -> None:
    kinds = [[training(f"{kind}{number}") for number in range(4)] for kind in ("long", "short")]
    assert "0 of 8" in how_far(kinds)
    for name, seconds in {"long0": 500, "long1": 700, "short0": 60}.items():
        folder = training(name).folder
        folder.mkdir()
        (folder / "ended").write_text(json.dumps({"seconds": seconds}))
        assert ("left" in how_far(kinds)) == (name == "short0")  # of each kind one is known
    assert "3 of 8" in how_far(kinds)
    assert duration(2 * 600 + 3 * 60) in how_far(kinds)
    assert duration((2 * 600 + 3 * 60) / 2) in how_far(kinds, parallel=2)
