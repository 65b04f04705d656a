"""What a page says of runs: how each was made, what it came to, how to go on with it; and of several side by side."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from matplotlib.figure import Figure

from medssl.errors import UserError
from medssl.evaluation import Mistake, compare_runs, draw_mistakes, worst_mistakes
from medssl.evaluation.source_probe import SourceProbe
from medssl.readers.modalities import image_word
from medssl.runs import (
    CONFIG,
    FEATURES,
    FEATURES_PICTURE,
    Run,
    grad_cam_file,
    overlays_file,
    predictions_file,
    shown_path,
)

from .curves import curve_parts
from .masks import mask_results, outlined_counts
from .page import Parts, Picture, Section, Table, Text
from .plots import draw_auroc, draw_curves, draw_reliability, draw_roc, png
from .split_figures import SplitFigures, baseline_column, source_table, triple_text
from .story import ONE_OUTCOME, begun_with, known_labels, pretraining_results, results
from .subgroups import described_images, subgroup_tables

MAIN_SETTINGS = {
    "epochs": "epochs, at most",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "seed": "seed",
}
OF_VIEW = {"image_size": "image size", "spacing": "spacing in mm", "window": "window in HU"}
SHOWN_ELSEWHERE = {
    "data", "datalist", "pretrained", "output_dir", "bundle", "bundle_root", "dataset_dir", "architecture", "rank",
    "resume", "tasks", "init", "init_source", *MAIN_SETTINGS, *OF_VIEW,
}  # fmt: skip
HELD_BESIDE = {"chance": "accuracy", "baseline": "error"}
"""What a metric of a pretext task is drawn beside."""


def run_sections(name: str, run: Run) -> list[Section]:
    """What a run is, its results, its training, its curves and pictures, its settings."""
    first, pictures = [Section(name, list(_pretraining(run)))], list[Section]()
    if run.is_segmentation:
        first = [Section(name, list(_segmentation(run))), Section("Results", list(_mask_results(run)), level=3)]
        first += _groups(run)
        pictures = [Section("Best and worst cases", list(_overlays(name, run)), level=3)]
    elif not run.is_pretraining:
        first = [Section(name, list(_finetuning(run))), Section("Results", list(_results(name, run)), level=3)]
        first += _groups(run)
        pictures = [Section("Curves and pictures", list(_pictures(name, run)), level=3)]
        if mistakes := list(_mistakes(name, run)):
            pictures.append(Section("Worst mistakes", mistakes, level=3))
    pictures += [Section("Features", features, level=3)] if (features := list(_features(name, run))) else []
    training = Section("Training", [_curves(name, run)], level=3)
    return [*first, training, *pictures, Section("Settings", [_settings(run)], level=3)]


def curve_section(name: str, folder: Path) -> Section:
    """What a study of learning curves came to, see `medssl.report.curves`."""
    return Section(f"Learning curves: {name}", list(curve_parts(folder, _picture_file(name, "curve"))))


def comparison_sections(runs: Mapping[str, Run]) -> list[Section]:
    """All runs in one table, then each further one against the first; nothing for a single run.

    Args:
        runs: fine-tuning runs by name.
    """
    if len(runs) < 2:
        return []
    evaluated = {name: SplitFigures.read(run) for name, run in runs.items()}
    first, *others = runs
    parts = list(_overview(runs, evaluated))
    for other in others:
        parts += _difference(first, evaluated[first], other, evaluated[other])
    return [Section("Comparison", parts)]


def _weights_at_start(run: Run) -> str:
    pretrained = run.text("pretrained")
    begun = begun_with(run)
    if not pretrained:
        return begun or "random (RandIni)" if "pretrained" in run.config else "unknown"
    tasks = run.pretraining_description().get("tasks", [])
    return "\n".join(
        filter(
            None, (shown_path(pretrained), tasks and f"pre-trained on {', '.join(tasks)}", begun and f"from {begun}")
        )
    )


def _pretraining(run: Run) -> Parts:
    facts = {"pretext tasks": ", ".join(run.tasks), "weights at the start": begun_with(run)}
    for key, words in (("images", "images"), ("epoch", "epochs done")):
        if key in run.metrics:
            facts[words] = str(run.metrics[key])
    yield _main_facts(run, facts)
    told = list(pretraining_results(run))
    yield from told
    if not told:
        sentence = "There are no figures yet: no epoch has ended. This goes on with the training:"
        yield Text(sentence, run.resume_command())


def _finetuning(run: Run) -> Parts:
    yield _main_facts(run, {"weights at the start": _weights_at_start(run)})
    yield from known_labels(run)


def _segmentation(run: Run) -> Parts:
    classes = run.description.get("classes") or []
    contains = run.description.get("contains") or {}
    made_up = "; ".join(f"{whole}: {', '.join(parts)}" for whole, parts in contains.items())
    special = {"weights at the start": _weights_at_start(run), "classes": ", ".join(classes), "made up of": made_up}
    yield _main_facts(run, special)
    if figures := SplitFigures.read(run):
        yield from outlined_counts(figures)


def _mask_results(run: Run) -> Parts:
    figures = SplitFigures.read(run)
    yield from _not_yet(run, figures)
    if figures is None:
        return
    yield from mask_results(figures)
    yield from _missing_baselines(run, figures)


def _overlays(name: str, run: Run) -> Parts:
    split = figures.split if (figures := SplitFigures.read(run)) else "test"
    if (path := run.path / overlays_file(split)).is_file():
        caption = f"Masks on {split} in the best and the worst cases: what was found over what was outlined"
        yield Picture(_picture_file(name, "overlays"), path.read_bytes(), caption)
    else:
        yield Text("There are no pictures yet. The evaluation on the test split draws them:", run.evaluate_command())


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
    return _drawn(name, "training", draw_curves(panels), "Metrics over the epochs of training")


def _not_yet(run: Run, figures: SplitFigures | None) -> Parts:
    """What of the evaluation is still to be done, and how."""
    if figures is None or figures.split != "test":
        yield Text("The run is not evaluated on the test split yet. This does it:", run.evaluate_command())
    if figures is None:
        sentence = "There are no figures at all: no epoch of the training has been validated. This goes on with it:"
        yield Text(sentence, run.resume_command())


def _missing_baselines(run: Run, figures: SplitFigures) -> Parts:
    if not figures.baselines and figures.split == "test":
        yield Text("The two trivial results are missing. This evaluates anew, with them:", run.evaluate_command())


def _results(name: str, run: Run) -> Parts:
    figures = SplitFigures.read(run)
    yield from _not_yet(run, figures)
    if figures is None:
        return
    yield from results(figures)
    yield from _missing_baselines(run, figures)
    points = {
        figures.words.baselines.get(key, key): {"mAUROC": (each["mAUROC"] or [None])[0], **each["per_class"]}
        for key, each in figures.baselines.items()
    }
    caption = f"AUROC on {figures.split}, mean and classes"
    yield _drawn(name, "auroc", draw_auroc({"this run": figures.aurocs}, points), caption)


def _groups(run: Run) -> list[Section]:
    """A section where the patients are of several groups."""
    figures = SplitFigures.read(run)
    parts = list(subgroup_tables(figures)) or list(source_table(figures)) if figures else []
    return [Section("Groups of patients", parts, level=3)] if parts else []


def _pictures(name: str, run: Run) -> Parts:
    figures = SplitFigures.read(run)
    if figures is None:
        yield Text("ROC curves, reliability plot and Grad-CAM come with the evaluation.")
        return
    split, predictions = figures.split, figures.predictions
    if predictions is None:
        sentence = f"ROC and reliability curves need {predictions_file(split)}. This makes it:"
        yield Text(sentence, run.evaluate_command())
    else:
        caption = f"ROC curves on {split}; the dot is the threshold"
        yield _drawn(name, "roc", draw_roc(predictions, figures.values), caption)
        yield _drawn(name, "reliability", draw_reliability(predictions, figures.uncalibrated), _reliability(figures))
    panels = run.path / grad_cam_file(split)
    if panels.is_file():
        caption = f"Grad-CAM on {split}: of each class the known positive and negative image of the highest probability"
        yield Picture(_picture_file(name, "gradcam"), panels.read_bytes(), caption)
    else:
        sentence = "There are no Grad-CAM panels. The evaluation on the test split draws them:"
        yield Text(sentence, run.evaluate_command())


def _mistakes(name: str, run: Run) -> Parts:
    """What the run was surest of and wrong about, with the images where they are still to be found."""
    figures = SplitFigures.read(run)
    predictions = figures.predictions if figures else None
    mistakes = worst_mistakes(predictions) if predictions else []
    if figures is None or not mistakes:
        return
    yield Text(
        f"What the run was surest of on {figures.split}, and wrong about, at most two of a class. Look whether the "
        "network or the label is to blame: labels from reports are wrong at times."
    )
    items = described_images(run, figures.split)
    with suppress(UserError, KeyError):  # the images are no longer where they were
        files = [items[each.image]["image"] for each in mistakes]
        figure = draw_mistakes(mistakes, files, run.description.get("window"))
        yield _drawn(name, "mistakes", figure, "The images of the worst mistakes, by their number in the table")
    rows = [
        [str(number), each.name, "present" if each.is_positive else "absent", _hash(each), f"{each.probability:.3f}"]
        for number, each in enumerate(mistakes, start=1)
    ]
    yield Table("The worst mistakes", ["Picture", "Class", "Known to be", "File in the store", "Probability"], rows, 4)


def _hash(mistake: Mistake) -> str:
    """The beginning of a file's name in the store, a hash of the image; "" of other names, which may be telling."""
    name = PurePosixPath(mistake.image)
    return f"{name.parent.name}/{name.stem[:8]}…" if re.fullmatch(r"[0-9a-f]{16,}", name.stem) else ""


