"""Does pre-training help? RandIni against pre-trained, fine-tuned alike, over several seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from medssl.runs import BACKBONE

from .bundle_runs import BundleRun
from .trainings import Announce, Training, run_trainings

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
        pretrain: the pre-training, without `seed` and `output_dir`.
        finetune: the fine-tuning, likewise, without `pretrained`.
        seeds: one repetition each.
    """

    output: Path
    pretrain: BundleRun
    finetune: BundleRun
    seeds: Sequence[int] = (0, 1, 2)

    def run(self, announce: Announce) -> dict[str, list[dict[str, Any]]]:
        """Run what has not ended yet.

        Args:
            announce: called with what comes next, before it runs.

        Returns:
            For each arm the test figures of every seed (`mAUROC`, `per_class`, …).
        """
        figures: dict[str, list[dict[str, Any]]] = {RANDINI: [], PRETRAINED: []}
        for seed in self.seeds:
            run_trainings([self.trainings(seed)], announce)
            for arm in figures:
                figures[arm].append(self.finetune_run(seed, arm).figures("test"))
        return figures

    def trainings(self, seed: int) -> list[Training]:
        """The trainings of a seed: pre-training, then each arm's fine-tuning with its evaluation."""
        trainings = [Training(f"Pre-training, seed {seed}", [self.pretrain_run(seed)])]
        for arm in (RANDINI, PRETRAINED):
            run = self.finetune_run(seed, arm)
            trainings.append(Training(f"Fine-tuning and evaluating {arm}, seed {seed}", [run, run.evaluation()]))
        return trainings

    def minutes(self) -> float:
        """What all runs took together, whenever they ran."""
        return sum(training.seconds for seed in self.seeds for training in self.trainings(seed)) / 60

    def pretrain_run(self, seed: int) -> BundleRun:
        """The pre-training of a seed."""
        return self.pretrain.with_options(seed=seed, resume=True, output_dir=self.output / f"pretrain_seed{seed}")

    def finetune_run(self, seed: int, arm: str) -> BundleRun:
        """The fine-tuning of one arm of a seed."""
        folder = self.output / f"finetune_{arm.lower().replace('-', '')}_seed{seed}"
        run = self.finetune.with_options(seed=seed, resume=True, output_dir=folder)
        return run.with_options(pretrained=self.pretrain_run(seed).folder / BACKBONE) if arm == PRETRAINED else run


def summarise(figures: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds, for the mean and each class.

    Args:
        figures: as `Comparison.run` returns them.

    Returns:
        Rows with `name`, then `RandIni`, `pre-trained` and `difference` (paired by seed), each a list of mean
        and standard deviation (n − 1; None of a single seed), None where a class is undefined.
    """
    values = {arm: [{"mAUROC": run["mAUROC"], **run["per_class"]} for run in runs] for arm, runs in figures.items()}
    columns = {arm: pd.DataFrame(runs, dtype=float) for arm, runs in values.items()}
    columns["difference"] = columns[PRETRAINED] - columns[RANDINI]
    return [
        {"name": name, **{column: _mean_and_deviation(table[name].to_numpy()) for column, table in columns.items()}}
        for name in columns[RANDINI]
    ]


def _mean_and_deviation(values: np.ndarray) -> list[float | None] | None:
    if np.isnan(values).any():
        return None
    return [float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None]


def comparison_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """The summary as a table for the screen."""
    columns = (RANDINI, PRETRAINED, "difference")
    table = Table("AUROC on the test split", title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        cells = [format_cell(row[column], column) for column in columns]
        table.add_row(row["name"], *cells, style="bold" if row["name"] == "mAUROC" else None)
    return table


def format_cell(value: Sequence[float | None] | None, column: str) -> str:
    """A cell of the summary: mean ± standard deviation, the mean alone of a single seed, or `undefined`."""
    if value is None:
        return "undefined"
    sign = "+" if column == "difference" else ""
    mean, deviation = value
    return f"{mean:{sign}.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")
