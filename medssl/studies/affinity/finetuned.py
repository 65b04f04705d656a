"""What fine-tuning from the kept backbones came to, from the runs that did it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medssl.errors import UserError
from medssl.networks import load_state_dict, read_description
from medssl.runs import BACKBONE, METRICS, Run

from ..bundle_runs import BundleRun
from .guides import Affinity
from .kept_backbones import PretrainingRun

SPLIT = "test"
"""The split of the fine-tuned results; the guides are measured without it."""

Results = Mapping[tuple[str, int], float]
"""Name and epoch of a pre-training → mAUROC after fine-tuning from there."""


def finetuned_results(pretrainings: Sequence[PretrainingRun], finetunings: Sequence[Run]) -> Results:
    """The mAUROC on the test split of each kept backbone that was fine-tuned, the mean where several runs did it.

    Pre-trainings of one seed begin with the same random weights, so a fine-tuning from epoch 0 of one serves all.

    Args:
        pretrainings: the runs.
        finetunings: evaluated runs whose `pretrained` is one of these backbones, or the folder of one of them.

    Raises:
        UserError: when a fine-tuning began with something else, or was not evaluated on the test split.
    """
    starts = {path.resolve(): (run.name, epoch) for run in pretrainings for epoch, path in run.kept.items()}
    for run in pretrainings:  # whose folder stands for its last backbone
        starts |= dict.fromkeys((run.path.resolve(), (run.path / BACKBONE).resolve()), (run.name, _last(run)))
    found: dict[tuple[str, int], list[float]] = {}
    for folder in finetunings:
        start = starts.get(Path(folder.text("pretrained")).resolve())
        if start is None:
            begun = folder.text("pretrained") or "random weights of its own"
            raise UserError(
                f"{folder.path} began with {begun}, which no given pre-training kept. For a RandIni of the same seed "
                "fine-tune from backbones/epoch_0000.pt of a pre-training; give paths as seen from this folder."
            )
        found.setdefault(start, []).append(_result(folder))
    randini = {run.name: _randini(run, pretrainings, found) for run in pretrainings}
    found |= {(name, 0): values for name, values in randini.items() if values}
    return {start: float(np.mean(values)) for start, values in found.items()}


def with_results(measured: Sequence[Affinity], results: Results) -> list[Affinity]:
    """The same, with what fine-tuning came to and what it gained over RandIni."""
    return [_completed(each, results.get((each.run, each.epoch)), results.get((each.run, 0))) for each in measured]


def missing_finetunings(results: Results, pretrainings: Sequence[PretrainingRun]) -> list[tuple[PretrainingRun, int]]:
    """Runs and epochs still to fine-tune from, to compare the guides: the last ones, and RandIni once for each seed."""
    missing: list[tuple[PretrainingRun, int]] = []
    for run in pretrainings:
        asked = any(not epoch and _same_weights(run, other) for other, epoch in missing)
        missing += [(run, 0)] if (run.name, 0) not in results and not asked else []
        missing += [(run, max(run.kept))] if (run.name, max(run.kept)) not in results else []
    return missing


def finetune_command(run: PretrainingRun, epoch: int, data: Path) -> str:
    """What a user types to fine-tune from a kept backbone: its seed and network, else the defaults."""
    output = run.path.with_name(f"finetune_{run.name}_epoch_{epoch:04d}")
    options = {"data": data, "output_dir": output, "pretrained": run.kept[epoch], "seed": run.seed}
    return BundleRun("finetune", {**options, "architecture": run.description["backbone"]}).command()


def _last(run: PretrainingRun) -> int:
    return int(read_description(run.path / BACKBONE)["epochs"])


def _result(folder: Run) -> float:
    value = folder.metrics.get("splits", {}).get(SPLIT, {}).get("mAUROC")
    if value is None:
        raise UserError(f"{folder.path / METRICS} has no mAUROC of the {SPLIT} split: evaluate the run on it.")
    return float(value)


def _randini(
    run: PretrainingRun, others: Sequence[PretrainingRun], found: Mapping[tuple[str, int], Sequence[float]]
) -> list[float]:
    """The results of the random weights that a run began with, whichever run's file of them was fine-tuned."""
    same = [other for other in others if (other.name, 0) in found and _same_weights(run, other)]
    return [value for other in same for value in found[other.name, 0]]


def _same_weights(run: PretrainingRun, other: PretrainingRun) -> bool:
    first, second = (load_state_dict(each.kept[0]) for each in (run, other))
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def _completed(affinity: Affinity, finetuned: float | None, randini: float | None) -> Affinity:
    gain = None if finetuned is None or randini is None else finetuned - randini
    return replace(affinity, finetuned=finetuned, gain=gain)
