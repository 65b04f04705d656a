"""The affinities as a table for the screen, as CSV and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.box import SIMPLE
from rich.table import Table

from medssl.files import whole_file
from medssl.report.plots import COLOURS, QUIET, STYLE

from .agreement import GUIDES, agreement, points
from .guides import Affinity

BANDS = {"proxy": "95 % interval over patients", "gradient": "± standard error over batches"}
"""What the bands of the picture are."""
CAUTION = (
    "This is what happened with these runs: p takes the epochs for independent, which those of one run are not, and "
    "four tasks in the very same order have p 0.08. Other seeds, images or settings may order them otherwise."
)


def write_results(output: Path, affinities: Sequence[Affinity]) -> None:
    """Write `affinity.csv` (a row for each kept epoch) and `affinity.png`."""
    with whole_file(output / "affinity.csv") as temporary:
        pd.DataFrame(map(_row, affinities)).to_csv(temporary, index=False, lineterminator="\n")
    with whole_file(output / "affinity.png") as temporary:
        draw_affinities(affinities).savefig(temporary, dpi=130)


def _row(affinity: Affinity) -> dict[str, Any]:
    proxy, low, high = affinity.proxy
    gradient, error = affinity.gradient or (None, None)
    return {
        "run": affinity.run,
        "epoch": affinity.epoch,
        "lcp_mAUROC": affinity.lcp,
        "proxy_affinity": proxy,
        "proxy_low": low,
        "proxy_high": high,
        "gradient_affinity": gradient,
        "gradient_standard_error": error,
        "finetuned_mAUROC": affinity.finetuned,
        "finetuned_gain": affinity.gain,
    }


def affinity_table(affinities: Sequence[Affinity]) -> Table:
    """Every kept epoch with both guides and its fine-tuned result."""
    table = Table(title="Task affinity and what fine-tuning came to", title_justify="left", box=SIMPLE)
    table.add_column("pre-training")
    columns = ("epoch", "LCP\nmAUROC", "proxy\naffinity\n(95 % CI)", "gradient\naffinity\n± SE")
    for column in (*columns, "fine-tuned\nmAUROC", "gain over\nRandIni"):
        table.add_column(column, justify="right")
    for each in affinities:
        table.add_row(each.run, *(cell.replace(" (", "\n(").replace(" ±", "\n±") for cell in cells(each)))
    return table


def cells(affinity: Affinity) -> list[str]:
    """Epoch, LCP, both guides, fine-tuned result and gain as text; empty where unknown."""
    proxy, low, high = affinity.proxy
    interval = "" if low is None else f" ({low:+.3f} to {high:+.3f})"
    return [
        str(affinity.epoch),
        f"{affinity.lcp:.3f}",
        f"{proxy:+.3f}{interval}" if affinity.epoch else "0",
        "" if affinity.gradient is None else "{:+.3f} ± {:.3f}".format(*affinity.gradient),
        "" if affinity.finetuned is None else f"{affinity.finetuned:.3f}",
        "" if affinity.gain is None else f"{affinity.gain:+.3f}",
    ]


def agreement_lines(affinities: Sequence[Affinity]) -> list[str]:
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
def draw_affinities(affinities: Sequence[Affinity]) -> Figure:
    """Both guides along the epochs, and below, where something was fine-tuned, the gain against each guide."""
    names = dict.fromkeys(each.run for each in affinities)
    runs = {name: [each for each in affinities if each.run == name] for name in names}
    compared = any(each.epoch and each.gain is not None for each in affinities)
    figure = Figure(figsize=(7.5, 5.6 if compared else 3.0), layout="constrained")
    rows = figure.subplots(1 + compared, 2, squeeze=False)
    for column, (guide, words) in enumerate(GUIDES.items()):
        _draw_course(rows[0, column], runs, guide)
        rows[0, column].set(title=f"{words}, {BANDS[guide]}", xlabel="epoch of pre-training")
        if compared:
            _draw_gains(rows[1, column], runs, guide)
            tau = agreement(affinities, guide).tau
            title = "gain of fine-tuning" + ("" if tau is None else f", Kendall's τ {tau:+.2f}")
            rows[1, column].set(title=title, xlabel=words, ylabel="mAUROC over RandIni")
    handles, labels = rows[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4)
    return figure


def _draw_course(axis: Axes, runs: Mapping[str, Sequence[Affinity]], guide: str) -> None:
    axis.axhline(0, color=QUIET, linewidth=0.8, linestyle=":")
    for number, (name, affinities) in enumerate(runs.items()):
        known = [each for each in affinities if getattr(each, guide) is not None]
        epochs = [each.epoch for each in known]
        colour = COLOURS[number % len(COLOURS)]
        axis.plot(epochs, [getattr(each, guide)[0] for each in known], ".-", color=colour, label=name)
        low, high = zip(*map(_ends if guide == "proxy" else _errors, known), strict=True) if known else ((), ())
        axis.fill_between(epochs, low, high, color=colour, alpha=0.12, linewidth=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _ends(affinity: Affinity) -> tuple[float, float]:
    value, low, high = affinity.proxy
    return (value if low is None else low) or 0.0, (value if high is None else high) or 0.0


def _errors(affinity: Affinity) -> tuple[float, float]:
    assert affinity.gradient is not None
    value, error = affinity.gradient
    return value - error, value + error


def _draw_gains(axis: Axes, runs: Mapping[str, Sequence[Affinity]], guide: str) -> None:
    axis.axhline(0, color=QUIET, linewidth=0.8, linestyle=":")
    for number, affinities in enumerate(runs.values()):
        values, gains = points(affinities, guide)
        axis.plot(values, gains, "o", color=COLOURS[number % len(COLOURS)])
