"""Who is served worse: the figures of each hospital, sex, age, view and scanner, where the datalist says them."""

import os
from bisect import bisect
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from medssl.data import Datalist
from medssl.errors import UserError
from medssl.evaluation import mask_subgroups, read_mask_rows, subgroups
from medssl.evaluation.subgroups import FEWEST
from medssl.runs import Run, masks_file

from .page import Parts, Table, Text
from .split_figures import UNDEFINED, SplitFigures, triple_text

Found = Mapping[str, Mapping[str, Any]]
"""Group → its figures, see `medssl.evaluation.subgroups`."""
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
TELLING = ("scanner", "source")
"""Kinds that name hospitals and their machines."""
WORDS = {"age": "age in years", "source": "hospital"}


def subgroup_tables(figures: SplitFigures, leaves: bool = False) -> Parts:
    """A table for each kind of group that a split falls into, of its classes and their figure in each group.

    Args:
        figures: of the split; what is known of its single images and its datalist must be where they were.
        leaves: whether this leaves the house: then it names no hospital.
    """
    images, judge = _judge(figures)
    items = described_images(figures.run, figures.split) if images else {}
    tables = []
    for kind in KINDS:
        groups = _groups(kind, [items.get(image, {}) for image in images])
        if groups and not (leaves and kind in TELLING):
            found = judge(groups)
            if sum(each["mean"] is not None for each in found.values()) > 1:
                tables.append(_table(kind, figures, found))
    yield from tables
    if tables:
        few = "" if figures.key == "mDice" else f"Too few: below {FEWEST} known images of either outcome. "
        yield Text(
            f"{few}The mean of a group is that over its defined classes, so that of two groups may be over different "
            "ones. In parentheses: 95 % percentile intervals of a bootstrap over the patients of the group. Where they "
            "are wide nothing is said of a difference, neither that there is one nor that there is none."
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


def _judge(figures: SplitFigures) -> tuple[list[str], Callable[[list[str]], Found]]:
    """The images of a split, and what gives the figures of their groups; none where nothing is known of single ones."""
    path = figures.run.path / masks_file(figures.split)
    if figures.key == "mDice":
        rows = read_mask_rows(path) if path.is_file() else []
        images, names = list(dict.fromkeys(row.image for row in rows)), list(figures.values["per_class"])
        return images, lambda groups: mask_subgroups(rows, dict(zip(images, groups, strict=True)), names)
    if (predictions := figures.predictions) is None:
        return [], lambda groups: {}
    return predictions.images, partial(subgroups, predictions)


def _groups(kind: str, items: list[Mapping[str, Any]]) -> list[str]:
    """The group of each image; none where there is nothing to hold against each other."""
    stated = [item.get(kind, "") for item in items]
    groups = [NOT_STATED if value == "" else KINDS[kind](value) for value in stated]
    return groups if 1 < len(set(groups)) <= MOST else []


def _table(kind: str, figures: SplitFigures, found: Found) -> Table:
    bands = [age_band(age) for age in (0, *AGES)]
    names = sorted(found, key=lambda name: (name == NOT_STATED, bands.index(name) if name in bands else 0, name))
    undefined, words = UNDEFINED if figures.key == "mDice" else TOO_FEW, figures.words
    triples = {words.mean: [found[name]["mean"] for name in names]}
    triples |= {label: [found[name]["per_class"][label] for name in names] for label in figures.values["per_class"]}
    rows = [[label, *(triple_text(triple, undefined) for triple in each)] for label, each in triples.items()]
    rows += [[count, *(str(found[name][count]) for name in names)] for count in ("images", "patients")]
    return Table(f"{words.figure} on {figures.split} by {WORDS.get(kind, kind)}", ["Class", *names], rows)
