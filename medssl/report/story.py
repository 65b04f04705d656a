"""What a run came to, told once: parts that the page of a report and the model card of a bundle both show.

A new figure of each class that `medssl.evaluation.figures` gives stands in both, and in a bundle's metadata, by itself;
only a word of its own, and what is to be said of it, come here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from medssl.data import Datalist
from medssl.errors import UserError
from medssl.evaluation.baselines import BASELINES
from medssl.evaluation.figures import OF_ALL
from medssl.evaluation.predictions import Predictions, read_predictions
from medssl.evaluation.temperature import Calibration
from medssl.runs import METRICS, Run, predictions_file

from .page import Parts, Table, Text

Triple = Sequence[float | None]
"""A value and the two ends of its 95 % interval, which are None where there is none."""
SPLITS = ("training", "validation", "test")
UNDEFINED = "undefined:\none outcome only"
WORDS = {
    "auroc": "AUROC",
    "average_precision": "Average\nprecision",
    "ece": "ECE",
    "ece_uncalibrated": "ECE before\ncalibration",
    "auroc_within_sources": "AUROC\nwithin sources",
    "mAUROC_within_sources": "mAUROC within sources",
    "hd95": "HD95, mm",
    "volume_error": "Volume error,\nml",
    "absolute_volume_error": "Absolute volume\nerror, ml",
}
"""Figures of a class whose name is no word; the others are called as in the file."""
OF_THRESHOLD = ("sensitivity", "specificity")
EXPLAINED = {
    "pixels": "a shortcut in the data explains as much",
    "untrained": "features of random weights explain as much",
}
"""What it means when a run does not exceed a trivial baseline."""
TASK_COLUMNS = ("share", "loss", "accuracy", "chance", "error", "baseline")
BACKBONE_WORDS = {
    "loss": "loss of all tasks",
    "feature_spread": "feature spread (1: features differ, 0: collapsed)",
    "effective_rank": "effective rank of the features (below 3: collapsed)",
    "self_assl/similarity": "similarity to the first network's features (linear CKA)",
    "probe/linear_mAUROC": "mAUROC of the linear probe on validation",
    "probe/knn_mAUROC": "mAUROC of the nearest neighbours on validation",
}


def triple_text(triple: Triple | None, undefined: str = "undefined", sign: str = "") -> str:
    """A value, and in the next line its interval."""
    if triple is None or triple[0] is None:
        return undefined
    value, low, high = triple
    to = " to " if sign else "–"  # no dash where a minus may follow
    interval = "" if low is None or high is None else f"\n({low:{sign}.3f}{to}{high:{sign}.3f})"
    return f"{value:{sign}.3f}{interval}"


def number_text(value: float | None, otherwise: str = "") -> str:
    """A value without an interval."""
    return otherwise if value is None else f"{value:.3f}"


class Counts(NamedTuple):
    """What a split holds: images, patients, and of each class the known positive and negative images."""

    images: int
    patients: int | None
    known: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class SplitFigures:
    """The figures of a split of a run.

    Attributes:
        run: that was evaluated.
        split: on which.
        values: as `medssl.evaluation.figures` gives them, with those of the trivial baselines.
    """

    run: Run
    split: str
    values: Mapping[str, Any]

    @classmethod
    def read(cls, run: Run, split: str | None = None) -> Self | None:
        """Those of a split, by default of test where that was evaluated, else of the newest; None where there are none.

        Raises:
            UserError: when they are of an earlier form.
        """
        splits = run.metrics.get("splits", {})
        split = split or ("test" if "test" in splits else str(run.metrics.get("split")))
        if split not in splits:
            return None
        if "classes" not in splits[split]:
            raise UserError(f"{run.path / METRICS} has no figures of each class for {split}: evaluate the run again.")
        return cls(run, split, splits[split])

    @property
    def key(self) -> str:
        """What the mean over the classes is called: `mAUROC`, or of masks `mDice`."""
        return "mDice" if "mDice" in self.values else "mAUROC"

    @property
    def mean(self) -> Triple | None:
        """The mean over the classes; None where no class is defined."""
        value = self.values.get(self.key)
        return None if value is None else [value, *(self.values.get(f"{self.key}_interval") or (None, None))]

    @property
    def baselines(self) -> Mapping[str, Mapping[str, Any]]:
        """The trivial baselines by name, each with ``mAUROC`` (a triple) and ``per_class``."""
        return self.values.get("baselines", {})

    @property
    def aurocs(self) -> dict[str, Triple | None]:
        """mAUROC and AUROC of each class."""
        return {"mAUROC": self.mean} | {name: each["auroc"] for name, each in self.values["classes"].items()}

    @property
    def counts(self) -> Counts:
        """What the split held."""
        known = {name: (each["positive"], each["negative"]) for name, each in self.values["known"].items()}
        return Counts(self.values["images"], self.values.get("patients"), known)

    @property
    def predictions(self) -> Predictions | None:
        """The probabilities; None where they are not kept."""
        path = self.run.path / predictions_file(self.split)
        return read_predictions(path) if path.is_file() else None

    @property
    def uncalibrated(self) -> Predictions | None:
        """The probabilities before calibration; None where they are not kept, or nothing was calibrated."""
        predictions, calibration = self.predictions, Calibration.read(self.run.path)
        if predictions is None or calibration is None or list(calibration.classes) != predictions.names:
            return None
        return calibration.undone(predictions)

    def triples(self) -> dict[str, Triple | None]:
        """Every figure with an interval, by name and class."""
        found = {self.key: self.mean} | {key: self.values[key] for key in OF_ALL if key in self.values}
        for name, each in self.values["classes"].items():
            found |= {f"{word(key, ' ')} {name}": each[key] for key in each if key != "threshold"}
        return found | {f"{self.key} of baseline {key}": each[self.key] for key, each in self.baselines.items()}


def results(figures: SplitFigures) -> Parts:
    """What a run reached on a split: a sentence, warnings, a table, and how it is to be read."""
    yield Text(_headline(figures))
    for name in figures.baselines:
        yield from _warning(figures, name)
    yield _figures_table(figures)
    yield Text(" ".join(_notes(figures)))


def sources(figures: SplitFigures) -> Parts:
    """The AUROC of each source as the evaluation left it, for where `subgroup_tables` cannot be: names the sources."""
    found = figures.values.get("sources", {})
    if found:
        header = ["Source", "Images", "mAUROC", *figures.values["per_class"]]
        rows = [
            [
                name,
                str(each["images"]),
                *(number_text(value, "undefined") for value in (each["mAUROC"], *each["per_class"].values())),
            ]
            for name, each in found.items()
        ]
        yield Table(f"AUROC of each source on {figures.split}", header, rows)


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
        counts[split] = figures.counts if figures else _listed(run, split)
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


def baseline_column(name: str) -> str:
    """The title of a column with a baseline's figures."""
    return f"AUROC of\n{name}"


