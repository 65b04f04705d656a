"""Does pre-training help? RandIni against pre-trained, fine-tuned alike, over several seeds."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medssl.files import write_json

from .bundle_runs import BundleRun

RANDINI = "RandIni"
PRETRAINED = "pre-trained"


@dataclass(frozen=True)
class Comparison:
    """A study that repeats pre-training, fine-tuning and evaluation for each seed.

    Both arms of a seed start from the same random weights (Dong et al. 2024, Sec. 5.1.2) and see the same batches; the
    one is pre-trained before it is fine-tuned, the other is not. Runs that have ended are not repeated, and one that
    was interrupted goes on from its last checkpoint.

    Args:
        output: folder of the runs.
        pretrain: the pre-training, without ``seed`` and ``output_dir``.
        finetune: the fine-tuning, likewise, without ``pretrained``.
        seeds: one repetition each.
    """

    output: Path
    pretrain: BundleRun
    finetune: BundleRun
    seeds: Sequence[int] = (0, 1, 2)

    def run(self, announce: Callable[[str, BundleRun], None]) -> dict[str, list[dict[str, Any]]]:
        """Run what has not ended yet.

        Args:
            announce: called with what comes next, before it runs.

        Returns:
            For each arm the test figures of every seed (``mAUROC``, ``per_class``, …).
        """
        figures: dict[str, list[dict[str, Any]]] = {RANDINI: [], PRETRAINED: []}
        for seed in self.seeds:
            pretrain = self.pretrain_run(seed)
            if not _ended(pretrain):
                announce(f"Pre-training, seed {seed}", pretrain)
                _run_to_the_end(pretrain)
            for arm in figures:
                finetune, evaluate = self.finetune_runs(seed, arm)
                if not _ended(finetune):
                    announce(f"Fine-tuning {arm}, seed {seed}", finetune)
                    announce(f"Evaluating {arm}, seed {seed}", evaluate)
                    _run_to_the_end(finetune, evaluate)
                metrics = json.loads((finetune.options["output_dir"] / "metrics.json").read_text(encoding="utf-8"))
                figures[arm].append(metrics["splits"]["test"])
        return figures

    def minutes(self) -> float:
        """What all runs took together, whenever they ran."""
        runs = [self.pretrain_run(seed) for seed in self.seeds]
        runs += [self.finetune_runs(seed, arm)[0] for seed in self.seeds for arm in (RANDINI, PRETRAINED)]
        return sum(json.loads((run.options["output_dir"] / "ended").read_text())["seconds"] for run in runs) / 60

    def pretrain_run(self, seed: int) -> BundleRun:
        """The pre-training of a seed."""
        return _with(self.pretrain, seed=seed, resume=True, output_dir=self.output / f"pretrain_seed{seed}")

    def finetune_runs(self, seed: int, arm: str) -> tuple[BundleRun, BundleRun]:
        """Fine-tuning and evaluation of one arm of a seed."""
        name = arm.lower().replace("-", "")
        options: dict[str, Any] = {
            "seed": seed,
            "resume": True,
            "output_dir": self.output / f"finetune_{name}_seed{seed}",
        }
        if arm == PRETRAINED:
            options["pretrained"] = self.pretrain_run(seed).options["output_dir"] / "backbone.pt"
        finetune = _with(self.finetune, **options)
        evaluate = BundleRun(finetune.bundle, ("train", "evaluate"), finetune.mix_ins, finetune.options)
        return finetune, evaluate


def _with(run: BundleRun, **options: Any) -> BundleRun:
    return BundleRun(run.bundle, run.configs, run.mix_ins, {**run.options, **options})


def _ended(run: BundleRun) -> bool:
    return (run.options["output_dir"] / "ended").exists()


def _run_to_the_end(run: BundleRun, *more: BundleRun) -> None:
    started = time.perf_counter()
    for each in (run, *more):
        each.run()
    write_json(run.options["output_dir"] / "ended", {"seconds": round(time.perf_counter() - started, 1)})


def summarise(figures: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds, for the mean and each class.

    Args:
        figures: as :meth:`Comparison.run` returns them.

    Returns:
        Rows with ``name``, then ``RandIni``, ``pre-trained`` and ``difference`` (paired by seed), each a list of mean
        and standard deviation (n − 1; None of a single seed), None where a class is undefined.
    """
    classes = list(figures[RANDINI][0]["per_class"])
    rows = []
    for name in ["mAUROC", *classes]:
        values = {arm: np.array([_value(run, name) for run in runs], dtype=float) for arm, runs in figures.items()}
        values["difference"] = values[PRETRAINED] - values[RANDINI]
        rows.append({"name": name, **{column: _mean_and_deviation(value) for column, value in values.items()}})
    return rows


def _value(run: Mapping[str, Any], name: str) -> float | None:
    return run["mAUROC"] if name == "mAUROC" else run["per_class"][name]


def _mean_and_deviation(values: np.ndarray) -> list[float | None] | None:
    if np.isnan(values).any():
        return None
    return [float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None]


def comparison_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """The summary as a table for the screen."""
    table = Table(title=title, title_justify="left")
    table.add_column("AUROC on the test split")
    for column in (RANDINI, PRETRAINED, "difference"):
        table.add_column(column, justify="right")
    for row in rows:
        style = "bold" if row["name"] == "mAUROC" else None
        table.add_row(
            row["name"],
            *(format_cell(row[column], column) for column in (RANDINI, PRETRAINED, "difference")),
            style=style,
        )
    return table


def format_cell(value: Sequence[float | None] | None, column: str) -> str:
    """A cell of the summary: mean ± standard deviation, the mean alone of a single seed, or ``undefined``."""
    if value is None:
        return "undefined"
    sign = "+" if column == "difference" else ""
    mean, deviation = value
    return f"{mean:{sign}.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def say(console: Console, what: str, run: BundleRun) -> None:
    """Print what comes next and the command that does it."""
    console.print(f"\n[bold]{what}[/bold]")
    console.print(f"  [dim]{escape(run.command())}[/dim]", soft_wrap=True)
