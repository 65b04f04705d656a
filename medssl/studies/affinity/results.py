"""The affinities as a table for the screen, as CSV and as a picture."""

from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.box import SIMPLE
from rich.table import Table

from medssl.files import whole_file
from medssl.report.plots import COLOURS, QUIET, STYLE

from .finetuned import agreement, points
from .guides import GUIDES

BANDS = {"proxy": "95 % interval over patients", "gradient": "± standard error over batches"}
"""What the bands of the picture are."""
CAUTION = (
    "This is what happened with these runs: p takes the epochs for independent, which those of one run are not, and "
    "four tasks in the very same order have p 0.08. Other seeds, images or settings may order them otherwise."
)


def write_results(output: Path, affinities: pd.DataFrame) -> None:
    """Write `affinity.csv` (a row for each kept epoch) and `affinity.png`."""
    with whole_file(output / "affinity.csv") as temporary:
        affinities.to_csv(temporary, index=False, lineterminator="\n")
    with whole_file(output / "affinity.png") as temporary:
        draw_affinities(affinities).savefig(temporary, dpi=130)


def affinity_table(affinities: pd.DataFrame) -> Table:
    """Every kept epoch with both guides and its fine-tuned result."""
    table = Table(title="Task affinity and what fine-tuning came to", title_justify="left", box=SIMPLE)
    table.add_column("pre-training")
    columns = ("epoch", "LCP\nmAUROC", "proxy\naffinity\n(95 % CI)", "gradient\naffinity\n± SE")
    for column in (*columns, "fine-tuned\nmAUROC", "gain over\nRandIni"):
        table.add_column(column, justify="right")
    for row in affinities.itertuples():
        table.add_row(str(row.run), *(cell.replace(" (", "\n(").replace(" ±", "\n±") for cell in cells(row)))
    return table


def cells(row: Any) -> list[str]:
    """Epoch, LCP, both guides, fine-tuned result and gain of a row as text; empty where unknown."""
    interval = _figures(" ({:+.3f} to {:+.3f})", row.proxy_low, row.proxy_high)
    return [
        str(row.epoch),
        f"{row.lcp_mAUROC:.3f}",
        f"{row.proxy_affinity:+.3f}{interval}" if row.epoch else "0",
        _figures("{:+.3f} ± {:.3f}", row.gradient_affinity, row.gradient_standard_error),
        _figures("{:.3f}", row.finetuned_mAUROC),
        _figures("{:+.3f}", row.finetuned_gain),
    ]


def _figures(form: str, *values: float) -> str:
    return "" if np.isnan(values).any() else form.format(*values)


def agreement_lines(affinities: pd.DataFrame) -> list[str]:
    """A sentence on each guide: does it order the pre-trainings as fine-tuning does, and what would it have chosen?"""
    lines = []
    for guide, words in GUIDES.items():
        found = agreement(affinities, guide)
        if found.tau is None:
            lines.append(f"{words}: too few fine-tuned epochs to compare ({found.points}).")
            continue
        lines.append(
            f"{words}: Kendall's τ with the gain {found.tau:+.2f} over {found.points} epochs (p {found.p:.2f}); the "
            f"epoch it ranks first gained {found.chosen:+.3f}, the best one {found.best:+.3f}."
        )
    return lines if all(agreement(affinities, guide).tau is None for guide in GUIDES) else [*lines, CAUTION]


@matplotlib.rc_context(STYLE)
def draw_affinities(affinities: pd.DataFrame) -> Figure:
    """Both guides along the epochs, and below, where something was fine-tuned, the gain against each guide."""
    compared = bool(affinities.loc[affinities["epoch"] > 0, "finetuned_gain"].notna().any())
    value, error = affinities["gradient_affinity"], affinities["gradient_standard_error"]
    affinities = affinities.assign(gradient_low=value - error, gradient_high=value + error)
    figure = Figure(figsize=(7.5, 5.6 if compared else 3.0), layout="constrained")
    axes = figure.subplots(1 + compared, 2, squeeze=False)
    for (guide, words), column in zip(GUIDES.items(), axes.T, strict=True):
        for axis in column:
            axis.axhline(0, color=QUIET, linewidth=0.8, linestyle=":")
        for (name, rows), colour in zip(affinities.groupby("run", sort=False), cycle(COLOURS), strict=False):
            known = rows.dropna(subset=f"{guide}_affinity")
            column[0].plot(known["epoch"], known[f"{guide}_affinity"], ".-", color=colour, label=name)
            ends = (known[f"{guide}_{end}"] for end in ("low", "high"))
            column[0].fill_between(known["epoch"], *ends, color=colour, alpha=0.12, linewidth=0)
            if compared:
                column[1].plot(*points(rows, guide).to_numpy().T, "o", color=colour)
        column[0].set(title=f"{words}, {BANDS[guide]}", xlabel="epoch of pre-training")
        column[0].xaxis.set_major_locator(MaxNLocator(integer=True))
        if compared:
            tau = agreement(affinities, guide).tau
            title = "gain of fine-tuning" + ("" if tau is None else f", Kendall's τ {tau:+.2f}")
            column[1].set(title=title, xlabel=words, ylabel="mAUROC over RandIni")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure
