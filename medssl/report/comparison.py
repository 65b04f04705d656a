"""What a report tells of several fine-tuning runs side by side."""

from collections.abc import Mapping

from medssl.errors import UserError
from medssl.evaluation import compare_runs
from medssl.runs import Run, predictions_file

from .page import Parts, Picture, Section, Table, Text
from .plots import draw_auroc, png
from .sections import picture_file, weights_at_start
from .story import UNDEFINED, SplitFigures, baseline_column, triple_text


def comparison_sections(runs: Mapping[str, Run]) -> list[Section]:
    """All runs in one table, then each further one against the first; nothing for a single run.

    Args:
        runs: fine-tuning runs by name.
    """
    if len(runs) < 2:
        return []
    evaluated = {name: SplitFigures.read(run) for name, run in runs.items()}
    first, *others = runs
    parts = list(_overview(runs, evaluated))
    for other in others:
        parts += _difference(first, evaluated[first], other, evaluated[other])
    return [Section("Comparison", parts)]


def _overview(runs: Mapping[str, Run], evaluated: Mapping[str, SplitFigures | None]) -> Parts:
    known = {name: figures for name, figures in evaluated.items() if figures}
    baselines = list(dict.fromkeys(key for figures in known.values() for key in figures.baselines))
    rows = []
    for name, run in runs.items():
        cells = ["none yet", "", "", *[""] * len(baselines)]
        if figures := known.get(name):
            trivial = [
                triple_text(figures.baselines[key]["mAUROC"]) if key in figures.baselines else "" for key in baselines
            ]
            cells = [figures.split, str(figures.values["images"]), triple_text(figures.mean), *trivial]
        rows.append([name, weights_at_start(run), *cells])
    header = ["Run", "Weights at the start", "Split", "Images", "mAUROC", *map(baseline_column, baselines)]
    yield Table("The runs", header, rows, words=3)
    split = next(iter(known.values())).split if known else ""
    aurocs = {name: figures.aurocs for name, figures in known.items() if figures.split == split}
    if len(aurocs) > 1:
        drawn = png(draw_auroc(aurocs))
        yield Picture(picture_file("comparison", "auroc"), drawn, "AUROC of the runs on the same split")


def _difference(first: str, before: SplitFigures | None, second: str, after: SplitFigures | None) -> Parts:
    splits = [figures.split if figures else "no split yet" for figures in (before, after)]
    if before is None or after is None or before.split != after.split:
        yield Text(
            f"{second} is not compared with {first}: the one is evaluated on {splits[1]}, the other on {splits[0]}. "
            "Evaluate both on the test split."
        )
        return
    split, pair = before.split, (before.predictions, after.predictions)
    if pair[0] is None or pair[1] is None:
        yield Text(
            f"{second} is not compared with {first}: one lacks its {predictions_file(split)}. Evaluate it again."
        )
        return
    try:
        compared = compare_runs(pair[0], pair[1])
    except UserError:  # its message may name an image, which does not belong on the page
        yield Text(
            f"{second} is not compared with {first}: their {split} splits, of {len(pair[1].images)} and "
            f"{len(pair[0].images)} images, differ in images, classes or labels. Evaluate both on the same datalist."
        )
        return
    rows = []
    for name, each in {"mAUROC": compared["mAUROC"], **compared["per_class"]}.items():
        cells = ["", "", UNDEFINED, ""]
        if each:
            difference = triple_text(each["difference"], sign="+")
            cells = [f"{each['first']:.3f}", f"{each['second']:.3f}", difference, f"{each['p']:.3f}"]
        rows.append([name, *cells])
    yield Table(f"{second} against {first}, on {split}", ["AUROC", first, second, "Difference", "p"], rows)
    yield Text(
        f"The difference is {second} minus {first}, with its 95 % interval and two-sided p of a paired bootstrap over "
        f"{compared['patients']} patients ({compared['resamples']} resamples). The p of single classes are not "
        "corrected for their number."
    )
