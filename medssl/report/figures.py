"""The figures of a fine-tuning run as a report needs them: which split, which numbers, in which words."""

from collections.abc import Mapping, Sequence
from typing import Any

from medssl.errors import UserError
from medssl.evaluation.predictions import Predictions, read_predictions
from medssl.runs import Run

Triple = Sequence[float | None]
"""A value and the two ends of its 95 % interval, which are None where there is none."""
UNDEFINED = "undefined:\none outcome only"


def reported_split(run: Run) -> str | None:
    """The split to report on: test where it was evaluated, else the newest; None before the first validation."""
    return "test" if "test" in run.metrics.get("splits", {}) else run.metrics.get("split")


def split_figures(run: Run, split: str | None) -> Mapping[str, Any]:
    """The figures of a split, in the form of ``metrics.json``; empty where there are none.

    Raises:
        UserError: when they are of an earlier form.
    """
    figures = run.metrics.get("splits", {}).get(split, {})
    if figures and "classes" not in figures:
        raise UserError(
            f"{run.path / 'metrics.json'} has no figures of each class for {split}: evaluate the run again."
        )
    return figures


def split_predictions(run: Run, split: str | None) -> Predictions | None:
    """The probabilities of a split, None where they are not kept."""
    path = run.path / f"predictions_{split}.csv"
    return read_predictions(path) if path.is_file() else None


def mean_auroc(figures: Mapping[str, Any]) -> Triple | None:
    """The mAUROC, None where no class is defined."""
    value = figures.get("mAUROC")
    return None if value is None else [value, *(figures.get("mAUROC_interval") or (None, None))]


def all_aurocs(figures: Mapping[str, Any]) -> dict[str, Triple | None]:
    """mAUROC and AUROC of each class."""
    classes = figures.get("classes", {})
    return {"mAUROC": mean_auroc(figures)} | {name: classes[name]["auroc"] for name in classes}


def baseline_points(figures: Mapping[str, Any], spatial_dims: int) -> dict[str, dict[str, float | None]]:
    """The trivial baselines by what they are, each with its mAUROC and AUROC of each class."""
    return {
        baseline_words(name, spatial_dims): {"mAUROC": (baseline["mAUROC"] or [None])[0], **baseline["per_class"]}
        for name, baseline in figures.get("baselines", {}).items()
    }


def baseline_words(name: str, spatial_dims: int) -> str:
    """What a trivial baseline is."""
    pixels = "×".join(["8"] * spatial_dims)
    words = {"pixels": f"logistic regression on {pixels} pixels", "untrained": "probe of the untrained backbone"}
    return words.get(name, name)


def triple_text(triple: Triple | None, undefined: str = "undefined", sign: str = "") -> str:
    """A value, and in the next line its interval."""
    if triple is None or triple[0] is None:
        return undefined
    value, low, high = triple
    to = " to " if sign else "–"  # no dash where a minus may follow
    interval = "" if low is None or high is None else f"\n({low:{sign}.3f}{to}{high:{sign}.3f})"
    return f"{value:{sign}.3f}{interval}"


def inline(text: str) -> str:
    """A cell's text within a sentence."""
    return text.replace("\n", " ")
