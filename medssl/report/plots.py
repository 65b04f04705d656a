"""The plots of a report: intervals of the AUROC, ROC and reliability curves of each class, curves of a training."""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from medssl.evaluation.calibration import expected_calibration_error, reliability_curve
from medssl.evaluation.predictions import Predictions

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe & Ito: told apart by all."""
QUIET = "#8a8a8a"
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "text.parse_math": False,  # a class may have a dollar in its name
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "figure.labelsize": 8,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}
COLUMNS = 5
"""Small plots that stand side by side."""


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


@matplotlib.rc_context(STYLE)
def draw_auroc(
    results: Mapping[str, Mapping[str, Sequence[float | None] | None]],
    points: Mapping[str, Mapping[str, float | None]] | None = None,
) -> Figure:
    """AUROC of each class as a point with its interval, one line for each result.

    Args:
        results: what is compared → name of a class → [value, low, high], or None where it is undefined.
        points: further results without interval, such as the trivial ones.
    """
    names = list(next(iter(results.values())))
    figure = Figure(figsize=(8, 0.9 + 0.17 * len(names) * (len(results) + 0.8)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0.5, color=QUIET, linewidth=0.8, linestyle=":")
    undefined = np.ones(len(names), dtype=bool)
    for number, (result, triples) in enumerate(results.items()):
        rows = np.arange(len(names)) + 0.7 * ((number + 0.5) / len(results) - 0.5)
        values, low, high = np.array([triples.get(name) or [None] * 3 for name in names], dtype=float).T
        colour = COLOURS[number % len(COLOURS)]
        axis.plot(values, rows, "o", markersize=4, color=colour, label=result)
        axis.hlines(rows, low, high, linewidth=1.4, color=colour)
        undefined &= np.isnan(values)
    for marker, (result, trivial) in zip("x+1234", (points or {}).items(), strict=False):
        values = np.array([trivial.get(name) for name in names], dtype=float)
        axis.plot(values, range(len(names)), marker, color=QUIET, label=result)
    for row in np.flatnonzero(undefined).tolist():
        axis.text(0.5, row, "undefined", ha="center", va="center", color=QUIET, backgroundcolor="white")
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlabel("AUROC with its 95 % interval; dotted: chance")
    longest = max(map(len, (*results, *(points or {}))))
    figure.legend(loc="outside upper left", ncols=max(1, min(4, 120 // (longest + 8))))  # all within the figure
    return figure


@matplotlib.rc_context(STYLE)
def draw_roc(predictions: Predictions, figures: Mapping[str, Any]) -> Figure:
    """The ROC curve of each class over its known labels, with the threshold that was chosen on the validation split.

    Args:
        predictions: of the split.
        figures: of the split, in the form of ``metrics.json``.
    """
    figure = Figure()
    for axis, name, scores, labels in _small_plots(figure, predictions, "1 − specificity", "sensitivity"):
        if 0 < labels.sum() < len(labels):
            axis.plot(*roc_curve(labels, scores)[:2], color=COLOURS[0], linewidth=1.4)
        else:
            _say(axis, "undefined:\none outcome only")
        chosen = figures.get("classes", {}).get(name, {})
        if chosen.get("sensitivity") and chosen.get("specificity"):
            axis.plot(1 - chosen["specificity"][0], chosen["sensitivity"][0], "o", color=COLOURS[1], markersize=5)
    return figure


@matplotlib.rc_context(STYLE)
def draw_reliability(predictions: Predictions, before: Predictions | None = None) -> Figure:
    """How often what was given a probability came true, for each class over its known labels.

    Args:
        predictions: of the split.
        before: the same before they were calibrated, in grey.
    """
    drawn = [(each, colour) for each, colour in ((before, QUIET), (predictions, COLOURS[0])) if each]
    errors = np.array([expected_calibration_error(each.scores, each.labels) for each, _ in drawn])
    figure, below = Figure(), "mean probability in the bin; a point's area grows with its images"
    for number, (axis, *_, labels) in enumerate(_small_plots(figure, predictions, below, "share of positives")):
        if not len(labels):
            _say(axis, "no known label")
            continue
        for each, colour in drawn:
            curve = reliability_curve(each.scores[:, number], each.labels[:, number])
            axis.plot(curve.probability, curve.frequency, color=colour, linewidth=1.0)
            sizes = 4 + 60 * curve.images / curve.images.sum()  # a bin of few images says little, and looks it
            axis.scatter(curve.probability, curve.frequency, s=sizes, color=colour, linewidth=0)
        axis.text(0, 1, "ECE " + " → ".join(f"{error:.2f}" for error in errors[:, number]), va="top")
    return figure


@matplotlib.rc_context(STYLE)
def draw_curves(panels: Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[float]]]]) -> Figure:
    """Metrics over the epochs.

    Args:
        panels: title of a plot → name of a line → epochs and values.
    """
    figure = Figure()
    for axis, (title, lines) in zip(_grid(figure, len(panels), 3, (3.0, 1.9)), panels.items(), strict=True):
        for number, (name, (epochs, values)) in enumerate(lines.items()):
            # One epoch makes no line.
            axis.plot(epochs, values, color=COLOURS[number], label=name, marker="." if len(epochs) < 3 else None)
        axis.set_title(title)
        axis.locator_params(axis="x", integer=True)
        if len(lines) > 1:
            axis.legend()
    figure.supxlabel("epoch")
    return figure


def _small_plots(
    figure: Figure, predictions: Predictions, below: str, beside: str
) -> Iterator[tuple[Axes, str, np.ndarray, np.ndarray]]:
    """A square plot of 0 to 1 for each class, its name, and scores and labels of the images labelled for it."""
    axes = _grid(figure, len(predictions.names), COLUMNS, (1.75, 1.85), shared=True)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + 0.6, height + 0.5)  # for the labels
    figure.supxlabel(below)
    figure.supylabel(beside)
    columns = zip(axes, predictions.names, predictions.scores.T, predictions.labels.T, strict=True)
    for axis, name, scores, labels in columns:
        axis.set(title=name, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", xticks=(0, 0.5, 1))
        axis.plot([0, 1], [0, 1], color=QUIET, linewidth=0.8, linestyle=":")
        known = ~np.isnan(labels)
        yield axis, name, scores[known], labels[known]


def _grid(figure: Figure, count: int, most: int, each: tuple[float, float], shared: bool = False) -> list[Axes]:
    """Plots of ``each`` width and height in inches, in rows of at most ``most``; ``shared`` axes have one scale."""
    columns = min(most, count)
    rows = -(-count // columns)
    figure.set_size_inches(each[0] * columns, each[1] * rows)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared).ravel()
    for axis in axes[count:]:
        axis.set_axis_off()
    return list(axes[:count])


def _say(axis: Axes, words: str) -> None:
    axis.text(0.5, 0.5, words, ha="center", va="center", color=QUIET)
