"""The figures of a split and how they are told, of findings as of masks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from medssl.errors import UserError
from medssl.evaluation.baselines import BASELINES
from medssl.evaluation.figures import OF_ALL
from medssl.evaluation.masks.baselines import MASK_BASELINES
from medssl.evaluation.predictions import Predictions, read_predictions
from medssl.evaluation.temperature import Calibration
from medssl.runs import METRICS, Run, predictions_file

from .page import Parts, Table, Text

Triple = Sequence[float | None]
"""A value and the two ends of its 95 % interval, which are None where there is none."""
UNDEFINED = "undefined"
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
EXPLAINED = {
    "pixels": "a shortcut in the data explains as much",
    "intensity": "grey values explain as much",
    "untrained": "features of random weights explain as much",
}
"""What it means when a run does not exceed a trivial baseline."""


class Words(NamedTuple):
    """What the figure of a class, its mean, the trivial results and the split's use are called."""

    figure: str
    mean: str
    baselines: Mapping[str, str]
    undefined: str
    """Why a class has none."""
    chosen: str
    """What the validation split chose."""


OF_FINDINGS = Words("AUROC", "mAUROC", BASELINES, "only one outcome is known", "model and thresholds")
OF_MASKS = Words("Dice", "Mean Dice", MASK_BASELINES, "nowhere outlined or found", "the model")


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


def word(key: str, line_break: str = "\n") -> str:
    """What a figure is called, as the title of a column or within a line."""
    return WORDS.get(key, key.replace("_", " ").capitalize()).replace("\n", line_break)


def inline(triple: Triple | None) -> str:
    """A value and its interval within a line."""
    return triple_text(triple).replace("\n", " ")


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
    def words(self) -> "Words":
        """What its figures are called."""
        return OF_MASKS if self.key == "mDice" else OF_FINDINGS

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


def headline(figures: SplitFigures) -> str:
    """The mean over the classes, that of the trivial results beside it, and which classes are undefined."""
    values, words = figures.values, figures.words
    classes, undefined, patients = len(values["per_class"]), values["undefined"], values.get("patients")
    sentence = (
        f"{words.mean} {inline(figures.mean)} over {classes - len(undefined)} of {classes} classes, on "
        f"{values['images']} images of {figures.split}" + (f" ({patients} patients)" if patients else "")
    )
    beside = [
        f"{words.baselines.get(name, name)} {inline(each[figures.key])}" for name, each in figures.baselines.items()
    ]
    sentence += f"; beside it: {', '.join(beside)}." if beside else "."
    return sentence + (f" Undefined, for {words.undefined}: {', '.join(undefined)}." if undefined else "")


def warnings(figures: SplitFigures) -> Parts:
    """A warning for each trivial result above which the run's interval does not lie."""
    mean, words = figures.mean, figures.words
    for name, each in figures.baselines.items():
        trivial = each[figures.key]
        if mean is None or mean[0] is None or trivial is None or trivial[0] is None:
            continue
        if (mean[0] if mean[1] is None else mean[1]) <= trivial[0]:
            yield Text(
                f"Take care: {words.mean} {inline(mean)} does not exceed the {trivial[0]:.3f} of what is trivial "
                f"({words.baselines.get(name, name)}) by more than its interval: "
                f"{EXPLAINED.get(name, 'it explains as much')}.",
                is_warning=True,
            )


def classes_table(figures: SplitFigures, columns: Mapping[str, Callable[[str], str]]) -> Table:
    """A row for the mean and one for each class, the trivial results at the end.

    Args:
        figures: of the split.
        columns: title → what stands beneath it of a class; the first is of the figure that the mean is of.
    """
    beside = figures.baselines
    rows = [[figures.words.mean, triple_text(figures.mean), *[""] * (len(columns) - 1)]]
    rows += [[name, *(cell(name) for cell in columns.values())] for name in figures.values["classes"]]
    for each in beside.values():
        rows[0].append(triple_text(each[figures.key]))
        for row in rows[1:]:
            row.append(number_text(each["per_class"].get(row[0]), UNDEFINED))
    header = ["Class", *columns, *(baseline_column(figures.words.figure, name) for name in beside)]
    return Table(f"Figures on {figures.split}", header, rows)


def baseline_column(figure: str, name: str) -> str:
    """The title of a column with a trivial result's figures."""
    return f"{figure} of\n{name}"


def source_table(figures: SplitFigures) -> Parts:
    """The figure of each source by itself, where there are several: names them, for a page that stays in the house."""
    found = figures.values.get("sources", {})
    names = list(figures.values["per_class"])
    rows = [
        [
            source,
            str(each["images"]),
            *(number_text(value, UNDEFINED) for value in (each[figures.key], *map(each["per_class"].get, names))),
        ]
        for source, each in found.items()
    ]
    if rows:
        words = figures.words
        title = f"{words.figure} on {figures.split} within each source"
        yield Table(title, ["Source", "Images", words.mean, *names], rows)


def how_to_read(figures: SplitFigures, counted: str, *meaning: str) -> Text:
    """What is to be known of figures: what is counted, what intervals these are, what they mean, what flatters them."""
    values, sentences = figures.values, [counted]
    if values.get("resamples"):
        sentences.append(
            f"In parentheses: 95 % percentile intervals of a bootstrap over the {values['patients']} patients "
            f"({values['resamples']} resamples)."
        )
    sentences += meaning
    if figures.split == "validation":
        sentences.append(f"The validation split chose {figures.words.chosen}, so its figures flatter the run.")
    return Text(" ".join(sentences))
