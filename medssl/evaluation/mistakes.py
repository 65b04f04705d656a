"""The worst mistakes of a classifier: what it was surest of and wrong about, as a list and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from medssl.transforms import StoredImage

from .predictions import Predictions

COLUMNS = 4
"""Pictures side by side."""


class Mistake(NamedTuple):
    """A known label on the other side of one half than its probability."""

    image: str
    """As the predictions name it."""
    name: str
    """Of the class."""
    probability: float
    is_positive: bool
    """Whether the image is known to have the class."""


def worst_mistakes(predictions: Predictions, count: int = 12, most_of_class: int = 2) -> list[Mistake]:
    """The known labels that are furthest from their probability, the worst first.

    Args:
        predictions: of the split.
        count: of mistakes, at most.
        most_of_class: of them of one class, for a class that is confused throughout would fill the list.
    """
    error = np.nan_to_num(np.abs(predictions.scores - predictions.labels))
    rows = np.argsort(-error, axis=0, kind="stable")[:most_of_class]  # [M, K]
    columns = np.broadcast_to(np.arange(error.shape[1]), rows.shape)
    worst = np.argsort(-error[rows, columns], axis=None, kind="stable")[:count]
    places = zip(rows.ravel()[worst].tolist(), columns.ravel()[worst].tolist(), strict=True)
    return [
        Mistake(
            predictions.images[row],
            predictions.names[column],
            float(predictions.scores[row, column]),
            bool(predictions.labels[row, column] == 1),
        )
        for row, column in places
        if error[row, column] > 0.5
    ]


def draw_mistakes(
    mistakes: Sequence[Mistake], files: Sequence[str | Path], window: Sequence[float] | None = None
) -> Figure:
    """The images of mistakes, numbered from 1; of a volume its middle axial slice.

    Args:
        mistakes: one or more.
        files: their prepared images.
        window: values that become black and white; None for those of all but the darkest and brightest of each image.

    Raises:
        MissingFileError: an image is missing.
        UserError: one is damaged.
    """
    rows = -(-len(mistakes) // COLUMNS)
    with matplotlib.rc_context({"font.size": 8, "text.parse_math": False}):
        figure = Figure(figsize=(8, 2.4 * rows), layout="constrained")
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for number, (axis, mistake, file) in enumerate(zip(axes, mistakes, files, strict=False), start=1):
            image = _slice(StoredImage(file))
            low, high = window or np.percentile(image, (0.5, 99.5))  # a bright marker would darken everything else
            axis.imshow(image, cmap="gray", vmin=low, vmax=high)
            known = "present" if mistake.is_positive else "absent"
            axis.set_title(f"{number}. {mistake.name}\n{known}, predicted {mistake.probability:.2f}", loc="left")
        return figure


def _slice(image: StoredImage) -> np.ndarray:
    """A radiograph; of a volume (RAS) its middle axial slice, the patient's front above, the right side left."""
    if len(image.shape) == 2:
        return image.read()
    across, deep, high = image.shape
    return image.read([0, 0, high // 2], [across, deep, 1])[..., 0].T[::-1, ::-1]
