"""What a report says of every run, pre-training or fine-tuning: how it was made, its curves, how to go on with it."""

import re
from collections.abc import Mapping
from typing import Any

from medssl.data import image_word
from medssl.runs import Run, shown_path

from .page import Picture, Table, Text
from .plots import draw_curves, png

MAIN_SETTINGS = {
    "epochs": "epochs, at most",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "image_size": "image size",
    "spacing": "spacing in mm",
    "seed": "seed",
}
SHOWN_ELSEWHERE = {
    "datalist",
    "pretrained",
    "output_dir",
    "bundle_root",
    "dataset_dir",
    "architecture",
    "rank",
    "resume",
    *MAIN_SETTINGS,
}
HELD_BESIDE = {"chance": "accuracy", "baseline": "error"}
"""What a metric of a pretext task is drawn beside."""


def main_facts(run: Run, special: Mapping[str, str]) -> Table:
    """What a run is: network, data and the numbers that matter, with what only its kind has between them."""
    architecture = run.text("architecture") or str(run.description.get("architecture", "unknown"))
    facts = {"network": f"{architecture}, {run.spatial_dims}D", **special}
    if modality := run.description.get("modality"):
        facts["images"] = f"{image_word(str(modality), run.spatial_dims)}s"
    if run.text("datalist"):
        facts["datalist"] = shown_path(run.text("datalist"))
    values = {
        words: run.text(key) or _without_folders(run.description.get(key, "")) for key, words in MAIN_SETTINGS.items()
    }
    facts |= {words: value for words, value in values.items() if value}
    return Table("What it is", ("", ""), list(facts.items()), numeric=False)


def settings(run: Run) -> Table | Text:
    """Every other plain value of the config, and which parts stand where one can choose."""
    values = {key: value for key, value in run.config.items() if key not in SHOWN_ELSEWHERE and _is_plain(value)}
    parts = {key: run.config.get(key) for key in ("loss", "optimizer")}
    values |= {key: part["_target_"] for key, part in parts.items() if isinstance(part, dict) and "_target_" in part}
    if not values:
        return Text("The settings are unknown: the run's folder has no config.yaml.")
    rows = [(key, _without_folders(value)) for key, value in values.items()]
    return Table("Values of the config", ("id", "value"), rows, numeric=False)


def curves(name: str, run: Run) -> Picture | Text:
    """The metrics over the epochs, or a sentence where there is no log."""
    panels: dict[str, dict[str, Any]] = {}
    for metric, values in run.curves().items():
        group, _, last = metric.rpartition("/")
        title = group if group == "probe" else f"{group} {HELD_BESIDE.get(last, last)}".strip()
        panels.setdefault(title, {})[last] = values
    if not panels:
        return Text("There are no training curves: the run's folder has no TensorBoard log (events.*).")
    return Picture(picture_file(name, "training"), png(draw_curves(panels)), "Metrics over the epochs of training")


def evaluate_command(run: Run) -> Text:
    """What to type to evaluate a fine-tuning run on its test split."""
    bundle = f"bundles/{'cxr' if run.spatial_dims == 2 else 'ct'}_finetune"
    folder = shown_path(run.path)
    return Text(
        f"python -m monai.bundle run --bundle_root {bundle} "
        f"--config_file \"['{folder}/config.yaml','{bundle}/configs/evaluate.yaml']\" --output_dir {folder}",
        kind="command",
    )


def resume_command(run: Run) -> Text:
    """What to type to go on with a training."""
    bundle = f"bundles/{'cxr' if run.spatial_dims == 2 else 'ct'}_{'pretrain' if run.is_pretraining else 'finetune'}"
    folder = shown_path(run.path)
    return Text(
        f"python -m monai.bundle run --bundle_root {bundle} --config_file {folder}/config.yaml --output_dir {folder} "
        "--resume True",
        kind="command",
    )


def picture_file(run: str, what: str) -> str:
    """Name of a picture beside the page."""
    return re.sub(r"[^\w-]+", "_", run).strip("_") + f"_{what}.png"


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(each) for each in value)
    return not isinstance(value, dict) and not str(value).startswith("$")


def _without_folders(value: Any) -> str:
    """A setting as text; of a path only what a report may show."""
    if isinstance(value, list):
        return ", ".join(map(_without_folders, value))
    return shown_path(value) if isinstance(value, str) and re.search(r"[/\\]", value) else str(value)
