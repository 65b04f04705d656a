"""What a report tells of several fine-tuning runs side by side."""

from collections.abc import Iterator, Mapping

from medssl.errors import UserError
from medssl.evaluation import compare_runs
from medssl.runs import Run

from .facts import picture_file
from .figures import (
    UNDEFINED,
    all_aurocs,
    mean_auroc,
    reported_split,
    split_figures,
    split_predictions,
    triple_text,
)
from .finetuning import BASELINE_COLUMNS, weights_at_start
from .page import Picture, Section, Table, Text
from .plots import draw_auroc, png

Parts = Iterator[Text | Table | Picture]


def comparison_sections(runs: Mapping[str, Run]) -> list[Section]:
    """All runs in one table, then each further one against the first; nothing for a single run.

    Args:
        runs: fine-tuning runs by name.
    """
    if len(runs) < 2:
        return []
    first, *others = runs
    parts = list(_overview(runs))
    for other in others:
        parts += _difference(first, runs[first], other, runs[other])
    return [Section("Comparison", parts)]


def _overview(runs: Mapping[str, Run]) -> Parts:
    rows, aurocs = [], {}
    for name, run in runs.items():
        split = reported_split(run)
        figures = split_figures(run, split)
        baselines = figures.get("baselines", {})
        rows.append(
            [
                name,
                weights_at_start(run),
                split or "none yet",
                str(figures.get("images", "")),
                triple_text(mean_auroc(figures), undefined="undefined" if figures else ""),
                *(triple_text(baselines[key]["mAUROC"]) if key in baselines else "" for key in BASELINE_COLUMNS),
            ]
        )
        if figures and split == reported_split(next(iter(runs.values()))):
            aurocs[name] = all_aurocs(figures)
    header = ["Run", "Weights at the start", "Split", "Images", "mAUROC", *BASELINE_COLUMNS.values()]
    yield Table("The runs", header, rows)
    if len(aurocs) > 1:
        yield Picture(
            picture_file("comparison", "auroc"), png(draw_auroc(aurocs)), "AUROC of the runs on the same split"
        )


def _difference(first: str, first_run: Run, second: str, second_run: Run) -> Parts:
    split, other = reported_split(first_run), reported_split(second_run)
    if split != other or split is None:
        yield Text(
            f"{second} is not compared with {first}: the one is evaluated on {other or 'no split yet'}, the other on "
            f"{split or 'no split yet'}. Evaluate both on the test split."
        )
        return
    before, after = split_predictions(first_run, split), split_predictions(second_run, split)
    if before is None or after is None:
        yield Text(f"{second} is not compared with {first}: one lacks its predictions_{split}.csv. Evaluate it again.")
        return
    try:
        compared = compare_runs(before, after)
    except UserError:  # its message may name an image, which does not belong on the page
        yield Text(
            f"{second} is not compared with {first}: their {split} splits, of {len(after.images)} and "
            f"{len(before.images)} images, differ in images, classes or labels. Evaluate both on the same datalist."
        )
        return
    rows = [
        [
            name,
            f"{each['first']:.3f}",
            f"{each['second']:.3f}",
            triple_text(each["difference"], sign="+"),
            f"{each['p']:.3f}",
        ]
        if each
        else [name, "", "", UNDEFINED, ""]
        for name, each in {"mAUROC": compared["mAUROC"], **compared["per_class"]}.items()
    ]
    yield Table(f"{second} against {first}, on {split}", ["AUROC", first, second, "Difference", "p"], rows)
    yield Text(
        f"The difference is {second} minus {first}, with its 95 % interval and two-sided p of a paired bootstrap over "
        f"{compared['patients']} patients ({compared['resamples']} resamples). The p of single classes are not "
        "corrected for their number."
    )
