"""Who is served worse: the AUROC at each hospital, of each sex, age, view and scanner, where the datalist says them."""

import os
from bisect import bisect
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from medssl.data import Datalist
from medssl.errors import UserError
from medssl.evaluation import Predictions, subgroups
from medssl.evaluation.subgroups import FEWEST
from medssl.runs import Run

from .page import Parts, Table, Text
from .split_figures import SplitFigures, triple_text

AGES = (18, 40, 60, 80)
"""Years at which a band ends and the next one begins."""
NOT_STATED, TOO_FEW = "not stated", "too few"
MOST = 12
"""Groups of a kind; what falls into more, such as free text, tells little of each."""


def age_band(age: float) -> str:
    """The band of an age in years, such as `40–59`."""
    place = bisect(AGES, age)
    if place == 0:
        return f"under {AGES[0]}"
    return f"{AGES[-1]} and over" if place == len(AGES) else f"{AGES[place - 1]}–{AGES[place] - 1}"


KINDS: Mapping[str, Callable[[Any], str]] = {"sex": str, "age": age_band, "view": str, "scanner": str, "source": str}
"""What an item of a datalist may say of an image → the name of its group."""
WORDS = {"age": "age in years", "source": "hospital"}


def subgroup_tables(figures: SplitFigures, with_sources: bool = True) -> Parts:
    """A table for each kind of group that a split falls into, of its classes and their AUROC in each group.

    Args:
        figures: of the split, whose probabilities and datalist must be where they were.
        with_sources: whether hospitals count, too: not on what leaves the house, for it would name them.
    """
    predictions = figures.predictions
    if predictions is None:
        return
    items = described_images(figures.run, figures.split)
    tables = [
        _table(kind, figures.split, predictions, groups)
        for kind in KINDS
        if kind != "source" or with_sources
        if (groups := _groups(kind, [items.get(image, {}) for image in predictions.images]))
    ]
    yield from tables
    if tables:
        yield Text(
            f"Too few: below {FEWEST} known images of either outcome. The mAUROC of a group is the mean over its other "
            "classes, so that of two groups may be over different ones. In parentheses: 95 % percentile intervals of a "
            "bootstrap over the patients of the group. Where they are wide nothing is said of a difference, neither "
            "that there is one nor that there is none."
        )


def described_images(run: Run, split: str) -> dict[str, Mapping[str, Any]]:
    """What a run's datalist says of each image of a split, by its name in the predictions; empty where it is gone."""
    with suppress(UserError):
        if run.data:
            datalist = Datalist.read(run.data)
            folder = datalist.path.parent.resolve()
            stored = zip(datalist.items(split, check_files=False), datalist.content.get(split, ()), strict=True)
            return {Path(os.path.relpath(item["image"], folder)).as_posix(): {**own, **item} for item, own in stored}
    return {}


def _groups(kind: str, items: list[Mapping[str, Any]]) -> list[str]:
    """The group of each image; none where there is nothing to hold against each other."""
    stated = [item.get(kind, "") for item in items]
    groups = [NOT_STATED if value == "" else KINDS[kind](value) for value in stated]
    return groups if 1 < len(set(groups)) <= MOST else []


def _table(kind: str, split: str, predictions: Predictions, groups: list[str]) -> Table:
    found = subgroups(predictions, groups)
    bands = [age_band(age) for age in (0, *AGES)]
    names = sorted(found, key=lambda name: (name == NOT_STATED, bands.index(name) if name in bands else 0, name))
    figures = {"mAUROC": [found[name]["mAUROC"] for name in names]}
    figures |= {label: [found[name]["per_class"][label] for name in names] for label in predictions.names}
    rows = [[label, *(triple_text(triple, TOO_FEW) for triple in triples)] for label, triples in figures.items()]
    rows += [[count, *(str(found[name][count]) for name in names)] for count in ("images", "patients")]
    return Table(f"AUROC on {split} by {WORDS.get(kind, kind)}", ["Class", *names], rows)