def _headline(figures: SplitFigures) -> str:
    values = figures.values
    classes, undefined, patients = len(values["per_class"]), values["undefined"], values.get("patients")
    sentence = (
        f"mAUROC {inline(figures.mean)} over {classes - len(undefined)} of {classes} classes, on {values['images']} "
        f"images of {figures.split}" + (f" ({patients} patients)" if patients else "")
    )
    beside = [f"{BASELINES.get(name, name)} {inline(each['mAUROC'])}" for name, each in figures.baselines.items()]
    sentence += f"; beside it: {', '.join(beside)}." if beside else "."
    if undefined:
        sentence += f" Undefined, for only one outcome is known: {', '.join(undefined)}."
    rates = [f"{word(key, ' ')}: {inline(values[key])}." for key in OF_ALL if key in values]
    return " ".join([sentence, *rates])


def _warning(figures: SplitFigures, name: str) -> Parts:
    """A warning where the run's interval does not lie above the baseline."""
    mean, trivial = figures.mean, figures.baselines[name]["mAUROC"]
    if mean is None or trivial is None:
        return
    value, low, _ = mean
    if (value if low is None else low) <= trivial[0]:
        yield Text(
            f"Take care: the mAUROC, {inline(mean)}, does not exceed that of the {BASELINES.get(name, name)}, "
            f"{trivial[0]:.3f}, by more than its interval: {EXPLAINED.get(name, 'it explains as much')}.",
            is_warning=True,
        )


def _figures_table(figures: SplitFigures) -> Table:
    classes, baselines = figures.values["classes"], figures.baselines
    columns = [key for key in next(iter(classes.values())) if key != "threshold"]
    trivial = [triple_text(each["mAUROC"]) for each in baselines.values()]
    rows = [["mAUROC", triple_text(figures.mean), *[""] * len(columns), *trivial]]
    for name, each in classes.items():
        undefined = {"auroc": UNDEFINED}
        undefined |= dict.fromkeys(OF_THRESHOLD, "no threshold") if each["threshold"] is None else {}
        cells = [triple_text(each[key], undefined.get(key, "undefined")) for key in columns]
        trivial = [number_text(of_all["per_class"].get(name), "undefined") for of_all in baselines.values()]
        rows.append([name, *cells, number_text(each["threshold"], "none"), *trivial])
    header = ["Class", *map(word, columns), "Threshold", *map(baseline_column, baselines)]
    return Table(f"Figures on {figures.split}", header, rows)


def _notes(figures: SplitFigures) -> Iterator[str]:
    values = figures.values
    yield "Known labels count, unknown ones do not."
    if values.get("resamples"):
        yield (
            f"In parentheses: 95 % percentile intervals of a bootstrap over the {values['patients']} patients "
            f"({values['resamples']} resamples)."
        )
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
    if figures.split == "validation":
        yield "The validation split chose model and thresholds, so its figures flatter the run."
    if figures.baselines:
        yield "The trivial baselines show what the images give away without any finding being seen."
    for name, of_all in figures.baselines.items():
        lacking = [
            key for key, value in values["per_class"].items() if value is not None and of_all["per_class"][key] is None
        ]
        if lacking:
            yield (
                f"The {BASELINES.get(name, name)} knows one outcome of {', '.join(lacking)} only, which its mean "
                "leaves out."
            )


def _mean_of(classes: Mapping[str, Mapping[str, Any]], key: str) -> float | None:
    """The mean of a figure over the classes in which it is defined."""
    values = [each[key][0] for each in classes.values() if each[key]]
    return sum(values) / len(values) if values else None


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
    for word in ("images", "patients"):
        totals = [str(getattr(count, word) or "") for count in counts.values()]
        rows.append([word, *(cell for total in totals for cell in (total, "", ""))])
    header = ["Class", *(f"{split}\n{state}" for split in counts for state in ("positive", "negative", "unknown"))]
    return Table("Known labels of each class", header, rows)


def _states(count: Counts, name: str) -> list[str]:
    if name not in count.known:
        return ["", "", ""]
    positive, negative = count.known[name]
    return [str(positive), str(negative), str(count.images - positive - negative)]


def word(key: str, line_break: str = "\n") -> str:
    """What a figure is called, as the title of a column or within a line."""
    return WORDS.get(key, key.replace("_", " ").capitalize()).replace("\n", line_break)


def inline(triple: Triple | None) -> str:
    """A value and its interval within a line."""
    return triple_text(triple).replace("\n", " ")
