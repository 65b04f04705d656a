"""One picture of every pretext task on phantoms, in 2D and in 3D: what goes in, what the network must answer."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from medssl.files import whole_file
from medssl.networks import build_backbone
from medssl.phantoms.batch import draw_batch
from medssl.pretext import TASKS, Pictures, PretextTask, build_task, copies_of, find_task
from medssl.training.logs.pictures import puzzle_images, show_image

CHEST, HEAD = (128, 128), (64, 64, 48)
IMAGES = 4
"""Phantoms of each kind; the puzzle of the first is shown."""
BLOCKS = 2
"""Groups of columns, each with the 2D and the 3D form."""


DRAWN = tuple(name for name, task in TASKS.items() if not task.needs)
"""The tasks that are drawn where none is named: those that can be built of nothing else."""


def draw_gallery(path: Path, seed: int = 0, tasks: Sequence[str] = DRAWN) -> None:
    """Draw tasks and write the picture.

    Args:
        path: of a PNG (or what matplotlib can write).
        seed: of the phantoms and the puzzles.
        tasks: keys of `TASKS`.

    Raises:
        UserError: there is no such task.
    """
    phantoms = [draw_batch(size, IMAGES, seed) for size in (CHEST, HEAD)]
    blocks = min(BLOCKS, len(tasks))
    rows = -(-len(tasks) // blocks)
    with matplotlib.rc_context({"font.size": 7}):
        figure = Figure(figsize=(6 * blocks, 1.5 * rows), layout="constrained")
        axes = figure.subplots(rows, 2 * blocks, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for number, name in enumerate(tasks):
            block, row = divmod(number, rows)
            for column, images in enumerate(phantoms):
                task, pictures = _pose(name, images, seed)
                _show(axes[row, 2 * block + column], name, task, pictures, images.ndim - 2)
        with whole_file(path) as part:
            figure.savefig(part, dpi=100 * BLOCKS // blocks, format=path.suffix.removeprefix("."))


def _pose(name: str, images: Tensor, seed: int) -> tuple[PretextTask, Pictures]:
    torch.manual_seed(seed)
    backbone = build_backbone(find_task(name).smallest_backbone, images.ndim - 2, in_channels=copies_of(name))
    task = build_task(name, backbone, images.shape[2:])
    with torch.no_grad():
        pictures = task(backbone, images).pictures
    assert pictures is not None
    return task, Pictures(pictures.panels, pictures.target)  # nobody has learned yet, so no answer is worth showing


def _show(axis: Axes, name: str, task: PretextTask, pictures: Pictures, dims: int) -> None:
    images = puzzle_images(pictures, dims, 0)
    puzzle = images["puzzle"]
    if "should be" in images:
        gap = torch.full((puzzle.shape[0], puzzle.shape[1] // 4), float("nan"))
        show_image(axis, torch.cat([puzzle, gap, images["should be"]], dim=1), like=images["should be"])
        middle = puzzle.shape[1] + gap.shape[1] / 2
        axis.text(middle, puzzle.shape[0] / 2, "→", ha="center", va="center", fontsize=12)
        answer = ""
    else:
        show_image(axis, puzzle, like=puzzle)
        answer = fill(f"→ {task.describe(pictures.target[0])}", 62)
    axis.set_anchor("NW")
    axis.set_title(f"{name}: {task.question}" if dims == 2 else "in 3D", loc="left", fontweight="bold")
    axis.text(0, -0.04, answer, transform=axis.transAxes, va="top")
