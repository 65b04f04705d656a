"""The study behind `medssl affinity`."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console

from medssl.errors import UserError
from medssl.runs import Run

from .finetuned import finetune_command, finetuned_results, missing_finetunings, with_results
from .guides import Images, measure
from .kept_backbones import PretrainingRun
from .results import affinity_table, agreement_lines, write_results


def run_affinity(
    runs: Sequence[str | Path],
    data: str | Path,
    output: str | Path,
    split: str = "validation",
    batches: int = 8,
    workers: int = 0,
    device: str | torch.device | None = None,
) -> pd.DataFrame:
    """Measure proxy and gradient task affinity along pre-trainings, and hold them beside fine-tuned results.

    Writes `affinity.csv` and `affinity.png`, and prints the table, how well each guide agrees with what fine-tuning
    gained, and the commands for the fine-tunings that are missing. The guides are measured on the validation split, so
    that a choice by them leaves the test split untouched (the paper measures them on the test split); fine-tuned
    results are of the test split.

    Args:
        runs: folders of pre-trainings with kept backbones (`--keep_every`), and of evaluated fine-tunings that began
            with these, in any order. The configs of the pre-trainings are executed: give your own only.
        data: whose labelled training images the guides are fitted to: a prepared folder or a datalist.
        output: folder to write to.
        split: of the datalist, by which the linear layer is judged.
        batches: mini-batches that the gradient affinity is averaged over.
        workers: processes that load images.
        device: to compute on; the GPU where there is one.

    Returns:
        A row for each kept epoch of each pre-training, with the columns of `measure`, and `finetuned_mAUROC`: after
        fine-tuning from here, the mean over the runs that did; `finetuned_gain`: that minus RandIni's. NaN if unknown.

    Raises:
        UserError: when there is no pre-training among the runs, two have the same name, one kept no backbones, or a
            fine-tuning does not belong to any of them.
    """
    if batches < 2:
        raise UserError(f"The gradient affinity is a mean over at least 2 batches, not {batches}.")
    data, output, folders = Path(data), Path(output), [Run.read(path) for path in runs]
    pretrainings = [PretrainingRun(folder) for folder in folders if folder.is_pretraining]
    _check_names(pretrainings)
    results = finetuned_results(pretrainings, [folder for folder in folders if not folder.is_pretraining])
    images = Images.read(data, split)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    measured = (with_results(run, measure(run, images, device, batches, workers), results) for run in pretrainings)
    affinities = pd.concat(measured, ignore_index=True)
    write_results(output, affinities)
    _show(affinities, [finetune_command(*each, data) for each in missing_finetunings(results, pretrainings)])
    print(f"\nThe table: {output / 'affinity.csv'}, the picture: {output / 'affinity.png'}")
    return affinities


def _check_names(pretrainings: Sequence[PretrainingRun]) -> None:
    names = [run.name for run in pretrainings]
    if not names:
        raise UserError("There is no pre-training among the runs: give the output_dir of at least one.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"Two pre-trainings are called {twice[0]}: rename the folder of one, for the table names them.")


def _show(affinities: pd.DataFrame, commands: Sequence[str]) -> None:
    console = Console(markup=False, emoji=False)  # a user's names may hold brackets
    console.print(affinity_table(affinities))
    for line in agreement_lines(affinities):
        console.print(line, soft_wrap=True)
    if commands:
        console.print("\nTo compare the guides with fine-tuning, fine-tune, evaluate on test, and give these runs too:")
    for command in commands:
        console.print(f"  {command}", style="dim", soft_wrap=True)
