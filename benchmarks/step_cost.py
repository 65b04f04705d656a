"""What does a step of each pretext task cost, over the bare backbone's on the same number of pixels?

Forward and backward pass, without the optimiser. "The same number of pixels" is the very tensor that the task feeds to
the backbone: tiles, views and copies included. `rvrm` needs a backbone of three channels; rotation is measured on such
a one too. The task and the bare backbone take turns, so that a change of the machine's pace meets both; the figures are
medians. `python benchmarks/step_cost.py` writes `results/step_cost.json` and
`.md` beside this file, about ten minutes on two idle cores.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from environment import environment
from torch import Tensor

from medssl.data.phantoms.batch import draw_batch
from medssl.networks import Backbone, build_backbone
from medssl.pretext import TASKS, build_task

RESULTS = Path(__file__).parent / "results"
SHAPES = {"2D": ((224, 224), 8), "3D": ((128, 128, 32), 2)}
"""The image sizes of the bundles, with fewer images a step."""
REASONS = {
    "mim": "decoder",
    "inpainting": "decoder",
    "models_genesis": "decoder, distortions",
    "simsiam": "augmentation, projector and predictor",
    "simclr": "augmentation, projector",
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(step: Callable[[], Tensor], backbone: Backbone) -> float:
    """Time of one forward and backward pass."""
    backbone.zero_grad()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    step().backward()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(name: str, images: Tensor, repeats: int, copies: int) -> dict[str, Any]:
    """Medians in milliseconds: the task's step, the bare backbone on what the task fed it, and on the images alone."""
    backbone = build_backbone("resnet18", images.ndim - 2, copies * images.shape[1]).to(DEVICE)
    task = build_task(name, backbone, images.shape[2:]).to(DEVICE)
    fed: list[Tensor] = []
    hook = backbone.register_forward_hook(lambda module, inputs, output: fed.append(inputs[0].detach()))
    task(backbone, images).loss.backward()
    hook.remove()
    (same,) = fed  # one pass of the backbone a step
    steps: dict[str, Callable[[], Tensor]] = {
        "task_ms": lambda: task(backbone, images).loss,
        "bare_ms": lambda: backbone(same).mean(),
        "images_ms": lambda: backbone(images).mean(),
    }
    times: dict[str, list[float]] = {which: [] for which in steps}
    for number in range(repeats + 1):
        for which, step in steps.items():
            taken = seconds(step, backbone)
            if number:  # the first is for warming up
                times[which].append(1000 * taken)
    row = {which: statistics.median(values) for which, values in times.items()}
    pixels = same.numel() / same.shape[1] * images.shape[1] / images.numel()
    ratios = [a / b for a, b in zip(times["task_ms"], times["bare_ms"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {**row, "pixels": pixels, "ratio": statistics.median(ratios), "quartiles": [quartiles[0], quartiles[2]]}


def as_markdown(report: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    shapes = "; ".join(
        f"{dims}: {batch} images of {' × '.join(map(str, size))}" for dims, (size, batch) in SHAPES.items()
    )
    lines = [
        "# The cost of a step of each pretext task",
        "",
        f"{report['machine']}; {versions}. ResNet-18, float32, forward and backward; {shapes}; {report['repeats']} "
        "repetitions, medians, quartiles of the ratio in brackets.",
        "",
        "| task | | pixels fed, over the images' | step, ms | bare backbone, same pixels, ms | ratio | why over 1.10 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        low, high = row["quartiles"]
        reason = REASONS.get(row["task"], "") if row["ratio"] > 1.1 else ""
        ratio = f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"
        cells = [
            row["task"],
            row["dimensions"],
            f"{row['pixels']:.2f}",
            f"{row['task_ms']:.0f}",
            f"{row['bare_ms']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} | {ratio} | {reason} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--name", default="step_cost", help="of the result files")
    arguments = parser.parse_args()
    report: dict[str, Any] = {**environment(), "device": str(DEVICE), "repeats": arguments.repeats, "rows": []}
    for dims, (size, batch) in SHAPES.items():
        images = draw_batch(size, batch).to(DEVICE)
        for name, copies in [*((name, 3 if name == "rvrm" else 1) for name in arguments.tasks), ("rotation", 3)]:
            label = "rotation, three channels" if (name, copies) == ("rotation", 3) else name
            row = measure(name, images, arguments.repeats, copies)
            report["rows"].append({"task": label, "dimensions": dims, **row})
            print(report["rows"][-1], flush=True)
            (RESULTS / f"{arguments.name}.json").write_text(json.dumps(report, indent=2) + "\n")
            (RESULTS / f"{arguments.name}.md").write_text(as_markdown(report))


if __name__ == "__main__":
    main()
