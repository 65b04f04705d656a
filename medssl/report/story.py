"""What a run came to, told once: parts that the page of a report and the model card of a bundle both show.

A new figure of each class that `medssl.evaluation.figures` gives stands in both, and in a bundle's metadata, by itself;
only what is to be said of it comes here, and a word of its own into `WORDS`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from medssl.data import Datalist
from medssl.errors import UserError
from medssl.evaluation.figures import OF_ALL
from medssl.runs import Run

from .page import Parts, Table, Text
from .split_figures import (
    UNDEFINED,
    SplitFigures,
    classes_table,
    headline,
    how_to_read,
    inline,
    number_text,
    triple_text,
    warnings,
    word,
)

SPLITS = ("training", "validation", "test")
ONE_OUTCOME = "undefined:\none outcome only"
OF_THRESHOLD = ("sensitivity", "specificity")
TASK_COLUMNS = ("share", "loss", "accuracy", "chance", "error", "baseline")
BACKBONE_WORDS = {
    "loss": "loss of all tasks",
    "feature_spread": "feature spread (1: features differ, 0: collapsed)",
    "effective_rank": "effective rank of the features (below 3: collapsed)",
    "self_assl/similarity": "similarity to the first network's features (linear CKA)",
    "probe/linear_mAUROC": "mAUROC of the linear probe on validation",
    "probe/knn_mAUROC": "mAUROC of the nearest neighbours on validation",
}


class Counts(NamedTuple):
    """What a split holds: images, patients, and of each class the known positive and negative images."""

    images: int
    patients: int | None
    known: Mapping[str, tuple[int, int]]


def results(figures: SplitFigures) -> Parts:
    """What a run reached on a split: a sentence, warnings, a table, and how it is to be read."""
    rates = [f"{word(key, ' ')}: {inline(figures.values[key])}." for key in OF_ALL if key in figures.values]
    yield Text(" ".join([headline(figures), *rates]))
    yield from warnings(figures)
    yield classes_table(figures, _columns(figures))
    yield how_to_read(figures, "Known labels count, unknown ones do not.", *_meaning(figures))


def begun_with(run: Run) -> str:
    """The weights of others that a run, or the pre-training before it, began with; "" where there were none."""
    init = run.description.get("init") or run.pretraining_description().get("init")
    if not isinstance(init, Mapping):
        return ""
    told = f"{init.get('family')}, SHA-256 {str(init.get('sha256'))[:12]}"
    return f"{init.get('file')} ({'; '.join(filter(None, (told, init.get('source'))))})"


def pseudo_labels(run: Run) -> str:
    """What of the labels that a run was trained on came from another model; "" where nothing did."""
    told = run.description.get("pseudo_labels")
    if not isinstance(told, Mapping):
        return ""
    filled = [f"{name} {ones} positive, {zeros} negative" for name, (ones, zeros) in told["filled"].items()]
    return (
        "Labels that were unknown in training were filled where an earlier model (SHA-256 "
        f"{told['model_sha256'][:12]}) gave a probability from {told['positive']:g} on or up to "
        f"{told['negative']:g}: {'; '.join(filled)}"
        + (f"; {told['unlabeled_images']} images had no labels before" if told["unlabeled_images"] else "")
        + ". Those of validation and test are untouched."
    )


def known_labels(run: Run) -> Parts:
    """What is known in each split, as it was evaluated, or as the datalist has it where that still is where it was."""
    counts = {}
    for split in SPLITS:
        figures = SplitFigures.read(run, split)
        counts[split] = _evaluated(figures) if figures else _listed(run, split)
    found = {split: count for split, count in counts.items() if count}
    if found:
        yield _counts_table(found)
    if sentence := pseudo_labels(run):
        yield Text(sentence)
    if missing := [split for split in SPLITS if split not in found]:
        yield Text(
            f"The counts of {' and '.join(missing)} are missing: the datalist is not where the run read it, seen from "
            "the folder in which this was written."
        )


def pretraining_results(run: Run) -> Parts:
    """What is to be warned of, and what the tasks reached in the last epoch; nothing before the first has ended."""
    metrics = run.metrics.get("metrics", {})
    if not metrics:
        return
    for warning in run.metrics.get("warnings", []):
        yield Text(warning, is_warning=True)
    columns = [column for column in TASK_COLUMNS if any(f"{task}/{column}" in metrics for task in run.tasks)]
    rows = [[task, *(number_text(metrics.get(f"{task}/{column}")) for column in columns)] for task in run.tasks]
    yield Table("The tasks in the last epoch", ["Task", *columns], rows)
    others = [key for key in metrics if key.rpartition("/")[0] not in run.tasks]
    words = [(BACKBONE_WORDS.get(key, key), number_text(metrics[key])) for key in others]
    yield Table("The backbone in the last epoch", ["Figure", "value"], words)


def _columns(figures: SplitFigures) -> dict[str, Callable[[str], str]]:
    classes = figures.values["classes"]

    def cell(key: str, name: str) -> str:
        undecided = key in OF_THRESHOLD and classes[name]["threshold"] is None
        undefined = "no threshold" if undecided else ONE_OUTCOME if key == "auroc" else UNDEFINED
        return triple_text(classes[name][key], undefined)

    columns = {word(key): partial(cell, key) for key in next(iter(classes.values())) if key != "threshold"}
    return {**columns, "Threshold": lambda name: number_text(classes[name]["threshold"], "none")}


def _meaning(figures: SplitFigures) -> Iterator[str]:
    values = figures.values
    yield (
        "Sensitivity and specificity are those at the threshold that maximises their sum on the validation split; ECE "
        "is the expected calibration error in ten bins."
    )
    if "ece_uncalibrated" in next(iter(values["classes"].values())):
        before, after = (_mean_of(values["classes"], key) for key in ("ece_uncalibrated", "ece"))
        yield (
            "The probabilities are calibrated by temperature and bias of each class, fitted to the validation split: "
            f"the mean ECE over the classes is {number_text(after)}, and was {number_text(before)} before."
        )
    if values.get("uncalibrated"):
        yield f"Too few labels are known there to calibrate {', '.join(values['uncalibrated'])}."
    if "sources" in values:
        yield (
            "AUROC within sources compares images of one source only, so that telling the sources apart is worth "
            "nothing; what lies far above it is owed to their differences."
        )
    if figures.baselines:
        yield "The trivial baselines show what the images give away without any finding being seen."
    for name, of_all in figures.baselines.items():
        defined = [key for key, value in values["per_class"].items() if value is not None]
        if lacking := [key for key in defined if of_all["per_class"][key] is None]:
            called = figures.words.baselines.get(name, name)
            yield f"The {called} knows one outcome of {', '.join(lacking)} only, which its mean leaves out."


def _mean_of(classes: Mapping[str, Mapping[str, Any]], key: str) -> float | None:
    """The mean of a figure over the classes in which it is defined."""
    values = [each[key][0] for each in classes.values() if each[key]]
    return sum(values) / len(values) if values else None


def _evaluated(figures: SplitFigures) -> Counts:
    known = {name: (each["positive"], each["negative"]) for name, each in figures.values["known"].items()}
    return Counts(figures.values["images"], figures.values.get("patients"), known)


def _listed(run: Run, split: str) -> Counts | None:
    """The counts by the datalist; None where it is gone, or knows none of the classes."""
    with suppress(UserError):
        if run.data:
            datalist = Datalist.read(run.data)
            items = datalist.items(split, check_files=False)
            labels = np.array([item["label"] for item in items]).reshape(len(items), len(datalist.labels))
            counts = zip(datalist.labels, (labels == 1).sum(axis=0), (labels == 0).sum(axis=0), strict=True)
            classes = run.description.get("labels", datalist.labels)
            known = {name: (int(positive), int(negative)) for name, positive, negative in counts if name in classes}
            return Counts(len(items), len({item["patient"] for item in items}), known) if known else None
    return None


def _counts_table(counts: Mapping[str, Counts]) -> Table:
    names = dict.fromkeys(name for count in counts.values() for name in count.known)
    rows = [[name, *(cell for count in counts.values() for cell in _states(count, name))] for name in names]
    for total_of in ("images", "patients"):
        totals = [str(getattr(count, total_of) or "") for count in counts.values()]
        rows.append([total_of, *(cell for total in totals for cell in (total, "", ""))])
    header = ["Class", *(f"{split}\n{state}" for split in counts for state in ("positive", "negative", "unknown"))]
    return Table("Known labels of each class", header, rows)


def _states(count: Counts, name: str) -> list[str]:
    if name not in count.known:
        return ["", "", ""]
    positive, negative = count.known[name]
    return [str(positive), str(negative), str(count.images - positive - negative)]
