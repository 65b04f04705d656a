"""What a segmentation came to, told once: parts that the page of a report and the model card of a bundle both show."""

from collections.abc import Iterator

from medssl.evaluation.masks.baselines import MASK_BASELINES

from .page import Parts, Table, Text
from .story import SplitFigures, Triple, inline, number_text, triple_text, word

UNDEFINED = "undefined"
OF_SIZE = ("volume_error", "absolute_volume_error")
"""Figures in ml, which of radiographs are in cm²."""


def mask_results(figures: SplitFigures) -> Parts:
    """What a run reached on a split: a sentence, warnings, a table of the classes, and how it is to be read."""
    yield Text(_headline(figures))
    for name, each in figures.baselines.items():
        yield from _warning(figures, name, each["mDice"])
    yield _classes(figures)
    yield Text(" ".join(_notes(figures)))


def outlined_counts(figures: SplitFigures) -> Parts:
    """In how many images of a split each class was outlined, is present, was missed or invented."""
    columns = ("outlined", "present", "missed", "invented")
    rows = [[name, *(str(each[column]) for column in columns)] for name, each in figures.values["known"].items()]
    yield Table(f"Images of {figures.split} of each class", ["Class", *map(word, columns)], rows)


def mask_sources(figures: SplitFigures) -> Parts:
    """The Dice of each source by itself, where there are several."""
    sources = figures.values.get("sources", {})
    if not sources:
        return
    names = list(figures.values["per_class"])
    rows = []
    for source, each in sources.items():
        cells = [number_text(each["per_class"].get(name), UNDEFINED) for name in names]
        rows.append([source, str(each["images"]), number_text(each["mDice"], UNDEFINED), *cells])
    yield Table(f"Dice on {figures.split} within each source", ["Source", "Images", "Mean Dice", *names], rows)


def _headline(figures: SplitFigures) -> str:
    values = figures.values
    classes, undefined = len(values["per_class"]), values["undefined"]
    sentence = (
        f"Mean Dice {inline(figures.mean)} over {classes - len(undefined)} of {classes} classes, on {values['images']} "
        f"images of {figures.split} ({values['patients']} patients)"
    )
    beside = [f"{MASK_BASELINES.get(name, name)} {inline(each['mDice'])}" for name, each in figures.baselines.items()]
    sentence += f"; beside it: {', '.join(beside)}." if beside else "."
    return sentence + (f" Undefined, for nowhere outlined or found: {', '.join(undefined)}." if undefined else "")


def _warning(figures: SplitFigures, name: str, trivial: Triple | None) -> Parts:
    """A warning where the run's interval does not lie above a trivial result."""
    mean = figures.mean
    if mean is None or mean[0] is None or trivial is None or trivial[0] is None:
        return
    if (mean[0] if mean[1] is None else mean[1]) <= trivial[0]:
        yield Text(
            f"Take care: the mean Dice, {inline(mean)}, does not exceed that of {MASK_BASELINES.get(name, name)}, "
            f"{trivial[0]:.3f}, by more than its interval.",
            is_warning=True,
        )


def _classes(figures: SplitFigures) -> Table:
    values, beside = figures.values, figures.baselines
    of_classes = values["classes"]
    # Figures of lesions say nothing where no class is counted by them.
    told = [key for key in next(iter(of_classes.values())) if any(each[key] for each in of_classes.values())]
    columns = ["dice", *(key for key in told if key != "dice")]
    trivial = [triple_text(each["mDice"]) for each in beside.values()]
    rows = [["mean", triple_text(figures.mean), *[""] * len(columns), *trivial]]
    for name, each in of_classes.items():
        cells = [triple_text(each[key], UNDEFINED) for key in columns]
        trivial = [number_text(one["per_class"].get(name), UNDEFINED) for one in beside.values()]
        rows.append([name, *cells, str(values["known"][name]["outlined"]), *trivial])
    unit = "cm²" if figures.run.spatial_dims == 2 else "ml"
    titles = [word(key).replace("ml", unit) if key in OF_SIZE else word(key) for key in columns]
    header = ["Class", *titles, "Images\noutlined", *(f"Dice of\n{MASK_BASELINES.get(key, key)}" for key in beside)]
    return Table(f"Figures on {figures.split}", header, rows)


def _notes(figures: SplitFigures) -> Iterator[str]:
    values = figures.values
    yield "A class counts in the images in which it was outlined; elsewhere it is unknown."
    if values.get("resamples"):
        yield (
            f"In parentheses: 95 % percentile intervals of a bootstrap over the {values['patients']} patients "
            f"({values['resamples']} resamples)."
        )
    yield (
        "Where a class neither is nor was found no Dice is defined, and HD95 needs both; surface Dice is the share of "
        "both surfaces within the tolerance of the other one."
    )
    if figures.split == "validation":
        yield "The validation split chose the model, so its figures flatter the run."
    if figures.baselines:
        yield "The trivial results show what grey values, or features of random weights, give away."
