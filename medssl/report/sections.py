"""What a page says of one run: how it was made, what it came to, its curves and pictures, how to go on with it."""

import re
from collections.abc import Mapping
from typing import Any

from medssl.readers.modalities import image_word
from medssl.runs import CONFIG, Run, grad_cam_file, predictions_file, shown_path

from .page import Parts, Picture, Section, Table, Text
from .plots import draw_auroc, draw_curves, draw_reliability, draw_roc, png
from .story import BASELINES, SplitFigures, known_labels, pretraining_results, results

MAIN_SETTINGS = {
    "epochs": "epochs, at most",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "seed": "seed",
}
OF_VIEW = {"image_size": "image size", "spacing": "spacing in mm", "window": "window in HU"}
SHOWN_ELSEWHERE = {
    "data", "datalist", "pretrained", "output_dir", "bundle", "bundle_root", "dataset_dir", "architecture", "rank",
    "resume", "tasks", *MAIN_SETTINGS, *OF_VIEW,
}  # fmt: skip
HELD_BESIDE = {"chance": "accuracy", "baseline": "error"}
"""What a metric of a pretext task is drawn beside."""


def run_sections(name: str, run: Run) -> list[Section]:
    """What a run is, its results, its training, its curves and pictures, its settings."""
    first, pictures = [Section(name, list(_pretraining(run)))], list[Section]()
    if not run.is_pretraining:
        first = [Section(name, list(_finetuning(run))), Section("Results", list(_results(name, run)), level=3)]
        pictures = [Section("Curves and pictures", list(_pictures(name, run)), level=3)]
    training = Section("Training", [_curves(name, run)], level=3)
    return [*first, training, *pictures, Section("Settings", [_settings(run)], level=3)]


def weights_at_start(run: Run) -> str:
    """Which weights a fine-tuning began with, and what these were trained on."""
    pretrained = run.text("pretrained")
    if not pretrained:
        return "random (RandIni)" if "pretrained" in run.config else "unknown"
    tasks = run.pretraining_description().get("tasks", [])
    return shown_path(pretrained) + (f"\npre-trained on {', '.join(tasks)}" if tasks else "")


def picture_file(run: str, what: str) -> str:
    """Name of a picture beside the page."""
    return re.sub(r"[^\w-]+", "_", run).strip("_") + f"_{what}.png"


def _pretraining(run: Run) -> Parts:
    facts = {"pretext tasks": ", ".join(run.tasks)}
    for key, words in (("images", "images"), ("epoch", "epochs done")):
        if key in run.metrics:
            facts[words] = str(run.metrics[key])
    yield _main_facts(run, facts)
    told = list(pretraining_results(run))
    yield from told
    if not told:
        yield Text("There are no figures yet: no epoch has ended. This goes on with the training:")
        yield _command(run.resume_command())


def _finetuning(run: Run) -> Parts:
    yield _main_facts(run, {"weights at the start": weights_at_start(run)})
    yield from known_labels(run)


def _main_facts(run: Run, special: Mapping[str, str]) -> Table:
    """What a run is: network, data and the numbers that matter, with what only its kind has between them."""
    described = run.description.get("architecture") or run.description.get("backbone")
    architecture = run.text("architecture") or described or "unknown"
    facts = {"network": f"{architecture}, {run.spatial_dims}D", **special}
    if run.modality:
        facts["images"] = f"{image_word(run.modality, run.spatial_dims)}s"
    if run.data:
        facts["data"] = shown_path(run.data)
    seen = run.description or {key: value for key in OF_VIEW if (value := run.text(key)) != "auto"}
    facts |= {words: _without_folders(seen.get(key) or "") for key, words in OF_VIEW.items()}
    facts |= {words: run.text(key) for key, words in MAIN_SETTINGS.items()}
    return Table("What it is", ("", ""), [(words, value) for words, value in facts.items() if value], words=2)


def _settings(run: Run) -> Table | Text:
    """Every other plain value of the config, and which parts stand where one can choose."""
    values = {key: value for key, value in run.config.items() if key not in SHOWN_ELSEWHERE and _is_plain(value)}
    parts = {key: run.config.get(key) for key in ("loss", "optimizer")}
    values |= {key: part["_target_"] for key, part in parts.items() if isinstance(part, dict) and "_target_" in part}
    if not values:
        return Text(f"The settings are unknown: the run's folder has no {CONFIG}.")
    rows = [(key, _without_folders(value)) for key, value in values.items()]
    return Table("Values of the config", ("id", "value"), rows, words=2)


def _curves(name: str, run: Run) -> Picture | Text:
    """The metrics over the epochs, or a sentence where there is no log."""
    panels: dict[str, dict[str, Any]] = {}
    for metric, values in run.curves().items():
        group, _, last = metric.rpartition("/")
        title = group if group == "probe" else f"{group} {HELD_BESIDE.get(last, last)}".strip()
        panels.setdefault(title, {})[last] = values
    if not panels:
        return Text("There are no training curves: the run's folder has no TensorBoard log (events.*).")
    return Picture(picture_file(name, "training"), png(draw_curves(panels)), "Metrics over the epochs of training")


def _results(name: str, run: Run) -> Parts:
    figures = SplitFigures.read(run)
    if figures is None or figures.split != "test":
        yield Text("The run is not evaluated on the test split yet. This does it:")
        yield _command(run.evaluate_command())
    if figures is None:
        yield Text("There are no figures at all: no epoch of the training has been validated. This goes on with it:")
        yield _command(run.resume_command())
        return
    yield from results(figures)
    if not figures.baselines and figures.split == "test":
        yield Text("The two trivial baselines are missing. This evaluates anew, with them:")
        yield _command(run.evaluate_command())
    points = {
        BASELINES.get(key, key): {"mAUROC": (each["mAUROC"] or [None])[0], **each["per_class"]}
        for key, each in figures.baselines.items()
    }
    drawn = png(draw_auroc({"this run": figures.aurocs}, points))
    yield Picture(picture_file(name, "auroc"), drawn, f"AUROC on {figures.split}, mean and classes")


def _pictures(name: str, run: Run) -> Parts:
    figures = SplitFigures.read(run)
    if figures is None:
        yield Text("ROC curves, reliability plot and Grad-CAM come with the evaluation.")
        return
    split, predictions = figures.split, figures.predictions
    if predictions is None:
        yield Text(f"ROC and reliability curves need {predictions_file(split)}. This makes it:")
        yield _command(run.evaluate_command())
    else:
        roc, reliability = png(draw_roc(predictions, figures.values)), png(draw_reliability(predictions))
        yield Picture(picture_file(name, "roc"), roc, f"ROC curves on {split}; the dot is the threshold")
        caption = f"Reliability on {split}; on the line: calibrated"
        yield Picture(picture_file(name, "reliability"), reliability, caption)
    panels = run.path / grad_cam_file(split)
    if panels.is_file():
        caption = f"Grad-CAM on {split}: of each class the known positive and negative image of the highest probability"
        yield Picture(picture_file(name, "gradcam"), panels.read_bytes(), caption)
    else:
        yield Text("There are no Grad-CAM panels. The evaluation on the test split draws them:")
        yield _command(run.evaluate_command())


def _command(text: str) -> Text:
    return Text(text, kind="command")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(each) for each in value)
    return not isinstance(value, dict) and not str(value).startswith("$")


def _without_folders(value: Any) -> str:
    """A setting as text; of a path only what a report may show."""
    if isinstance(value, list):
        return ", ".join(map(_without_folders, value))
    return shown_path(value) if isinstance(value, str) and re.search(r"[/\\]", value) else str(value)