def _features(name: str, run: Run) -> Parts:
    """The images in the plane of the features, and whether these tell the hospital, where `medssl embed` was asked."""
    if (path := run.path / FEATURES / FEATURES_PICTURE).is_file():
        if told := run.features_summary():
            sources = told["sources"]
            images, aurocs = ({key: each[of] for key, each in sources.items()} for of in ("images", "auroc"))
            yield Text(str(SourceProbe(images, aurocs, told["source_auroc"])))
        caption = "Where the images lie in the plane in which their features differ most"
        yield Picture(_picture_file(name, "features"), path.read_bytes(), caption)


def _reliability(figures: SplitFigures) -> str:
    caption = f"Reliability on {figures.split}; on the dotted line: what is given 70 % comes true in 70 of 100 cases"
    return caption + ("; grey: before calibration, blue: after it" if figures.uncalibrated else "")


def _overview(runs: Mapping[str, Run], evaluated: Mapping[str, SplitFigures | None]) -> Parts:
    known = {name: figures for name, figures in evaluated.items() if figures}
    baselines = list(dict.fromkeys(key for figures in known.values() for key in figures.baselines))
    rows = []
    for name, run in runs.items():
        cells = ["none yet", "", "", *[""] * len(baselines)]
        if figures := known.get(name):
            trivial = [
                triple_text(figures.baselines[key]["mAUROC"]) if key in figures.baselines else "" for key in baselines
            ]
            cells = [figures.split, str(figures.values["images"]), triple_text(figures.mean), *trivial]
        rows.append([name, _weights_at_start(run), *cells])
    beside = [baseline_column("AUROC", name) for name in baselines]
    header = ["Run", "Weights at the start", "Split", "Images", "mAUROC", *beside]
    yield Table("The runs", header, rows, words=3)
    split = next(iter(known.values())).split if known else ""
    aurocs = {name: figures.aurocs for name, figures in known.items() if figures.split == split}
    if len(aurocs) > 1:
        yield _drawn("comparison", "auroc", draw_auroc(aurocs), "AUROC of the runs on the same split")


