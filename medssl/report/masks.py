"""What a segmentation came to, told once: parts that the page of a report and the model card of a bundle both show."""

from collections.abc import Callable
from functools import partial

from .page import Parts, Table, Text
from .split_figures import UNDEFINED, SplitFigures, classes_table, headline, how_to_read, triple_text, warnings, word

OF_SIZE = ("volume_error", "absolute_volume_error")
"""Figures in ml, which of radiographs are in cm²."""


def mask_results(figures: SplitFigures) -> Parts:
    """What a run reached on a split: a sentence, warnings, a table of the classes, and how it is to be read."""
    yield Text(headline(figures))
    yield from warnings(figures)
    yield classes_table(figures, _columns(figures))
    trivial = "The trivial results show what grey values, or features of random weights, give away."
    yield how_to_read(
        figures,
        "A class counts in the images in which it was outlined; elsewhere it is unknown.",
        "Where a class neither is nor was found no Dice is defined, and HD95 needs both; surface Dice is the share of "
        "both surfaces within the tolerance of the other one.",
        *([trivial] if figures.baselines else []),
    )


def outlined_counts(figures: SplitFigures) -> Parts:
    """In how many images of a split each class was outlined, is present, was missed or invented."""
    columns = ("outlined", "present", "missed", "invented")
    rows = [[name, *(str(each[column]) for column in columns)] for name, each in figures.values["known"].items()]
    yield Table(f"Images of {figures.split} of each class", ["Class", *map(word, columns)], rows)


def _columns(figures: SplitFigures) -> dict[str, Callable[[str], str]]:
    classes, known = figures.values["classes"], figures.values["known"]
    # Figures of lesions say nothing where no class is counted by them.
    told = [key for key in next(iter(classes.values())) if any(each[key] for each in classes.values())]
    unit = "cm²" if figures.run.spatial_dims == 2 else "ml"

    def cell(key: str, name: str) -> str:
        return triple_text(classes[name][key], UNDEFINED)

    keys = ["dice", *(key for key in told if key != "dice")]
    columns = {word(key).replace("ml", unit) if key in OF_SIZE else word(key): partial(cell, key) for key in keys}
    return {**columns, "Images\noutlined": lambda name: str(known[name]["outlined"])}
