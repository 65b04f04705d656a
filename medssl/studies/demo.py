"""The main job in small, on phantoms: write images, prepare, pre-train, fine-tune on partial labels, compare.

The chests are those of three hospitals: one labels some of its images, one gives images without labels, and the third,
whose scanner is another, is seen by no training. The same bundles and commands serve real images; only the backbone
and the numbers below are chosen for a few minutes on two cores.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Console

from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.errors import UserError
from medssl.files import write_json
from medssl.phantoms import SCANNERS, Scanner, write_phantoms
from medssl.pretext import copies_of, named_tasks
from medssl.report import write_report
from medssl.report.page import Section, Text
from medssl.runs import BACKBONE, BACKBONE_DESCRIPTION, MODEL, predictions_file

from .bundle_runs import BundleRun, say
from .hospital_table import as_rows, hospital_table, judge, on_screen
from .pretraining_gain import PRETRAINED, RANDINI, Comparison


@dataclass(frozen=True)
class Hospital:
    """Phantoms of one hospital: how many, what they are for, and how they are taken."""

    name: str
    count: int
    role: Literal["labelled", "unlabelled", "unseen"] = "labelled"
    scanner: Scanner | None = None


@dataclass(frozen=True)
class Recipe:
    """What the demo does with one kind of phantom."""

    kind: Literal["chest", "head"]
    hospitals: Sequence[Hospital]
    size: tuple[int, ...]
    labelled_per_class: int
    task: str
    shared: dict[str, Any]
    pretrain: dict[str, Any]
    finetune: dict[str, Any]
    begun: dict[str, Any]


ARCHITECTURE = "resnet10_quarter"
"""Small, so that a few minutes suffice: ResNet-18 takes 13 to 19 times as long
(`benchmarks/results/fast_defaults_cpu.md`)."""
HOW_TO_READ = (
    "RandIni and the pre-trained network are each fine-tuned by the recipe that suits it: weights that know something "
    "are changed less. A hospital never seen had no image in any training, labelled or not. These are phantoms: drawn "
    "images, no clinical data."
)
NUMBERS = {"architecture": ARCHITECTURE, "workers": 0}

RECIPES = {
    "chest": Recipe(
        kind="chest",
        hospitals=(
            Hospital("north", 1400, "labelled", SCANNERS["north"]),
            Hospital("west", 3000, "unlabelled", SCANNERS["west"]),
            Hospital("south", 600, "unseen", SCANNERS["south"]),
        ),
        size=(64, 64),
        labelled_per_class=60,
        task="simclr",
        shared=NUMBERS,
        pretrain={"steps": 700, "batch_size": 64},
        finetune={"val_interval": 1000},
        begun={"head": "probe"},
    ),
    "head": Recipe(
        kind="head",
        hospitals=(Hospital("north", 600),),
        size=(32, 32, 16),
        labelled_per_class=40,
        task="rotation",
        shared={**NUMBERS, "batch_size": 16, "image_size": [32, 32, 16], "window": [-20.0, 120.0]},
        pretrain={"steps": 150},
        finetune={},
        begun={},
    ),
}


def run_demo(
    recipe: Recipe, output: Path, seeds: int = 2, task: str | None = None, first_seed: int = 0
) -> dict[str, Any]:
    """Run the demo and print what a user needs to go on.

    Args:
        recipe: one of `RECIPES`.
        output: folder for data, runs and results; what has ended there is not repeated.
        seeds: repetitions of all trainings.
        task: what the pre-training bundle takes for `tasks`, as text, instead of the recipe's: `rotation`,
            `rotation,mim` or `{rvrm: {disguise: 1.0}}`.
        first_seed: of the repetitions; that of the phantoms and of what is labelled, too.

    Returns:
        What `results.json` holds: `rows` (see `as_rows`), `minutes` of training, and what was done.

    Raises:
        UserError: for less than one seed, or tasks that there are not.
    """
    if seeds < 1:
        raise UserError(f"The demo needs at least one seed, got {seeds}.")
    console = Console(markup=False, emoji=False)  # a user's names may hold brackets
    tasks = _tasks(task or recipe.task)
    name = folder_name(tasks)
    shared = {"data": output / "data", **recipe.shared}
    comparison = Comparison(
        output / name,
        BundleRun("pretrain", {**shared, "tasks": tasks, **recipe.pretrain}),
        BundleRun("finetune", {**shared, **recipe.finetune}),
        range(first_seed, first_seed + seeds),
        recipe.begun,
    )
    _prepare(recipe, output, first_seed, console)
    comparison.run(lambda what, run: say(console, what, run))
    cells = judge(comparison)
    results = {
        "kind": recipe.kind,
        "task": name,
        "recipe": asdict(recipe),
        "images": cells[0].size,
        "minutes": round(comparison.minutes(), 1),
        "rows": as_rows(cells),
    }
    write_json(output / name / "results.json", results)
    table = hospital_table(cells)
    console.print(on_screen(table))
    first = comparison.seeds[0]
    runs = [*(comparison.finetune_run(first, arm) for arm in (RANDINI, PRETRAINED)), comparison.pretrain_run(first)]
    before = [Section("Is pre-training worth it?", [table, Text(HOW_TO_READ)])]
    page = write_report([run.folder for run in runs], output / name / "report", before)
    _say_where(console, comparison, page)
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


def _prepare(recipe: Recipe, output: Path, seed: int, console: Console) -> None:
    if (output / "data" / "datalist.json").exists():
        return
    sources = []
    for number, hospital in enumerate(recipe.hospitals):
        folder = output / "phantoms" / hospital.name
        labels = write_phantoms(
            folder,
            recipe.kind,
            hospital.count,
            seed,
            recipe.size,
            scanner=hospital.scanner,
            first_patient=10_000 * number,
        )
        sources.append(
            Source(
                images=folder / "images",
                csv=None if hospital.role == "unlabelled" else labels,
                name=hospital.name,
                split="test" if hospital.role == "unseen" else "",
            )
        )
    summary = prepare(
        sources,
        output / "data",
        spatial_dims=len(recipe.size),
        size=recipe.size,
        spacing=(-1, -1, -1),  # the voxels as the phantoms have them
        labelled_per_class=recipe.labelled_per_class,
        partial_test=False,
        seed=seed,
    )
    console.print(summary)


def _say_where(console: Console, comparison: Comparison, page: Path) -> None:
    first = comparison.seeds[0]
    pretrain, finetune = comparison.pretrain_run(first).folder, comparison.finetune_run(first, PRETRAINED).folder
    lines = [
        f"Pictures of the puzzles, losses, accuracies: tensorboard --logdir {comparison.output}",
        f"The pre-trained backbone: {pretrain / BACKBONE} ({BACKBONE_DESCRIPTION} beside it says how to reuse it)",
        f"A fine-tuned model: {finetune / MODEL}; its probabilities: {finetune / predictions_file('test')}",
        f"A page with this table, and on the runs of seed {first}, with curves and Grad-CAM: {page}",
        f"All figures: {comparison.output / 'results.json'}",
        "To go on with your own images: run the commands printed above with your own --data, and without "
        f"--architecture {ARCHITECTURE}, which is small to be quick (see README).",
    ]
    console.print("\n" + "\n".join(lines), soft_wrap=True)
