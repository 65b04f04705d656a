"""The main job in small, on phantoms: write images, prepare, pre-train, fine-tune on partial labels, compare.

The same bundles and commands serve real images; only the backbone and the numbers below are chosen for a few minutes
on two cores.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Console

from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.errors import UserError
from medssl.files import write_json
from medssl.phantoms import write_phantoms
from medssl.pretext import copies_of, named_tasks
from medssl.report import write_report
from medssl.runs import BACKBONE, BACKBONE_DESCRIPTION, MODEL, predictions_file

from .bundle_runs import BundleRun, say
from .pretraining_gain import PRETRAINED, RANDINI, Comparison, comparison_table, summarise


@dataclass(frozen=True)
class Recipe:
    """What the demo does with one kind of phantom."""

    kind: Literal["chest", "head"]
    count: int
    size: tuple[int, ...]
    labelled_per_class: int
    task: str
    shared: dict[str, Any]
    pretrain: dict[str, Any]
    finetune: dict[str, Any]


ARCHITECTURE = "resnet10_quarter"
"""Small, so that a few minutes suffice: ResNet-18 takes 13 to 19 times as long
(`benchmarks/results/fast_defaults_cpu.md`)."""
NUMBERS = {"architecture": ARCHITECTURE, "learning_rate": 0.001, "workers": 0}

RECIPES = {
    "chest": Recipe(
        kind="chest",
        count=2400,
        size=(64, 64),
        labelled_per_class=60,
        task="{simclr: {temperature: 0.2}}",
        shared={**NUMBERS, "batch_size": 64},
        pretrain={"epochs": 12, "rate_schedule": "cosine"},
        finetune={"steps": 300, "rate_schedule": "cosine", "augmentation": 1.0, "keep": "last"},
    ),
    "head": Recipe(
        kind="head",
        count=600,
        size=(32, 32, 16),
        labelled_per_class=40,
        task="rotation",
        shared={**NUMBERS, "batch_size": 16, "image_size": [32, 32, 16], "window": [-20.0, 120.0]},
        pretrain={"epochs": 5},
        finetune={"epochs": 12},
    ),
}


def run_demo(recipe: Recipe, output: Path, seeds: int = 3, task: str | None = None) -> dict[str, Any]:
    """Run the demo and print what a user needs to go on.

    Args:
        recipe: one of `RECIPES`.
        output: folder for data, runs and results; what has ended there is not repeated.
        seeds: repetitions.
        task: what the pre-training bundle takes for `tasks`, as text, instead of the recipe's: `rotation`,
            `rotation,mim` or `{rvrm: {disguise: 1.0}}`.

    Returns:
        What `results.json` holds: `summary` (see `summarise`), `seeds` (the figures of each), `minutes` of training.

    Raises:
        UserError: for less than one seed, or tasks that there are not.
    """
    if seeds < 1:
        raise UserError(f"The demo needs at least one seed, got {seeds}.")
    started = time.perf_counter()
    console = Console(markup=False, emoji=False)  # a user's names may hold brackets
    tasks = _tasks(task or recipe.task)
    name = folder_name(tasks)
    shared = {"data": output / "data", **recipe.shared}
    comparison = Comparison(
        output / name,
        BundleRun("pretrain", {**shared, "tasks": tasks, **recipe.pretrain}),
        BundleRun("finetune", {**shared, **recipe.finetune}),
        range(seeds),
    )
    _prepare(recipe, output, console)
    figures = comparison.run(lambda what, run: say(console, what, run))
    rows = summarise(figures)
    results = {
        "kind": recipe.kind,
        "task": name,
        "recipe": asdict(recipe),
        "minutes": round(comparison.minutes(), 1),
        "summary": rows,
        "seeds": figures,
    }
    write_json(output / name / "results.json", results)
    title = f"\nRandIni against {name}, {recipe.labelled_per_class} labelled images a class, {seeds} seeds, mean ± SD"
    console.print(comparison_table(rows, title))
    runs = [*(comparison.finetune_run(0, arm) for arm in (RANDINI, PRETRAINED)), comparison.pretrain_run(0)]
    page = write_report([run.folder for run in runs], output / name / "report")
    _say_where(console, comparison, page)
    console.print(f"\nThat took {(time.perf_counter() - started) / 60:.1f} minutes.")
    return results


def _tasks(text: str) -> dict[str, Any]:
    """The tasks of a command's word."""
    try:
        tasks = named_tasks(yaml.safe_load(text) if text.lstrip().startswith("{") else text)
    except yaml.YAMLError as error:
        raise UserError(f"--task {text} is neither names nor names with values: {error}") from error
    copies_of(tasks)  # which says when there is none of that name
    return tasks


def folder_name(tasks: Mapping[str, Any]) -> str:
    """Names and values of the tasks, as a folder may be called."""
    words = (f"{name} {values or ''}".strip() for name, values in tasks.items())
    return "+".join(re.sub(r"[^\w.-]+", "_", each).strip("_") for each in words)


def _prepare(recipe: Recipe, output: Path, console: Console) -> None:
    if (output / "data" / "datalist.json").exists():
        return
    labels = write_phantoms(output / "phantoms", recipe.kind, recipe.count, size=recipe.size)
    summary = prepare(
        [Source(images=output / "phantoms" / "images", csv=labels)],
        output / "data",
        spatial_dims=len(recipe.size),
        size=recipe.size,
        spacing=(-1, -1, -1),  # the voxels as the phantoms have them
        labelled_per_class=recipe.labelled_per_class,
        partial_test=False,
    )
    console.print(summary)


def _say_where(console: Console, comparison: Comparison, page: Path) -> None:
    pretrain, finetune = comparison.pretrain_run(0).folder, comparison.finetune_run(0, PRETRAINED).folder
    lines = [
        f"Pictures of the puzzles, losses, accuracies: tensorboard --logdir {comparison.output}",
        f"The pre-trained backbone: {pretrain / BACKBONE} ({BACKBONE_DESCRIPTION} beside it says how to reuse it)",
        f"A fine-tuned model: {finetune / MODEL}; its probabilities: {finetune / predictions_file('test')}",
        f"A page on the runs of seed 0, with curves and Grad-CAM: {page}",
        f"All figures: {comparison.output / 'results.json'}",
        "To go on with your own images: run the commands printed above with your own --data, and without "
        f"--architecture {ARCHITECTURE}, which is small to be quick (see README).",
    ]
    console.print("\n" + "\n".join(lines), soft_wrap=True)
