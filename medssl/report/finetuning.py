"""What a report tells of a fine-tuning run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medssl.data import label_counts, read_datalist, read_labels
from medssl.runs import Run, shown_path

from .facts import curves, evaluate_command, main_facts, picture_file, resume_command, settings
from .figures import (
    UNDEFINED,
    all_aurocs,
    baseline_points,
    baseline_words,
    inline,
    mean_auroc,
    reported_split,
    split_figures,
    split_predictions,
    triple_text,
)
from .page import Picture, Section, Table, Text
from .plots import draw_auroc, draw_reliability, draw_roc, png

COLUMNS = {
    "auroc": "AUROC",
    "average_precision": "Average\nprecision",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ece": "ECE",
}
BASELINE_COLUMNS = {"pixels": "AUROC of\npixels", "untrained": "AUROC of\nuntrained"}
EXPLAINED = {
    "pixels": "a shortcut in the data explains as much",
    "untrained": "features of random weights explain as much",
}
"""What it means when a run does not exceed a trivial baseline."""
Parts = Iterator[Text | Table | Picture]


def finetuning_sections(name: str, run: Run) -> list[Section]:
    """What the run is, its results, its training, its curves and pictures, its settings."""
    return [
        Section(name, list(_facts(run))),
        Section("Results", list(_results(name, run)), level=3),
        Section("Training", [curves(name, run)], level=3),
        Section("Curves and pictures", list(_pictures(name, run)), level=3),
        Section("Settings", [settings(run)], level=3),
    ]


def weights_at_start(run: Run) -> str:
    """Which weights a fine-tuning began with, and what these were trained on."""
    pretrained = run.text("pretrained")
    if not pretrained:
        return "random (RandIni)" if "pretrained" in run.config else "unknown"
    tasks = run.pretraining_description().get("tasks", [])
    return shown_path(pretrained) + (f"\npre-trained on {', '.join(tasks)}" if tasks else "")


def _facts(run: Run) -> Parts:
    yield main_facts(run, {"weights at the start": weights_at_start(run)})
    counts = {split: _counts(run, split) for split in ("training", "validation", "test")}
    known = {split: count for split, count in counts.items() if count}
    if known:
        yield _counts_table(known)
    missing = [split for split, count in counts.items() if not count]
    if missing:
        yield Text(
            f"The counts of {' and '.join(missing)} are missing: the datalist is not where the run read it, seen from "
            "the folder in which this report was made."
        )


class _Counts(NamedTuple):
    """What a split holds."""

    images: int
    patients: int | None
    known: dict[str, tuple[int, int]]
    """Class → known positive and known negative images."""


def _counts(run: Run, split: str) -> _Counts | None:
    """The counts of a split as it was evaluated, or as the datalist has it; None where neither is to be found."""
    figures, datalist = split_figures(run, split), Path(run.text("datalist") or "nowhere")
    if figures:
        known = {name: (count["positive"], count["negative"]) for name, count in figures["known"].items()}
        return _Counts(figures["images"], figures.get("patients"), known)
    if not datalist.is_file():
        return None
    items, names = read_datalist(datalist, split, check_files=False), read_labels(datalist)
    positive, negative = label_counts(np.array([item["label"] for item in items]).reshape(len(items), len(names)))
    known = dict(zip(names, zip(positive.tolist(), negative.tolist(), strict=True), strict=True))
    return _Counts(len(items), len({item["patient"] for item in items}), known)


def _counts_table(counts: Mapping[str, _Counts]) -> Table:
    names = dict.fromkeys(name for count in counts.values() for name in count.known)
    rows = [[name, *(cell for count in counts.values() for cell in _class_cells(count, name))] for name in names]
    for word in ("images", "patients"):
        totals = [str(getattr(count, word) or "") for count in counts.values()]
        rows.append([word, *(cell for total in totals for cell in (total, "", ""))])
    header = ["Class", *(f"{split}\n{state}" for split in counts for state in ("positive", "negative", "unknown"))]
    return Table("Known labels of each class", header, rows)


def _class_cells(count: _Counts, name: str) -> list[str]:
    if name not in count.known:
        return ["", "", ""]
    positive, negative = count.known[name]
    return [str(positive), str(negative), str(count.images - positive - negative)]


def _results(name: str, run: Run) -> Parts:
    split = reported_split(run)
    figures = split_figures(run, split)
    if split != "test":
        yield Text("The run is not evaluated on the test split yet. This does it:")
        yield evaluate_command(run)
    if not figures:
        yield Text("There are no figures at all: no epoch of the training has been validated. This goes on with it:")
        yield resume_command(run)
        return
    yield Text(_headline(run, split, figures))
    for baseline in figures.get("baselines", {}):
        yield from _warning(run, figures, baseline)
    yield _figures_table(split, figures)
    yield Text(_notes(run, split, figures))
    if "baselines" not in figures and split == "test":
        yield Text("The two trivial baselines are missing. This evaluates anew, with them:")
        yield evaluate_command(run)
    drawn = draw_auroc({"this run": all_aurocs(figures)}, baseline_points(figures, run.spatial_dims))
    yield Picture(picture_file(name, "auroc"), png(drawn), f"AUROC on {split}, mean and classes")


def _headline(run: Run, split: str | None, figures: Mapping[str, Any]) -> str:
    classes, undefined = len(figures["per_class"]), figures["undefined"]
    sentence = (
        f"mAUROC {inline(triple_text(mean_auroc(figures)))} over {classes - len(undefined)} of {classes} classes, on "
        f"{figures['images']} images of {split}"
    )
    beside = [
        f"{baseline_words(name, run.spatial_dims)} {inline(triple_text(baseline['mAUROC']))}"
        for name, baseline in figures.get("baselines", {}).items()
    ]
    sentence += f"; beside it: {', '.join(beside)}." if beside else "."
    if undefined:
        sentence += f" Undefined, for only one outcome is known: {', '.join(undefined)}."
    for key in ("accuracy", "balanced_accuracy"):
        if key in figures:
            sentence += f" {key.replace('_', ' ').capitalize()}: {inline(triple_text(figures[key]))}."
    return sentence


def _warning(run: Run, figures: Mapping[str, Any], baseline: str) -> Parts:
    """A warning where the run's interval does not lie above the baseline."""
    mean, trivial = mean_auroc(figures), figures["baselines"][baseline]["mAUROC"]
    if mean is None or trivial is None:
        return
    value, low, _ = mean
    if (value if low is None else low) <= trivial[0]:
        yield Text(
            f"Take care: the mAUROC, {inline(triple_text(mean))}, does not exceed that of the "
            f"{baseline_words(baseline, run.spatial_dims)}, {trivial[0]:.3f}, by more than its interval: "
            f"{EXPLAINED.get(baseline, 'it explains as much')}.",
            kind="warning",
        )


