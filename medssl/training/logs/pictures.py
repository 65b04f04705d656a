"""Pictures of the puzzles: what went in, what should come out, and what did."""

from collections.abc import Callable
from math import isqrt

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from medssl.pretext import Pictures

ROWS = 4
"""Puzzles on one picture."""
LONGEST_ROW = 7
"""Panels that stand side by side; more of them are laid out in several rows."""


def middle_slice(panels: Tensor) -> Tensor:
    """The middle axial slice of volumes ``[…, X, Y, Z]`` as images ``[…, rows, columns]``, the patient upright.

    Volumes lie in MONAI's RAS order, in which x grows to the patient's right-hand side on the picture's left.
    """
    return panels[..., panels.shape[-1] // 2].transpose(-1, -2).flip(-2, -1)


def montage(panels: Tensor) -> Tensor:
    """Panels ``[panels, rows, columns]`` as one image, in reading order, with gaps of NaN, which stay white."""
    count, height, width = panels.shape
    across = count
    if count > LONGEST_ROW:
        across = next(number for number in range(isqrt(count - 1) + 1, count + 1) if count % number == 0)
    gap = max(1, width // 16)
    down = count // across
    image = panels.new_full((down * (height + gap) - gap, across * (width + gap) - gap), float("nan"))
    for number, panel in enumerate(panels):
        row, column = divmod(number, across)
        top, left = row * (height + gap), column * (width + gap)
        image[top : top + height, left : left + width] = panel
    return image


def puzzle_images(pictures: Pictures, spatial_dims: int, number: int) -> dict[str, Tensor]:
    """The puzzle of one image of the batch as images to show, by what they are.

    Args:
        pictures: of a batch, as a task returns them.
        spatial_dims: 2 or 3; volumes are shown by their middle axial slice.
        number: of the image in the batch.

    Returns:
        ``puzzle`` and, where the answer is an image, ``answered`` (if there is an answer) and ``should be``.
    """
    shown = {"puzzle": pictures.panels[number]}
    if pictures.answered_by_images:
        if pictures.answer is not None:
            shown["answered"] = pictures.answer[number][None]
        shown["should be"] = pictures.target[number][None]
    flat = {name: middle_slice(image) if spatial_dims == 3 else image for name, image in shown.items()}
    return {name: montage(panels.detach().float().cpu()) for name, panels in flat.items()}


def show_image(axis: Axes, image: Tensor, like: Tensor) -> None:
    """Draw an image in grey, over the range of values of another."""
    values = like[like.isfinite()]
    axis.imshow(image.numpy(), cmap="gray", vmin=values.min().item(), vmax=values.max().item())
    axis.set_axis_off()


def draw_puzzles(pictures: Pictures, describe: Callable[[Tensor], str], spatial_dims: int, title: str = "") -> Figure:
    """A figure with one row for each of the first puzzles of the batch.

    Args:
        pictures: of a batch, as a task returns them.
        describe: the task's words for a target or an answer; where they are images, these are shown instead.
        spatial_dims: 2 or 3; volumes are shown by their middle axial slice.
        title: above the whole figure.
    """
    rows = [puzzle_images(pictures, spatial_dims, number) for number in range(min(ROWS, len(pictures.panels)))]
    height, width = rows[0]["puzzle"].shape
    columns = len(rows[0])
    across = max(2.8, 1.4 * columns * width / height)
    with matplotlib.rc_context({"font.size": 7}):
        figure = Figure(figsize=(min(across, 14), 1.7 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for number, images in enumerate(rows):
            for axis, (name, image) in zip(axes[number], images.items(), strict=True):
                show_image(axis, image, like=images.get("should be", images["puzzle"]))
                axis.set_title(name if columns > 1 else _caption(pictures, describe, number), loc="left")
        if title:
            figure.suptitle(title)
    return figure


def _caption(pictures: Pictures, describe: Callable[[Tensor], str], number: int) -> str:
    caption = describe(pictures.target[number])
    if pictures.answer is not None:
        caption += f"\nanswered: {describe(pictures.answer[number])}"
    return caption