def _difference(first: str, before: SplitFigures | None, second: str, after: SplitFigures | None) -> Parts:
    splits = [figures.split if figures else "no split yet" for figures in (before, after)]
    if before is None or after is None or before.split != after.split:
        yield Text(
            f"{second} is not compared with {first}: the one is evaluated on {splits[1]}, the other on {splits[0]}. "
            "Evaluate both on the test split."
        )
        return
    split, pair = before.split, (before.predictions, after.predictions)
    if pair[0] is None or pair[1] is None:
        lacking = f"one lacks its {predictions_file(split)}. Evaluate it again."
        yield Text(f"{second} is not compared with {first}: {lacking}")
        return
    try:
        compared = compare_runs(pair[0], pair[1])
    except UserError:  # its message may name an image, which does not belong on the page
        yield Text(
            f"{second} is not compared with {first}: their {split} splits, of {len(pair[1].images)} and "
            f"{len(pair[0].images)} images, differ in images, classes or labels. Evaluate both on the same datalist."
        )
        return
    rows = []
    for name, each in {"mAUROC": compared["mAUROC"], **compared["per_class"]}.items():
        cells = ["", "", ONE_OUTCOME, ""]
        if each:
            difference = triple_text(each["difference"], sign="+")
            cells = [f"{each['first']:.3f}", f"{each['second']:.3f}", difference, f"{each['p']:.3f}"]
        rows.append([name, *cells])
    yield Table(f"{second} against {first}, on {split}", ["AUROC", first, second, "Difference", "p"], rows)
    yield Text(
        f"The difference is {second} minus {first}, with its 95 % interval and two-sided p of a paired bootstrap over "
        f"{compared['patients']} patients ({compared['resamples']} resamples). The p of single classes are not "
        "corrected for their number."
    )


def _drawn(name: str, what: str, figure: Figure, caption: str) -> Picture:
    return Picture(_picture_file(name, what), png(figure), caption)


def _picture_file(name: str, what: str) -> str:
    return re.sub(r"[^\w-]+", "_", name).strip("_") + f"_{what}.png"


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain(each) for each in value)
    return not isinstance(value, dict) and not str(value).startswith("$")


def _without_folders(value: Any) -> str:
    """A setting as text; of a path only what a report may show."""
    if isinstance(value, list):
        return ", ".join(map(_without_folders, value))
    return shown_path(value) if isinstance(value, str) and re.search(r"[/\\]", value) else str(value)