def _figures_table(split: str | None, figures: Mapping[str, Any]) -> Table:
    baselines = figures.get("baselines", {})
    means = [triple_text(baseline["mAUROC"]) for baseline in baselines.values()]
    rows = [["mAUROC", triple_text(mean_auroc(figures)), *[""] * len(COLUMNS), *means]]
    for name, values in figures["classes"].items():
        threshold = values["threshold"]
        words = {"auroc": UNDEFINED, "sensitivity": "no threshold" if threshold is None else "undefined"}
        words["specificity"] = words["sensitivity"]
        cells = [triple_text(values[key], words.get(key, "undefined")) for key in COLUMNS]
        trivial = [baseline["per_class"].get(name) for baseline in baselines.values()]
        rows.append(
            [
                name,
                *cells,
                "none" if threshold is None else f"{threshold:.3f}",
                *("undefined" if value is None else f"{value:.3f}" for value in trivial),
            ]
        )
    header = ["Class", *COLUMNS.values(), "Threshold", *(BASELINE_COLUMNS.get(name, name) for name in baselines)]
    return Table(f"Figures on {split}", header, rows)


def _notes(run: Run, split: str | None, figures: Mapping[str, Any]) -> str:
    sentences = ["Known labels count, unknown ones do not."]
    if figures.get("resamples"):
        sentences.append(
            "In parentheses: 95 % percentile intervals of a bootstrap over the "
            f"{figures['patients']} patients ({figures['resamples']} resamples)."
        )
    sentences.append(
        "Sensitivity and specificity are those at the threshold that maximises their sum on the validation split; ECE "
        "is the expected calibration error in ten bins."
    )
    if split == "validation":
        sentences.append("The validation split chose model and thresholds, so its figures flatter the run.")
    for name, baseline in figures.get("baselines", {}).items():
        lacking = [
            key
            for key, value in figures["per_class"].items()
            if value is not None and baseline["per_class"][key] is None
        ]
        if lacking:
            words = baseline_words(name, run.spatial_dims)
            sentences.append(f"The {words} knows one outcome of {', '.join(lacking)} only, which its mean leaves out.")
    return " ".join(sentences)


def _pictures(name: str, run: Run) -> Parts:
    split = reported_split(run)
    if split is None:
        yield Text("ROC curves, reliability plot and Grad-CAM come with the evaluation.")
        return
    predictions = split_predictions(run, split)
    if predictions is None:
        yield Text(f"ROC and reliability curves need predictions_{split}.csv. This makes it:")
        yield evaluate_command(run)
    else:
        roc = draw_roc(predictions, split_figures(run, split))
        yield Picture(picture_file(name, "roc"), png(roc), f"ROC curves on {split}; the dot is the threshold")
        reliability = png(draw_reliability(predictions))
        yield Picture(
            picture_file(name, "reliability"), reliability, f"Reliability on {split}; on the line: calibrated"
        )
    panels = run.path / f"gradcam_{split}.png"
    if panels.is_file():
        caption = f"Grad-CAM on {split}: of each class the known positive and negative image of the highest probability"
        yield Picture(picture_file(name, "gradcam"), panels.read_bytes(), caption)
    else:
        yield Text("There are no Grad-CAM panels. The evaluation on the test split draws them:")
        yield evaluate_command(run)
