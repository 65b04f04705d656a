"""Learning curves on the screen, as CSV, as Markdown and as a picture."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from rich.box import SIMPLE
from rich.table import Table

from medssl.files import whole_file, write_text
from medssl.report.plots import COLOURS, QUIET, STYLE
from medssl.runs import CURVE, CURVE_PICTURE

from .curve_figures import FINE_TUNED, PROBE, Cell, Place, Results
from .learning_curve import Extrapolation
from .pretraining_gain import RANDINI

BOTH = "(95 % t-interval over draws) [95 % interval over test patients]"
TITLE = f"mAUROC {{place}}, mean over {{draws}} {BOTH}"
NOTES = """\
How to read it: the means are over draws of the labelled subset, with fresh random weights and batches; (…) is their
95 % t-interval over the draws, […] the 95 % bootstrap interval over test patients, both for the mean. A pre-training is
one run, so neither tells how another one would do. The AUROC is that inside each source, and their mean over the
classes that are defined. *Probe*: a logistic regression on the frozen backbone as pre-trained. Every fine-tuning had
labelled validation images beside its training images, at least ten; they stand in its datalist, in `data/`.
"""


def write_curve(output: Path, results: Results, targets: Sequence[float] = ()) -> None:
    """Write `curve.csv` (a row for each point), `curve_draws.csv` (for each draw of it), `curve.md` and `curve.png`.

    Args:
        output: folder to write to.
        results: all points.
        targets: figures for which to say how many images they would need.
    """
    for name, table in ((CURVE, points(results)), ("curve_draws.csv", draws(results))):
        with whole_file(output / name) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")
    write_text(output / "curve.md", markdown(results, targets))
    with whole_file(output / CURVE_PICTURE) as temporary:
        draw_curve(results).savefig(temporary, dpi=130)


def points(results: Results) -> pd.DataFrame:
    """A row for each point: `place`, `trained_on`, `another_source`, `method`, `arm`, `images`, `draws`, `mAUROC`, both
    intervals, and the gain over RandIni by the same method, paired; empty where there is none.
    """
    rows = []
    for place in results.places:
        curves = results.curves(place)
        for (method, arm), cells in curves.items():
            for number, cell in enumerate(cells):
                mean, low, high = cell.over_draws
                patients_low, patients_high = cell.over_patients
                row = {
                    "place": place.name,
                    "trained_on": place.trained,
                    "another_source": int(place.outside),
                    "method": method,
                    "arm": arm,
                    "images": cell.size,
                    "draws": len(cell.values),
                    "mAUROC": mean,
                    "low": low,
                    "high": high,
                    "patients_low": patients_low,
                    "patients_high": patients_high,
                }
                if arm != RANDINI:
                    row |= cell.gain(curves[method, RANDINI][number])
                rows.append(row)
    return pd.DataFrame(rows)


def draws(results: Results) -> pd.DataFrame:
    """A row for each draw of each point: its mAUROC, and the AUROC of each class."""
    return pd.DataFrame(
        {
            "place": cell.place.name,
            "method": cell.method,
            "arm": cell.arm,
            "images": cell.size,
            "draw": draw,
            "mAUROC": value,
            **dict(zip(cell.place.labels, classes, strict=True)),
        }
        for cell in results.cells
        for draw, (value, classes) in enumerate(zip(cell.values, cell.per_class, strict=True))
    )


def curve_tables(results: Results) -> list[Table]:
    """A table for the screen for each place: means and half of their t-interval; `curve.md` has all of it."""
    tables = []
    for place in results.places:
        curves = results.curves(place)
        title = _title(place, results).replace(BOTH, "± half of the 95 % t-interval")
        table = Table(title=title, title_justify="left", box=SIMPLE)
        table.add_column("labelled images")
        for cell in next(iter(curves.values())):
            table.add_column(str(cell.size), justify="right")
        for (method, arm), cells in curves.items():
            table.add_row(f"{arm}, {method}", *(_short(*cell.over_draws) for cell in cells))
        tables.append(table)
    return tables


def _short(mean: float, low: float, high: float) -> str:
    return f"{mean:.3f}" + ("" if np.isnan(low) else f"\n±{(high - low) / 2:.3f}")


def markdown(results: Results, targets: Sequence[float] = ()) -> str:
    """The tables, and what follows from them, as Markdown."""
    parts = ["# How good with how many labelled images?", f"![The curves]({CURVE_PICTURE})"]
    for place in results.places:
        header, rows = _cells(results, place)
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
        parts += [_title(place, results), "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)]
    parts += ["## More images", "\n".join(f"- {_escaped(line)}" for line in curve_lines(results, targets)), NOTES]
    return "\n\n".join(parts)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _title(place: Place, results: Results) -> str:
    count = f"{results.draws} draw{'s' if results.draws > 1 else ''}"
    return TITLE.format(place=f"{place.name}, trained on {place.trained}" if place.outside else place.name, draws=count)


def _cells(results: Results, place: Place) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of a place: methods and arms down, numbers of images across."""
    curves = results.curves(place)
    sizes = [cell.size for cell in next(iter(curves.values()))]
    rows = [[f"{arm}, {method}", *(_figure(cell) for cell in cells)] for (method, arm), cells in curves.items()]
    for (method, arm), cells in curves.items():
        if arm != RANDINI and method == FINE_TUNED:
            gains = [cell.gain(base) for cell, base in zip(cells, curves[method, RANDINI], strict=True)]
            rows.append(
                [
                    f"{arm} − {RANDINI}, {method}",
                    *(
                        f"{gain['gain']:+.3f}{_interval(gain['gain_low'], gain['gain_high'], '()', '+.3f')}"
                        f"{_interval(gain['gain_patients_low'], gain['gain_patients_high'], '[]', '+.3f')}"
                        for gain in gains
                    ),
                ]
            )
    return ["labelled images", *map(str, sizes)], rows


