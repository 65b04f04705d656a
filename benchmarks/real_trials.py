"""Arms held against each other on real radiographs: jobs for several processes, and their rows in one CSV.

A job is a trial (split, seed), an arm (random weights, pixels, or a pre-training) and what is done with it. A row says
what an AUROC was measured for: `architecture, side, trial, arm, question, n, draw, recipe, split, auroc`.
"""

import argparse
import csv
import os
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import arms
import numpy as np
import torch
from arms import Pretraining, Recipe
from radiographs import Images, Trial, deal_patches, deal_radiographs, read, read_patches

from medssl.evaluation.partial_metrics import mean_of_defined, partial_auroc

DATA = Path(__file__).parents[2] / "shared" / "data"
COLUMNS = ("architecture", "side", "trial", "arm", "question", "n", "draw", "recipe", "split", "auroc")
RANDOM, PIXELS = "random", "pixels"


@dataclass(frozen=True)
class Job:
    """What one process does in one go.

    Args:
        trial: seed of split, pre-training, draw of the labels and fine-tuning.
        arm: name of the arm; `random` and `pixels` have no pre-training.
        pretraining: of the arm.
        asked: questions, and of each how many labelled images a class; 0 for all.
        recipes: fine-tunings; none for a probe alone.
        draws: of the labelled images.
        shares: weights on the way from the first to the last that are tried, too, see `arms.between`.
        mirrored: whether the mirrored image is asked, too.
    """

    trial: int
    arm: str
    pretraining: Pretraining | None = None
    asked: Mapping[str, Sequence[int]] = field(default_factory=dict)
    recipes: tuple[Recipe, ...] = ()
    draws: int = 1
    shares: tuple[float, ...] = ()
    mirrored: bool = False
    architecture: str = "resnet10_quarter"
    side: int = 96

    @property
    def key(self) -> tuple[str, ...]:
        """How its rows begin."""
        return self.architecture, str(self.side), str(self.trial), self.arm


