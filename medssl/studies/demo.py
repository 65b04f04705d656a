"""The main job in small, on phantoms: write images, prepare, pre-train, fine-tune on partial labels, compare.

The same bundles and commands serve real images; only the backbone and the numbers below are chosen for a few minutes
on two cores.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.errors import UserError
from medssl.files import write_json
from medssl.phantoms import write_phantoms
from medssl.report import write_report

from .bundle_runs import BundleRun, mix_in
from .comparison import PRETRAINED, RANDINI, Comparison, comparison_table, say, summarise


@dataclass(frozen=True)
class Recipe:
    """What the demo does with one kind of phantom."""

    kind: Literal["chest", "head"]
    bundle: str
    count: int
    size: tuple[int, ...]
    labelled_per_class: int
    task: str
    pretrain: dict[str, object]
    finetune: dict[str, object]

    @property
    def spatial_dims(self) -> int:
        """2 for radiographs, 3 for volumes."""
        return len(self.size)


BACKBONE = "resnet10_quarter"
"""Small, so that a few minutes suffice: ResNet-18 takes 13 to 19 times as long
(``benchmarks/results/fast_defaults_cpu.md``)."""
BRAIN = {"window": [-20.0, 120.0]}
"""The brain window."""

RECIPES = {
    "chest": Recipe(
        kind="chest",
        bundle="cxr",
        count=2400,
        size=(64, 64),
        labelled_per_class=60,
        task="sc_assl",
        pretrain={"epochs": 6, "batch_size": 64, "learning_rate": 0.001},
        finetune={"epochs": 10, "batch_size": 64, "learning_rate": 0.001},
    ),
    "head": Recipe(
        kind="head",
        bundle="ct",
        count=600,
        size=(32, 32, 16),
        labelled_per_class=40,
        task="rotation",
        pretrain={"epochs": 5, "batch_size": 16, "learning_rate": 0.001, **BRAIN},
        finetune={"epochs": 12, "batch_size": 16, "learning_rate": 0.001, **BRAIN},
    ),
}


def run_demo(recipe: Recipe, output: Path, seeds: int = 3, task: str | None = None) -> dict[str, Any]:
    """Run the demo and print what a user needs to go on.

    Args:
        recipe: one of ``RECIPES``.
        output: folder for data, runs and results; what has ended there is not repeated.
        seeds: repetitions.
        task: a mix-in of ``configs/pretext`` instead of the recipe's.

    Returns:
        What ``results.json`` holds: ``summary`` (see :func:`summarise`), ``seeds`` (the figures of each), ``minutes``
        of training.

    Raises:
        UserError: for less than one seed, or a task that has no mix-in.
    """
    started = time.perf_counter()
    console = Console(markup=False, emoji=False)  # a user's names may hold brackets
    task = task or recipe.task
    _check(task, seeds)
    datalist = _prepare(recipe, output, console)
    shared: dict[str, Any] = {"datalist": datalist, "workers": 0}
    if recipe.spatial_dims == 3:
        shared["image_size"] = list(recipe.size)
    comparison = Comparison(
        output / task,
        BundleRun(
            f"{recipe.bundle}_pretrain",
            ("train",),
            (f"pretext/{task}", f"backbones/{BACKBONE}"),
            {**shared, **recipe.pretrain},
        ),
        BundleRun(
            f"{recipe.bundle}_finetune",
            ("train",),
            (f"backbones/{BACKBONE}",),
            {**shared, **recipe.finetune},
        ),
        range(seeds),
    )
    figures = comparison.run(lambda what, run: say(console, what, run))
    rows = summarise(figures)
    results = {
        "kind": recipe.kind,
        "task": task,
        "recipe": asdict(recipe),
        "minutes": round(comparison.minutes(), 1),
        "summary": rows,
        "seeds": figures,
    }
    write_json(output / task / "results.json", results)
    title = f"\nRandIni against {task}, {recipe.labelled_per_class} labelled images a class, {seeds} seeds, mean ± SD"
    console.print(comparison_table(rows, title))
    runs = [comparison.finetune_runs(0, arm)[0] for arm in (RANDINI, PRETRAINED)]
    folders = [run.options["output_dir"] for run in (*runs, comparison.pretrain_run(0))]
    page = write_report(folders, output / task / "report")
    _say_where(console, comparison, page)
    console.print(f"\nThat took {(time.perf_counter() - started) / 60:.1f} minutes.")
    return results


def _check(task: str, seeds: int) -> None:
    if seeds < 1:
        raise UserError(f"The demo needs at least one seed, got {seeds}.")
    file = mix_in(f"pretext/{task}")
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in file.parent.glob("*.yaml")))
        raise UserError(f"There is no task {task!r}. There are {known}.")


def _prepare(recipe: Recipe, output: Path, console: Console) -> Path:
    data = output / "data"
    datalist = data / "datalist.json"
    if not datalist.exists():
        size = recipe.size[0] if recipe.spatial_dims == 2 else recipe.size
        labels = write_phantoms(output / "phantoms", recipe.kind, recipe.count, size=size)
        summary = prepare(
            [Source(images=output / "phantoms" / "images", csv=labels)],
            data,
            spatial_dims=recipe.spatial_dims,
            size=recipe.size,
            spacing=(-1, -1, -1),  # the voxels as the phantoms have them
            labelled_per_class=recipe.labelled_per_class,
            partial_test=False,
        )
        console.print(summary)
    return datalist


def _say_where(console: Console, comparison: Comparison, page: Path) -> None:
    pretrain = comparison.pretrain_run(0).options["output_dir"]
    finetune = comparison.finetune_runs(0, PRETRAINED)[0].options["output_dir"]
    lines = [
        f"Pictures of the puzzles, losses, accuracies: tensorboard --logdir {comparison.output}",
        f"The pre-trained backbone: {pretrain / 'backbone.pt'} (backbone.json beside it says how to reuse it)",
        f"A fine-tuned model: {finetune / 'model.pt'}; its probabilities: {finetune / 'predictions_test.csv'}",
        f"A page on the runs of seed 0, with curves and Grad-CAM: {page}",
        f"All figures: {comparison.output / 'results.json'}",
        "To go on with your own images: run the commands printed above with your own --datalist, and without "
        f"configs/backbones/{BACKBONE}.yaml, which is small to be quick (see README).",
    ]
    console.print("\n" + "\n".join(lines), soft_wrap=True)