def _figure(cell: Cell) -> str:
    mean, low, high = cell.over_draws
    return f"{mean:.3f}{_interval(low, high, '()')}{_interval(*cell.over_patients, '[]')}"


def _interval(low: float, high: float, brackets: str, form: str = ".3f") -> str:
    return "" if np.isnan(low) else f" {brackets[0]}{low:{form}} to {high:{form}}{brackets[1]}"


def curve_lines(results: Results, targets: Sequence[float] = ()) -> list[str]:
    """What the curves say of more images, and where the probe is the better model, in sentences."""
    lines = []
    for place in results.places:
        curves = results.curves(place)
        for method, arm in curves:
            said = _extrapolated(results.extrapolations[place.name, method, arm], targets)
            lines.append(f"mAUROC {place.name}, {arm}, {method}: {said}")
        for (method, arm), cells in curves.items():
            tuned = curves.get((FINE_TUNED, arm)) if method == PROBE else None
            pairs = zip(cells, tuned or [], strict=bool(tuned))
            gains = {cell.size: float(cell.values.mean() - other.values.mean()) for cell, other in pairs}
            better = [f"{size} ({gain:+.3f})" for size, gain in gains.items() if gain > 0]
            if better:
                lines.append(f"{place.name}, {arm}: with {', '.join(better)} images the probe is the better model.")
    return lines


def _extrapolated(found: Extrapolation, targets: Sequence[float]) -> str:
    if found.law is None:
        return f"no extrapolation. {found.refusal}"
    twice = 2 * found.largest
    value, low, high = found.expected(twice)
    parts = [f"{found.law}; with {twice} images about {value:.3f}{_interval(low, high, '()')}"]
    for target in targets:
        images, fewest, most = found.needed(target)
        if target >= found.law.a:
            best = f"; at best {round(fewest)} images" if fewest <= found.farthest else ""
            parts.append(f"{target:g} is above {found.law.a:.3f}, where the law levels off{best}")
        elif images > found.farthest:
            parts.append(f"for {target:g} more than {found.farthest} images, which is too far to say how many")
        else:
            ends = "" if np.isnan(fewest) else f" ({_count(fewest, found)} to {_count(most, found)})"
            more = max(0, round(images) - found.largest)
            parts.append(f"for {target:g} about {round(images)} images{ends}, {more or 'no'} more than were tried")
    return "; ".join(parts) + "."


def _count(images: float, found: Extrapolation) -> str:
    return f"over {found.farthest}" if images > found.farthest else str(round(images))


@matplotlib.rc_context(STYLE)
def draw_curve(results: Results) -> Figure:
    """The curves of each place: fine-tuned with a line, probes dashed, t-intervals as bars, laws dotted onwards."""
    places = results.places
    columns = min(3, len(places))
    rows = -(-len(places) // columns)
    figure = Figure(figsize=(1.2 + 3.4 * columns, 0.8 + 2.9 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    arms = list(dict.fromkeys(cell.arm for cell in results.cells))
    networks = [arm for arm in arms if any(cell.arm == arm and cell.method == FINE_TUNED for cell in results.cells)]
    colours = {**dict.fromkeys(arms, QUIET), **dict(zip(networks, cycle(COLOURS), strict=False))}
    for axis, place in zip(axes, places, strict=False):
        curves = results.curves(place)
        for shift, ((method, arm), cells) in zip(np.linspace(-0.04, 0.04, len(curves)), curves.items(), strict=True):
            sizes = np.array([cell.size for cell in cells], dtype=float)
            means, low, high = np.array([cell.over_draws for cell in cells]).T
            # An AUROC lies within 0 and 1, where the interval of few draws may not.
            errors = np.nan_to_num([means - np.maximum(low, 0), np.minimum(high, 1) - means])
            style = {"color": colours[arm], "linestyle": "-" if method == FINE_TUNED else "--"}
            axis.errorbar(
                sizes * (1 + shift),  # or the bars would lie on each other
                means,
                errors,
                marker="o" if method == FINE_TUNED else "s",
                markersize=3,
                elinewidth=0.7,
                linewidth=1.2,
                label=f"{arm}, {method}",
                **style,
            )
            law = results.extrapolations[place.name, method, arm].law
            if law is not None and method == FINE_TUNED:
                beyond = np.geomspace(sizes[-1], 2 * sizes[-1], 20)
                axis.plot(beyond, law.at(beyond), color=colours[arm], linestyle=":", linewidth=1.2)
        axis.axhline(0.5, color=QUIET, linewidth=0.8, linestyle=":")
        axis.set_xscale("log")
        axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set(title=place.name, xlabel="labelled images")
    for axis in axes[len(places) :]:
        axis.set_axis_off()
    for axis in axes[::columns]:
        axis.set_ylabel("mAUROC")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=min(3, columns + 1))
    return figure
