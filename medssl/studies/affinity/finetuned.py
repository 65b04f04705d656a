"""What fine-tuning from the kept backbones came to, from the runs that did it, and whether a guide foretold it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from medssl.errors import UserError
from medssl.networks import read_description
from medssl.runs import BACKBONE, BACKBONES, METRICS, Run, kept_file

from ..bundle_runs import BundleRun
from .kept_backbones import PretrainingRun

SPLIT = "test"
"""The split of the fine-tuned results; the guides are measured without it."""

Results = Mapping[tuple[str, int], float]
"""What a fine-tuning began with, see `PretrainingRun.start` → mAUROC after it."""


def finetuned_results(pretrainings: Sequence[PretrainingRun], finetunings: Sequence[Run]) -> Results:
    """The mAUROC on the test split of each kept backbone that was fine-tuned, the mean where several runs did it.

    Pre-trainings of one seed begin with the same random weights, so a fine-tuning from epoch 0 of one serves all.

    Args:
        pretrainings: the runs.
        finetunings: evaluated runs whose `pretrained` is one of these backbones, or the folder of one of them.

    Raises:
        UserError: when a fine-tuning began with something else, or was not evaluated on the test split.
    """
    starts = {path.resolve(): run.start(epoch) for run in pretrainings for epoch, path in run.kept.items()}
    for run in pretrainings:  # whose folder stands for its last backbone
        last = run.start(int(read_description(run.path / BACKBONE)["epochs"]))
        starts |= dict.fromkeys((run.path.resolve(), (run.path / BACKBONE).resolve()), last)
    found: dict[tuple[str, int], list[float]] = {}
    for folder in finetunings:
        start = starts.get(Path(folder.text("pretrained")).resolve())
        if start is None:
            begun = folder.text("pretrained") or "random weights of its own"
            raise UserError(
                f"{folder.path} began with {begun}, which no given pre-training kept. For a RandIni of the same seed "
                f"fine-tune from {BACKBONES}/{kept_file(0)} of a pre-training; give paths as seen from this folder."
            )
        value = folder.metrics.get("splits", {}).get(SPLIT, {}).get("mAUROC")
        if value is None:
            raise UserError(f"{folder.path / METRICS} has no mAUROC of the {SPLIT} split: evaluate the run on it.")
        found.setdefault(start, []).append(value)
    return {start: float(np.mean(values)) for start, values in found.items()}


def with_results(run: PretrainingRun, measured: pd.DataFrame, results: Results) -> pd.DataFrame:
    """What was measured of a run, with `finetuned_mAUROC` and its `finetuned_gain` over RandIni, NaN where unknown."""
    value = measured["epoch"].map(lambda epoch: results.get(run.start(epoch), np.nan))
    return measured.assign(finetuned_mAUROC=value, finetuned_gain=value - results.get(run.start(0), np.nan))


def missing_finetunings(results: Results, pretrainings: Sequence[PretrainingRun]) -> list[tuple[PretrainingRun, int]]:
    """Runs and epochs still to fine-tune from, to compare the guides: the last ones, and RandIni once for each seed."""
    missing: dict[tuple[str, int], tuple[PretrainingRun, int]] = {}
    for run in pretrainings:
        for epoch in (0, max(run.kept)):
            if run.start(epoch) not in results:
                missing.setdefault(run.start(epoch), (run, epoch))
    return list(missing.values())


def finetune_command(run: PretrainingRun, epoch: int, data: Path) -> str:
    """What a user types to fine-tune from a kept backbone: its seed and network, else the defaults."""
    output = run.path.with_name(f"finetune_{run.name}_epoch_{epoch:04d}")
    start = {"pretrained": run.kept[epoch], "seed": run.seed, "architecture": run.description["backbone"]}
    return BundleRun("finetune", {"data": data, "output_dir": output, **start}).command()


@dataclass(frozen=True)
class Agreement:
    """How well a guide agrees with the gains of fine-tuning.

    Attributes:
        points: kept epochs that were fine-tuned, RandIni left out.
        tau: Kendall's rank correlation: the share of pairs that both order alike minus the share they order otherwise;
            None with fewer than two points or without any order.
        p: the two-sided p-value of no association. It takes the points for independent, which epochs of one run
            are not; with three points it is at least 0.33, with four 0.083, so few tasks prove nothing.
        chosen: gain of the point that the guide ranks first.
        best: the largest gain, which the guide would ideally have chosen.
    """

    points: int
    tau: float | None = None
    p: float | None = None
    chosen: float | None = None
    best: float | None = None


def agreement(affinities: pd.DataFrame, guide: str) -> Agreement:
    """Does a guide of `GUIDES` order the pre-trainings as their fine-tuned gains do? Of a table from `run_affinity`."""
    values, gains = points(affinities, guide).to_numpy().T
    if not len(values):
        return Agreement(0)
    ordered = len(np.unique(values)) > 1 and len(np.unique(gains)) > 1
    tau, p = map(float, kendalltau(values, gains)) if ordered else (None, None)
    return Agreement(len(values), tau, p, float(gains[values.argmax()]), float(gains.max()))


def points(affinities: pd.DataFrame, guide: str) -> pd.DataFrame:
    """The guide's value and the gain, where both are known after epoch 0."""
    return affinities.loc[affinities["epoch"] > 0, [f"{guide}_affinity", "finetuned_gain"]].dropna()
