"""Plots of a data set: how often each label is known, and how large the images are. Colours differ in lightness too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

COLOURS = {"positive": "#b2182b", "negative": "#92c5de", "unknown": "#e6e6e6"}
PANELS_A_ROW = 3


def draw_labels(labels: Sequence[str], groups: Mapping[str, np.ndarray]) -> Figure:
    """A panel for each group of images, with a bar for each label: positive, negative, unknown.

    Args:
        labels: names of the K labels.
        groups: name → counts [K, 3].
    """
    down = -(-len(groups) // PANELS_A_ROW)
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(10, down * (0.9 + 0.22 * len(labels))), layout="constrained")
        axes = figure.subplots(down, PANELS_A_ROW, squeeze=False, sharey=True).flat
        for axis, (name, counts) in zip(axes, groups.items(), strict=False):
            left = np.zeros(len(labels))
            for (state, colour), column in zip(COLOURS.items(), counts.T, strict=True):
                axis.barh([_literal(label) for label in labels], column, left=left, color=colour, label=state)
                left += column
            axis.set_title(_literal(name), loc="left")
            axis.spines[["top", "right"]].set_visible(False)
        for axis in list(axes)[len(groups) :]:
            axis.set_visible(False)
        axes[0].invert_yaxis()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
        figure.supxlabel("images")
    return figure


def _literal(name: str) -> str:
    """Matplotlib takes what stands between two dollars for mathematics."""
    return name.replace("$", r"\$")


def draw_sizes(sizes: np.ndarray, spacings: np.ndarray) -> Figure:
    """Histograms of the images' sides in their files and, of volumes, of the sides of their voxels.

    Args:
        sizes: pixels or voxels along each axis [images, dims].
        spacings: mm [images, dims], or [images, 0].
    """
    axes_names = ("rows", "columns") if sizes.shape[1] == 2 else ("x", "y", "z")
    rows = [(sizes, "pixels" if sizes.shape[1] == 2 else "voxels")]
    if spacings.shape[1]:
        rows.append((spacings, "mm"))
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(3.3 * sizes.shape[1], 2.4 * len(rows)), layout="constrained")
        for line, (values, unit) in zip(figure.subplots(len(rows), sizes.shape[1], squeeze=False), rows, strict=True):
            for axis, name, column in zip(line, axes_names, values.T, strict=True):
                axis.hist(column, bins=30, color="#2166ac")
                axis.set_xlabel(f"{name}, {unit}")
                axis.set_ylabel("images")
                axis.spines[["top", "right"]].set_visible(False)
    return figure
