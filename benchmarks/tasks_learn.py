"""Does each pretext task learn? A short training on drawn chests and heads, judged on others that it never saw.

`python benchmarks/tasks_learn.py` writes `results/tasks_learn.json` and `.md` beside this file, in hours on two cores
without AVX-512; `--tasks` and `--dimensions` choose, and what is not measured again keeps its figures. They stand
beside chance (classes) or the error of a constant answer, and beside what the same network reaches before its first
step: views of one image are often told by an untrained network too. The tasks of `SMALL` have a small network and
more steps of more images: 200 steps of 32 images on ResNet-18 taught some of them nothing. The teacher of
`distil` is a ResNet-18 that learned `rotation` in the same way.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from environment import environment
from torch import Tensor

from medssl.networks import Backbone, build_backbone, fast_layout
from medssl.phantoms.batch import draw_batch
from medssl.pretext import TASKS, PretextTask, build_task

RESULTS = Path(__file__).parent / "results"
SIZES = {"2D": (64, 64), "3D": (32, 32, 32)}
BATCH_SIZE = 16
DEFAULT_STEPS = 100
SMALL, SMALL_ARCHITECTURE = ("lejepa", "dino", "barlow_twins", "vicreg", "byol", "moco"), "resnet10_quarter"
STEPS = {
    **dict.fromkeys([(name, "2D") for name in SMALL], 1000),
    **dict.fromkeys([(name, "3D") for name in SMALL], 500),
    ("dino", "2D"): 2000,
    ("distil", "2D"): 200,
    ("rvrm", "2D"): 400,
    ("rvrm", "3D"): 400,
    ("simsiam", "2D"): 400,
    ("simsiam", "3D"): 200,
    ("simclr", "2D"): 400,
    ("simclr", "3D"): 200,
    ("volume_fusion", "2D"): 300,
    ("mae", "2D"): 300,
    ("mae", "3D"): 300,
}
"""The tasks that learn slowly."""
VIEWS = ("simsiam", "simclr", "distil", *SMALL)
VALUES: dict[str, dict[str, Any]] = {name: {"view": {"scale": [0.5, 1.0]}} for name in VIEWS}
"""Normal phantoms differ little: crops of a fifth of the image, the default, leave too little to tell them by."""


def learn(name: str, dimensions: str, train: Tensor, unseen: Tensor, seed: int) -> dict[str, Any]:
    """Train a task on its network and return its metrics on unseen images, the network in evaluation mode."""
    torch.manual_seed(seed)
    image_size = tuple(train.shape[2:])
    steps = STEPS.get((name, dimensions), DEFAULT_STEPS)
    batch = BATCH_SIZE * (2 if name in VIEWS and dimensions == "2D" else 1) * (2 if name in SMALL else 1)
    smallest = TASKS[name].smallest_backbone
    usual = SMALL_ARCHITECTURE if name in SMALL else "resnet18"
    architecture = smallest if smallest.startswith("vit") else usual
    backbone = build_backbone(architecture, len(image_size), in_channels=3 if name == "rvrm" else 1)
    backbone = backbone.to(memory_format=fast_layout(architecture, len(image_size)))
    values = dict(VALUES.get(name, {}))
    if name == "distil":
        values["teacher"] = build_backbone("resnet18", len(image_size))
        fit(build_task("rotation", values["teacher"], image_size), values["teacher"], train, DEFAULT_STEPS, BATCH_SIZE)
    task = build_task(name, backbone, image_size, **values)
    untrained = judge(task, backbone, unseen)
    seconds = fit(task, backbone, train, steps, batch)
    return {
        "architecture": architecture,
        **judge(task, backbone, unseen),
        "untrained": untrained,
        "steps": steps,
        "batch": batch,
        "seconds": round(seconds, 1),
    }


def fit(task: PretextTask, backbone: Backbone, train: Tensor, steps: int, batch: int) -> float:
    """Train a task and its backbone; the seconds that it took."""
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    started = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        task(backbone, train[torch.randperm(len(train))[:batch]]).loss.backward()
        optimizer.step()
        schedule.step()
        task.after_step(backbone)
    return time.perf_counter() - started


def judge(task: PretextTask, backbone: Backbone, unseen: Tensor) -> dict[str, float]:
    """Mean metrics over four puzzles of each image, the network in evaluation mode."""
    backbone.eval()
    task.eval()
    with torch.no_grad():
        outputs = [task(backbone, batch) for _ in range(4) for batch in unseen.split(BATCH_SIZE)]
    backbone.train()
    task.train()
    return {key: torch.stack([output.metrics[key] for output in outputs]).mean().item() for key in outputs[0].metrics}


def as_markdown(report: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "# What each task learns in a short training, in 2D and in 3D",
        "",
        f"Last run on {report['machine']}; {versions}. Adam, 256 phantoms to train on, 64 "
        f"others to judge by, seed {report['seed']}. Views of whole images keep at least half of them. "
        "Answers are how many the teacher of dino tells apart.",
        "",
        "| task | | network | measure | reached | untrained | chance or constant answer | steps × batch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        for measure, value in row.items():
            beside = measure.replace("accuracy", "chance").replace("error", "baseline")
            if beside != measure or measure == "answers":
                trivial = 1 if measure == "answers" else row[beside]
                cells = [row["task"], row["dimensions"], row["architecture"], measure, f"{value:.3f}"]
                cells += [f"{row['untrained'][measure]:.3f}", f"{trivial:.3f}"]
                lines.append(f"| {' | '.join(cells)} | {row['steps']} × {row['batch']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--dimensions", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    report: dict[str, Any] = {**environment(), "seed": arguments.seed, "rows": []}
    results = RESULTS / "tasks_learn.json"
    if results.exists():  # what is not measured again keeps its figures
        again = {(name, dimensions) for name in arguments.tasks for dimensions in arguments.dimensions}
        rows = json.loads(results.read_text())["rows"]
        report["rows"] = [row for row in rows if (row["task"], row["dimensions"]) not in again]
    for dimensions in arguments.dimensions:
        size = SIZES[dimensions]
        train, unseen = draw_batch(size, 256, seed=0), draw_batch(size, 64, seed=1)
        for name in arguments.tasks:
            row = {"task": name, "dimensions": dimensions, **learn(name, dimensions, train, unseen, arguments.seed)}
            print(row, flush=True)
            report["rows"].append(row)
            report["rows"].sort(key=lambda row: (row["dimensions"], list(TASKS).index(row["task"])))
            RESULTS.mkdir(exist_ok=True)
            results.write_text(json.dumps(report, indent=2) + "\n")
            (RESULTS / "tasks_learn.md").write_text(as_markdown(report))


if __name__ == "__main__":
    main()
