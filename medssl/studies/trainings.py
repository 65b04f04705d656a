"""Trainings of a study: run once, one after the other or several side by side, and never again once they have ended."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import torch

from medssl.errors import UserError
from medssl.files import write_json
from medssl.progress import duration

from .bundle_runs import BundleRun

TETHERED = Path(__file__).with_name("tethered.py")

Announce = Callable[[str, BundleRun], None]
"""Is told what begins, and the run that does it."""


@dataclass(frozen=True)
class Training:
    """Runs of bundles that belong together, one after the other.

    One that was interrupted goes on from its last checkpoint, for its runs have the option `resume`.

    Args:
        what: what it does, for the screen.
        runs: the runs; the `output_dir` of the first is the folder of the training.
        mark: name of the file in that folder which says that all of them have ended.
    """

    what: str
    runs: Sequence[BundleRun]
    mark: str = "ended"

    @property
    def folder(self) -> Path:
        """Where it writes to."""
        return self.runs[0].folder

    @property
    def ended(self) -> bool:
        """Whether all of its runs have ended."""
        return (self.folder / self.mark).exists()

    @property
    def seconds(self) -> float:
        """What it took; of one that was interrupted, what it took to go on to the end."""
        return float(json.loads((self.folder / self.mark).read_text(encoding="utf-8"))["seconds"])


def run_trainings(chains: Sequence[Sequence[Training]], announce: Announce, parallel: int = 1) -> None:
    """Run what has not ended yet.

    Args:
        chains: trainings that need each other in this order; the chains do not need each other.
        announce: called with each run before it begins.
        parallel: chains that run at a time. More than one, and runs of several processes, get processes of their own,
            which end with this one; each writes what it has to say into `log.txt` in its folder, and has its share of
            the cores and of the GPUs.

    Raises:
        UserError: when a run in a process of its own failed, with what it said; the others are ended.
    """
    processes = max(run.processes for chain in chains for training in chain for run in training.runs)
    waiting = iter(chains)

    def work(run: Callable[[Training, BundleRun], None]) -> None:
        """Take one chain after the other of those that nobody has taken yet."""
        for training in (training for chain in waiting for training in chain if not training.ended):
            started = time.perf_counter()
            for each in training.runs:
                announce(training.what, each)
                run(training, each)
            write_json(training.folder / training.mark, {"seconds": round(time.perf_counter() - started, 1)})

    if parallel == processes == 1:
        work(lambda training, run: run.run())
        return
    # All processes read from one pipe, and end when its other end closes: with this block, or with this process.
    tether, hold = os.pipe()
    with open(tether) as end, ThreadPoolExecutor(parallel) as threads, open(hold, "w"):
        shares = [share_of_machine(place, parallel, processes) for place in range(parallel)]
        futures = [threads.submit(work, partial(_run_process, share=share, tether=end)) for share in shares]
        for future in as_completed(futures):
            future.result()


def how_far(kinds: Iterable[Sequence[Training]], parallel: int = 1) -> str:
    """How many trainings have ended, and how long the others may take, in words.

    Args:
        kinds: trainings that take about as long as each other; nothing is estimated while one of a kind is left of
            which none has ended.
        parallel: how many run at a time.
    """
    kinds = [list(kind) for kind in kinds]
    took = [[training.seconds for training in kind if training.ended] for kind in kinds]
    said = f"{sum(map(len, took))} of {sum(map(len, kinds))} trainings done"
    left = [(len(kind) - len(seconds), seconds) for kind, seconds in zip(kinds, took, strict=True)]
    if not all(seconds for count, seconds in left if count):
        return said
    seconds = sum(count * sum(seconds) / len(seconds) for count, seconds in left if count)
    return f"{said}, about {duration(seconds / parallel)} left"


def share_of_machine(place: int, parallel: int, processes: int) -> dict[str, str]:
    """Environment variables that leave each of `parallel` runs of some `processes` its share of cores and GPUs."""
    share = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // (parallel * processes)))}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(gpu) for gpu in range(torch.cuda.device_count())]
    if processes <= len(gpus):
        share["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[(place * processes + n) % len(gpus)] for n in range(processes))
    return share


def _run_process(training: Training, run: BundleRun, share: Mapping[str, str], tether: IO[str]) -> None:
    log = training.folder / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = log.stat().st_size if log.exists() else 0
    command = [sys.executable, str(TETHERED), *run.words(lambda path: str(path.absolute()))]
    with log.open("a") as output:
        code = subprocess.call(command, stdin=tether, stdout=output, stderr=output, env={**os.environ, **share})
    if code:
        raise UserError(f"{training.what} failed: {_complaint(log, begin, code)} See {log}.")


def _complaint(log: Path, begin: int, code: int) -> str:
    """What a failed process said last: our own sentence, or else its last line."""
    lines = log.read_bytes()[begin:].decode("utf-8", "replace").splitlines()
    said = [line for line in lines if line.strip()]
    ours = [line.removeprefix("medssl: ") for line in said if line.startswith("medssl: ")]
    return ours[-1] if ours else f"exit code {code}" + (f", {said[-1].strip()}." if said else ".")