def parser(description: str) -> argparse.ArgumentParser:
    """The options that these benchmarks have in common."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--images", type=Path, default=DATA, help="the folder of radiographs, or a packed file")
    options.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options.add_argument("--backbones", type=Path, default=Path("backbones"), help="where pre-trained weights are kept")
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--trials", type=int, default=5)
    options.add_argument("--arms", nargs="+", help="these alone")
    options.add_argument("--seconds", type=float, default=float("inf"), help="begin no job after so many")
    options.add_argument("--first", type=int, default=None, help="do so many jobs only, for a try")
    return options


def run(jobs: Sequence[Job], options: argparse.Namespace, name: str) -> Path:
    """Do the jobs in their order, and append their rows to a CSV; jobs whose recipes have rows there are left out."""
    begun = time.time()
    path = options.output / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    options.backbones.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(",".join(COLUMNS) + "\n")
    known = {tuple(row[name] for name in COLUMNS[:-1]) for row in rows_of(path)}
    done = {(row[:4], row[7]) for row in known}
    jobs = [job for job in jobs if not all((job.key, recipe) in done for recipe in map(str, job.recipes or ["probe"]))]
    jobs = [job for job in jobs if job.arm in (options.arms or [job.arm])]
    jobs = jobs[: options.first]
    context = torch.multiprocessing.get_context("spawn")
    with context.Pool(options.processes, _begin, (options.images, options.backbones, begun + options.seconds)) as pool:
        for number, rows in enumerate(pool.imap_unordered(_attempt, jobs), 1):
            with path.open("a", newline="") as file:
                for row in rows:
                    key = tuple(map(str, row[:-1]))
                    if key not in known:  # jobs of one arm share its probe
                        csv.writer(file).writerow(row)
                        known.add(key)
            print(f"{number}/{len(jobs)} jobs, {time.time() - begun:.0f} s", flush=True)
    return path


_IMAGES: Path
_BACKBONES: Path
_END: float
_READ: dict[int, Images] = {}
PATCHES = 32
"""The side that stands for boxes of CT."""


def _begin(images: Path, backbones: Path, end: float) -> None:
    global _IMAGES, _BACKBONES, _END
    _IMAGES, _BACKBONES, _END = images, backbones, end
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2) if not torch.cuda.is_available() else 1)


def _attempt(job: Job) -> list[list[Any]]:
    if time.time() > _END:
        return []
    try:
        return do(job)
    except Exception:  # hours of other jobs are not lost for one; its rows are missing, and a next run tries again
        traceback.print_exc()
        return []


def do(job: Job) -> list[list[Any]]:
    """The rows of one job."""
    if job.side not in _READ:
        _READ[job.side] = read_patches(_IMAGES) if job.side == PATCHES else read(_IMAGES, job.side)
    deal = deal_patches if job.side == PATCHES else deal_radiographs
    trial = deal(_READ[job.side], job.trial)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weights = _pretrained(job, trial, device) if job.pretraining else None
    seen = _features(job, trial, weights, device)
    return [
        [job.architecture, job.side, job.trial, job.arm, question, *row]
        for question, counts in job.asked.items()
        for n in counts
        for draw in range(job.draws if n else 1)
        for row in _ask(job, trial, question, n, draw, weights, seen, device)
    ]


def _ask(
    job: Job,
    trial: Trial,
    question: str,
    n: int,
    draw: int,
    weights: arms.Weights | None,
    seen: np.ndarray,
    device: torch.device,
) -> list[list[Any]]:
    """Probe and fine-tunings with one draw of labels: `n, draw, recipe, split, auroc` of each."""
    known, asked = trial.images, trial.questions[question]
    splits = {"validation": asked.validation, **asked.tests}
    if question == "nih":
        splits["validation_within"] = asked.validation[known.column("No Finding")[asked.validation] == 0]
    columns = np.stack([known.column(name) for name in asked.labels], axis=1)
    everything = np.unique(np.concatenate(list(splits.values())))
    images, drawn = known.images[everything], trial.draw(question, n, draw)
    rows: list[list[Any]] = []

    def add(recipe: str, given: np.ndarray) -> None:
        for split, numbers in splits.items():
            area = mean_of_defined(partial_auroc(given[np.searchsorted(everything, numbers)], columns[numbers]))
            rows.append([n, draw, recipe, split, f"{float(area):.4f}"])

    patients = known.patient[drawn[0]]
    add("probe", arms.probe_scores(seen[drawn[0]], drawn[1], patients, seen[everything]))
    for recipe in job.recipes:
        seed = 100 * job.trial + draw
        network, first = arms.finetune(known, drawn, job.architecture, weights, recipe, seed, device)
        add(str(recipe), arms.scores(network, images, device))
        if job.mirrored:
            add(f"{recipe} mirrored", arms.scores(network, images, device, mirror=True))
        tried = {share: arms.between(network, first, share) for share in job.shares}
        for share, state in tried.items():
            network.load_state_dict(state)
            add(f"{recipe} share{share:g}", arms.scores(network, images, device))
    return rows


def _features(job: Job, trial: Trial, weights: arms.Weights | None, device: torch.device) -> np.ndarray:
    """What a probe sees of each image that the questions ask for, `[N, D]`; zeros of the others."""
    images = trial.images.images
    parts = [part for name in job.asked for part in trial.asked_of(name)]
    parts += [
        trial.draw(name, n, draw)[0] for name, counts in job.asked.items() for n in counts for draw in range(job.draws)
    ]
    wanted = np.unique(np.concatenate(parts))
    if job.arm == PIXELS:
        known = arms.pixels(images[wanted])
    else:
        known = arms.features(images[wanted], job.architecture, weights, job.trial, device)
    seen = np.zeros((len(images), known.shape[1]), known.dtype)
    seen[wanted] = known
    return seen


def _pretrained(job: Job, trial: Trial, device: torch.device) -> dict[str, torch.Tensor]:
    assert job.pretraining is not None
    path = _BACKBONES / f"{job.architecture}-{job.side}-{job.arm}-{job.trial}.pt"
    if not path.exists():
        begun = time.time()
        images = trial.images.images[trial.pool]
        weights, losses = arms.pretrain(images, job.architecture, job.pretraining, job.trial, device)
        pasted = path.with_suffix(f".{os.getpid()}")
        torch.save({name: value.cpu() for name, value in weights.items()}, pasted)
        pasted.rename(path)
        shown = " ".join(f"{loss:.3f}" for loss in losses[:: max(1, len(losses) // 4)])
        print(f"{path.stem}: {time.time() - begun:.0f} s, loss {shown}", flush=True)
    return torch.load(path, map_location=device, weights_only=True)


Rows = list[dict[str, str]]


def rows_of(path: Path) -> Rows:
    """The rows of a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def mean_and_deviation(values: Iterable[float]) -> str:
    """`0.683 ± 0.021`; the deviation is that over tuples."""
    numbers = np.array(list(values))
    if not len(numbers):
        return "–"
    return f"{numbers.mean():.3f}" + (f" ± {numbers.std(ddof=1):.3f}" if len(numbers) > 1 else "")
