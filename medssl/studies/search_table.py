"""The steps of a greedy search in the layout of Table 2 of Zhu et al. 2020: on the screen, as CSV, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from medssl.files import whole_file

from .greedy_search import Row

FORMATS = {
    "similarity": ".4f",
    "gain": "+.3f",
    **dict.fromkeys(("average", "maximum", "score"), ".3f"),
    **dict.fromkeys(("over_average", "over_maximum"), "+.3f"),
}
"""Number of a row → how it is shown."""
QUIET, SINGLE, AGGREGATED = "#8a8a8a", "#0072b2", "#d55e00"


def search_table(rows: Sequence[Row], title: str) -> Table:
    """The table for the screen; what was taken is bold, and what was not trained has no score."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("Iter.", no_wrap=True)
    for column in ("A1", "A2"):
        table.add_column(column, overflow="fold")  # on a narrow screen the names give way
    for column in ("simi-\nlarity", "gain", "aver-\nage", "maxi-\nmum", "aggre-\ngated", "over\naver.", "over\nmax."):
        table.add_column(column, justify="right", no_wrap=True)
    for above, row in zip([None, *rows], rows, strict=False):
        begins = above is None or above.iteration != row.iteration
        if begins and above is not None:
            table.add_section()
        table.add_row(
            str(row.iteration) if begins else "",
            " + ".join(row.pool) if begins or row.task is None else "",
            row.task or "",
            *("" if (value := getattr(row, name)) is None else f"{value:{form}}" for name, form in FORMATS.items()),
            style="bold" if row.taken else None,
        )
    return table


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the table as CSV, an empty cell where there is no number."""
    with whole_file(path) as temporary:
        _frame(rows).to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")


def _frame(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "iteration": [row.iteration for row in rows],
            "A1": [" + ".join(row.pool) for row in rows],
            "A2": [row.task for row in rows],
            **{name: pd.Series([getattr(row, name) for row in rows], dtype=float) for name in FORMATS},
            "taken": [int(row.taken) for row in rows],
        }
    )


@matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
def draw_table(path: Path, rows: Sequence[Row], metric: str) -> None:
    """Draw scores, similarities and gains, a line for each row of the table.

    Args:
        path: of a PNG.
        rows: of the table.
        metric: what the scores are.
    """
    table, places = _frame(rows), np.arange(len(rows))
    figure = Figure(figsize=(9.5, 1.1 + 0.24 * len(rows)), layout="constrained")
    scores, *guides = figure.subplots(1, 3, sharey=True, width_ratios=(3, 1, 1))
    average, maximum, score = (table[name].to_numpy() for name in ("average", "maximum", "score"))
    single = table["A2"].isna().to_numpy()
    scores.plot(average, places, "o", markersize=4, markerfacecolor="white", color=QUIET, label="average of A1 and A2")
    scores.plot(maximum, places, "|", markersize=8, color=QUIET, label="maximum of A1 and A2")
    scores.hlines(places, maximum, score, color=QUIET, linewidth=0.8)
    scores.plot(score[single], places[single], "o", markersize=5, color=SINGLE, label="one task")
    scores.plot(score[~single], places[~single], "o", markersize=5, color=AGGREGATED, label="A1 + A2 together")
    for axis, name in zip(guides, ("similarity", "gain"), strict=True):
        values = table[name].to_numpy()
        axis.barh(places, np.nan_to_num(values), height=0.6, color=np.where(single, "none", QUIET))
        for place in np.flatnonzero(~np.isnan(values)):
            axis.text(max(values[place], 0), place, f" {values[place]:{'+' if name == 'gain' else ''}.3f}", va="center")
    for place in np.flatnonzero(np.diff(table["iteration"])) + 0.5:
        for axis in (scores, *guides):
            axis.axhline(place, color=QUIET, linewidth=0.5)
    scores.set_yticks(places, [" + ".join(row.tasks) for row in rows])
    for label, row in zip(scores.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.taken else "normal")
    scores.set(ylim=(len(rows) - 0.4, -0.6), xlabel=f"{metric}; bold: taken into the pool")
    guides[0].set(xlim=(0, 1.15), xlabel="linear CKA of A1 and A2")
    guides[1].margins(x=0.5)
    guides[1].set(xlabel="gain of a probe on both over A1")
    figure.legend(*scores.get_legend_handles_labels(), loc="outside upper left", ncols=4, frameon=False)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=130)
