"""Pictures of puzzles: panels side by side, the question and the answer above them."""

from collections.abc import Callable

import matplotlib
from matplotlib.figure import Figure
from torch import Tensor

from medssl.pretext import Pictures

ROWS = 4
"""Puzzles on one picture."""


def middle_slice(panels: Tensor) -> Tensor:
    """The middle axial slice of volumes ``[…, X, Y, Z]`` as images ``[…, rows, columns]``, the patient upright.

    Volumes lie in MONAI's RAS order, in which x grows to the patient's right-hand side on the picture's left.
    """
    return panels[..., panels.shape[-1] // 2].transpose(-1, -2).flip(-2, -1)


def draw_puzzles(pictures: Pictures, describe: Callable[[Tensor], str], spatial_dims: int, title: str = "") -> Figure:
    """A figure with one row of panels for each of the first puzzles of the batch.

    Args:
        pictures: of a batch, as a task returns them.
        describe: the task's words for a target or an answer.
        spatial_dims: 2 or 3; volumes are shown by their middle axial slice.
        title: above the whole figure.
    """
    panels = pictures.panels[:ROWS].float().cpu()
    if spatial_dims == 3:
        panels = middle_slice(panels)
    rows, columns = panels.shape[:2]
    with matplotlib.rc_context({"font.size": 7}):
        figure = Figure(figsize=(max(1.4 * columns, 2.8), 1.7 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for row in range(rows):
            low, high = panels[row].min().item(), panels[row].max().item()
            for axis, panel in zip(axes[row], panels[row], strict=True):
                axis.imshow(panel.numpy(), cmap="gray", vmin=low, vmax=high)
                axis.set_axis_off()
            caption = describe(pictures.target[row])
            if pictures.answer is not None:
                caption += f"\nanswered: {describe(pictures.answer[row])}"
            axes[row][0].set_title(caption, loc="left")
        if title:
            figure.suptitle(title)
    return figure
