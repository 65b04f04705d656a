"""Features as a picture: where images lie along the two directions in which their features differ most, or by UMAP."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits  # scikit-learn's

from medssl.errors import UserError
from medssl.report.plots import COLOURS, QUIET, STYLE

MOST_LABELS = 11
"""Labels that are drawn, the first ones."""
UNKNOWN = "unknown"
SMALLEST_MAP = 4
"""Images up to which there is nothing to lay out by neighbourhood."""
PROJECTIONS = ("pca", "umap")
"""How features come to a plane: along their principal components, or by neighbourhood (McInnes et al. 2018, UMAP)."""

Corner = Literal["upper right", "upper left", "lower right", "lower left"]
_CORNERS: dict[Corner, tuple[int, int]] = {
    "upper right": (1, 1),
    "upper left": (0, 1),
    "lower right": (1, 0),
    "lower left": (0, 0),
}


def check_projection(name: str) -> None:
    """Raise `UserError` for a projection that there is not, or whose package is not installed."""
    if name not in PROJECTIONS:
        raise UserError(f"projection is {name!r}, and must be one of {', '.join(PROJECTIONS)}.")
    if name == "umap" and find_spec("umap") is None:
        raise UserError("--projection umap needs umap-learn: pip install 'medssl[umap]', or leave it out.")


def principal_components(features: np.ndarray, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Where images lie along the directions in which their standardised features differ most.

    Args:
        features: `[N, D]`.
        count: of directions.

    Returns:
        `[N, count]`, and the share of the variance along each direction, `[count]`. A direction's sign is that which
        makes its largest weight positive.
    """
    centred = np.asarray(features, np.float64) - np.mean(features, axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    standard = centred / np.where(spread > 1e-12 * max(spread.max(initial=0), 1e-300), spread, np.inf)
    # [D, D], or [N, N] where there are fewer images: either has the same values above 0.
    wide = standard.shape[1] > standard.shape[0]
    with threadpool_limits(1):  # so small a matrix is no work for several, which wait for each other on a busy machine
        values, vectors = np.linalg.eigh(standard @ standard.T if wide else standard.T @ standard)
    values, vectors = values[::-1][:count].clip(0), vectors[:, ::-1][:, :count]
    axes = standard.T @ vectors / np.sqrt(np.where(values > 0, values, np.inf)) if wide else vectors
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    places = np.zeros((len(standard), count))
    places[:, : axes.shape[1]] = standard @ axes
    shares = np.zeros(count)
    shares[: len(values)] = values / max(float((standard**2).sum()), 1e-300)
    return places, shares


@matplotlib.rc_context(STYLE)
def draw_embedding(
    features: np.ndarray,
    sources: Sequence[str],
    labels: Mapping[str, np.ndarray],
    exclusive: bool = False,
    title: str = "",
    projection: str = "pca",
) -> Figure:
    """The images in a plane, once coloured by source and once by each label.

    Args:
        features: `[N, D]`.
        sources: of each image, "" where nobody says.
        labels: name → `[N]` of 1, 0, NaN (unknown).
        exclusive: whether each image has one of the labels, which are then drawn in one panel.
        title: above all.
        projection: of `PROJECTIONS`.
    """
    places, (across, upwards) = _plane(features, projection)
    panels = {"source": np.array([source or UNKNOWN for source in sources], dtype=object)} if any(sources) else {}
    if exclusive and labels:
        table = np.stack(list(labels.values()), axis=1)
        names = np.array([*labels, UNKNOWN], dtype=object)
        panels["class"] = names[np.where((table == 1).any(axis=1), (table == 1).argmax(axis=1), len(labels))]
    else:
        words = {1.0: "positive", 0.0: "negative"}
        for name, column in list(labels.items())[:MOST_LABELS]:
            panels[name] = np.array([words.get(float(value), UNKNOWN) for value in column], dtype=object)
    panels = panels or {"": np.full(len(places), "", dtype=object)}
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.2 * columns, 3 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    corner = emptiest_corner(places)
    for axis, (name, groups) in zip(axes, panels.items(), strict=False):
        _scatter(axis, places, groups, corner)
        axis.set_title(name)
    for axis in list(axes)[len(panels) :]:
        axis.set_axis_off()
    figure.supxlabel(across)
    figure.supylabel(upwards)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure


def _plane(features: np.ndarray, projection: str) -> tuple[np.ndarray, tuple[str, str]]:
    """Where images lie in the plane, ``[N, 2]``, and what its axes are called."""
    if projection == "umap" and len(features) > SMALLEST_MAP:
        from umap import UMAP  # optional

        components, _ = principal_components(features, min(50, *features.shape))
        places = UMAP(n_neighbors=min(15, len(features) - 1), random_state=0).fit_transform(components)
        return np.asarray(places, np.float64), ("UMAP of the standardised features: neighbours lie together", "")
    places, (first, second) = principal_components(features)
    return places, (f"first principal component ({first:.0%} of the variance)", f"second ({second:.0%})")


def emptiest_corner(places: np.ndarray) -> Corner:
    """Where a legend hides the fewest points ``[N, 2]``; matplotlib's "best" looks at all of them in every panel."""
    low, high = places.min(axis=0), places.max(axis=0)
    relative = (places - low) / np.where(high > low, high - low, 1)
    hidden = {corner: (np.abs(relative - at) < 1 / 3).all(axis=1).sum() for corner, at in _CORNERS.items()}
    return min(hidden, key=lambda corner: hidden[corner])


def _scatter(axis: Axes, places: np.ndarray, groups: np.ndarray, corner: Corner) -> None:
    """Points in an order that hides no group behind another, the unknown behind all; the legend in a corner."""
    names = sorted(set(groups.tolist()) - {UNKNOWN})
    colour = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    order = np.random.default_rng(0).permutation(len(places))
    known = groups[order] != UNKNOWN
    size = float(np.clip(4000 / max(len(places), 1), 2, 20))
    look: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True}
    hidden, seen = places[order[~known]], order[known]
    axis.scatter(hidden[:, 0], hidden[:, 1], color=QUIET, alpha=0.3, **look)
    axis.scatter(places[seen, 0], places[seen, 1], c=[colour[name] for name in groups[seen]], alpha=0.7, **look)
    if names != [""]:
        for name in (*names, *([UNKNOWN] if not known.all() else [])):
            axis.scatter([], [], s=20, color=colour.get(name, QUIET), label=f"{name} ({np.sum(groups == name)})")
        axis.legend(loc=corner, fontsize=7, handletextpad=0.2)
    axis.set_xticks([])
    axis.set_yticks([])
