"""Runs killed at random moments and resumed: do they end like the undisturbed one, to the last bit?

`python benchmarks/kill_and_resume.py` pre-trains on small phantoms in 2D (three tasks in turn, two workers that load
images): once undisturbed, then `--kills 20` times, each killed (SIGKILL) at a random moment, every second one of them
while it writes a checkpoint, and gone on with from its last checkpoint. It writes `results/kill_and_resume.json` and
`.md` beside this file. The processes are forked from one that has imported everything, so a kill costs seconds.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
from environment import environment

from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.phantoms import write_phantoms
from medssl.studies import BundleRun

RESULTS = Path(__file__).parent / "results"
TASKS = {"tasks": "simclr,rotation,src", "schedule": "alternate"}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["medssl.studies", "medssl.evaluation", "torch._dynamo", "torch.utils.tensorboard"])
SUMMARY = ("last.pt", "backbone.pt", "metrics.json")


@dataclass(frozen=True)
class Pretraining:
    """The run that is killed, on phantoms in `folder`.

    Args:
        folder: of the data and the runs.
        images: phantoms; two thirds of them are trained on.
        epochs: of the run.
        workers: processes that load images.
        architecture: of the backbone; the larger, the longer it takes to write a checkpoint.
        writing: seconds after the beginning of a checkpoint within which a kill is to meet it.
    """

    folder: Path
    images: int = 24
    epochs: int = 3
    workers: int = 2
    architecture: str = "resnet18"
    writing: float = 0.15

    def prepare(self) -> None:
        """Draw and prepare the phantoms."""
        table = write_phantoms(self.folder / "phantoms", "chest", self.images, size=40, progress=False)
        sources = [Source(images=self.folder / "phantoms" / "images", csv=table)]
        prepare(sources, self.folder / "data", size=(32, 32), fractions=(0.66, 0.17, 0.17))

    def begin(self, name: str, resume: bool = False) -> ForkServerProcess:
        """The run, in a process of its own."""
        options = {
            **TASKS,
            "data": self.folder / "data",
            "output_dir": self.folder / name,
            "architecture": self.architecture,
            "epochs": self.epochs,
            "workers": self.workers,
            "batch_size": 4,
            "learning_rate": 0.001,
            "probe_every": 0,
            "resume": resume,
        }
        run = BundleRun("pretrain", options)
        process = CONTEXT.Process(target=_run_silently, args=(run, self.folder / "log.txt"), daemon=False)
        process.start()
        return process

    def end(self, name: str, resume: bool = False) -> dict[str, Any]:
        """What the run leaves behind, when nobody kills it.

        Raises:
            RuntimeError: when it fails.
        """
        process = self.begin(name, resume)
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{name} ended with {process.exitcode}: {(self.folder / 'log.txt').read_text()[-2000:]}")
        left = self.folder / name
        return {
            "last.pt": torch.load(left / "checkpoints" / "last.pt", weights_only=True),
            "backbone.pt": torch.load(left / "backbone.pt", weights_only=True),
            "metrics.json": json.loads((left / "metrics.json").read_text()),
        }


def _run_silently(run: BundleRun, log: Path) -> None:
    torch.set_num_threads(1)
    # Here the default is that of the process itself, by which a worker would take the time of all imports to begin.
    multiprocessing.set_start_method("fork", force=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    run.run()


def kill_anywhere(process: ForkServerProcess, folder: Path, moment: float) -> bool:
    """Kill after so many seconds; returns whether it was still running."""
    process.join(moment)
    running = process.exitcode is None
    process.kill()
    process.join()
    return running


def kill_in_checkpointing(process: ForkServerProcess, folder: Path, epoch: int, delay: float) -> bool:
    """Kill some seconds after the checkpoint of an epoch was begun, if it is still being written; returns whether.

    The process is halted first, so that what the folder shows is what the kill meets.
    """
    seen = 0
    while process.exitcode is None:
        if not _half_written(folder):
            time.sleep(0.0005)
            continue
        seen += 1
        if seen >= epoch:
            time.sleep(delay)
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
            if _half_written(folder):
                process.kill()
                process.join()
                return True
            os.kill(process.pid, signal.SIGCONT)
        while _half_written(folder) and process.exitcode is None:
            time.sleep(0.0005)
    return False


def _half_written(folder: Path) -> bool:
    checkpoints = folder / "checkpoints"
    # Its temporary file is there, see medssl.files.whole_file.
    return any(name.endswith(".last.pt") for name in (os.listdir(checkpoints) if checkpoints.exists() else []))


def kill_and_resume(pretraining: Pretraining, kills: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """One row for each kill: when it was, which epoch's checkpoint was left, and whether everything came out equal."""
    draw = random.Random(seed)
    pretraining.prepare()
    warm = CONTEXT.Process(target=os.getpid)  # or the imports would be counted
    warm.start()
    warm.join()
    started = time.perf_counter()
    undisturbed = pretraining.end("undisturbed")
    seconds = time.perf_counter() - started
    number = 0
    while number < kills:
        name, checkpointing = f"killed_{number}", number % 2 == 1
        folder = pretraining.folder / name
        process = pretraining.begin(name)
        epoch, delay, moment = (
            draw.randint(1, pretraining.epochs),
            draw.uniform(0, pretraining.writing),
            draw.uniform(0, seconds),
        )
        killed = (
            kill_in_checkpointing(process, folder, epoch, delay)
            if checkpointing
            else kill_anywhere(process, folder, moment)
        )
        if killed:
            last = folder / "checkpoints" / "last.pt"
            left = torch.load(last, weights_only=True, mmap=True)["epoch"] if last.exists() else 0
            found = pretraining.end(name, resume=True)
            equal = {part: same(undisturbed[part], found[part]) for part in SUMMARY}
            yield {"in checkpointing": checkpointing, "after epoch": left, "equal": equal}
            number += 1
        shutil.rmtree(folder, ignore_errors=True)


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal to the last bit."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def as_markdown(report: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    rows, run = report["runs"], report["run"]
    equal = sum(all(row["equal"].values()) for row in rows)
    lines = [
        "# Killed and resumed",
        "",
        f"{report['machine']}; {versions}. Pre-training in 2D with {TASKS} and {run['backbone']}, {run['images']} "
        f"phantoms of 32 × 32, {run['epochs']} epochs, {run['workers']} workers; {report['minutes']} minutes in all.",
        "",
        f"**{equal} of {len(rows)}** runs ended like the undisturbed one in every number of {', '.join(SUMMARY)} "
        "(weights, optimiser, step, metrics).",
        "",
        "| killed | last checkpoint of epoch | equal to the last bit |",
        "|---|---|---|",
    ]
    for row in rows:
        where = "while a checkpoint was written" if row["in checkpointing"] else "at a random moment"
        wrong = [part for part, good in row["equal"].items() if not good]
        lines.append(f"| {where} | {row['after epoch'] or 'none'} | {'no: ' + ', '.join(wrong) if wrong else 'yes'} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    started = time.perf_counter()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        pretraining = Pretraining(Path(folder))
        for row in kill_and_resume(pretraining, arguments.kills, arguments.seed):
            rows.append(row)
            print(len(rows), row, flush=True)
    run = {name: getattr(pretraining, name) for name in ("images", "epochs", "workers", "backbone")}
    minutes = round((time.perf_counter() - started) / 60, 1)
    report = {**environment(), "minutes": minutes, "run": run, "runs": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "kill_and_resume.json").write_text(json.dumps(report, indent=2) + "\n")
    (RESULTS / "kill_and_resume.md").write_text(as_markdown(report))


if __name__ == "__main__":
    main()
