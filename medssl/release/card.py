"""``docs/README.md`` of an exported bundle, after the model zoo's template: what the run knows, and no name of anybody.

The sentences stand in ``templates/README.md.j2``; here is what fills them.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medssl.data import label_counts, read_datalist, read_labels
from medssl.report.figures import baseline_words, inline, mean_auroc, split_figures, triple_text

from .metadata import OWN_ENTRIES
from .model import Model
from .templates import render

SPLITS = ("training", "validation", "test")
COLUMNS = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ece": "ECE",
}


class SplitCounts(NamedTuple):
    """What a split holds."""

    images: int
    patients: int
    known: dict[str, tuple[int, int]]
    """Class → known positive and known negative images."""


def card(model: Model, metadata: Mapping[str, Any]) -> str:
    """The text of ``docs/README.md``.

    Args:
        model: what is exported.
        metadata: its ``metadata.json``.
    """
    counts = count_splits(model)
    figures = split_figures(model.run, "test")
    flat = model.spatial_dims == 2
    return render(
        "README.md",
        model=model,
        metadata=metadata,
        network=model.description.get("architecture") or model.description["backbone"],
        image=model.image_word,
        size=" × ".join(map(str, model.image_size)) + (" pixels" if flat else " voxels"),
        spacing=None if flat else _spacing(model.description["spacing"]),
        tags=_tags(model),
        counts=_counts_table(counts),
        uncounted=[split for split in SPLITS if split not in counts],
        figures=figures,
        headline=_headline(figures) if figures else "",
        figures_table=_figures_table(model, figures) if figures else "",
        validation=_mean(split_figures(model.run, "validation")),
        cautions=_cautions(model, figures),
        requirements=_requirements(metadata),
        example_datalist=_example_datalist(model),
    )


def count_splits(model: Model) -> dict[str, SplitCounts]:
    """The counts of every split as it was evaluated, or as the datalist has it where that still lies where it was."""
    counts = {split: _evaluated_counts(model, split) or _listed_counts(model, split) for split in SPLITS}
    return {split: count for split, count in counts.items() if count}


def _evaluated_counts(model: Model, split: str) -> SplitCounts | None:
    figures = split_figures(model.run, split)
    if not figures:
        return None
    known = {name: (count["positive"], count["negative"]) for name, count in figures["known"].items()}
    return SplitCounts(figures["images"], figures["patients"], known)


def _listed_counts(model: Model, split: str) -> SplitCounts | None:
    datalist = Path(model.run.text("datalist") or "nowhere")
    with contextlib.suppress(ValueError, FileNotFoundError):  # gone, or another by now
        if model.classes and read_labels(datalist) == model.classes:
            items = read_datalist(datalist, split, check_files=False)
            labels = np.array([item["label"] for item in items]).reshape(len(items), len(model.classes))
            positive, negative = label_counts(labels)
            pairs = zip(positive.tolist(), negative.tolist(), strict=True)
            known = dict(zip(model.classes, pairs, strict=True))
            return SplitCounts(len(items), len({item["patient"] for item in items}), known)
    return None


def _tags(model: Model) -> list[str]:
    images = [model.image_word, f"{model.spatial_dims}D"]
    if not model.classes:
        return [*images, "self-supervised pre-training", "feature extraction"]
    return [*images, f"{'multi-class' if model.exclusive else 'multi-label'} classification", "partial labels"]


def _spacing(sides: Sequence[float]) -> str:
    return " × ".join("its own" if side == -1 else f"{side:g}" for side in sides) + " mm"


def _counts_table(counts: Mapping[str, SplitCounts]) -> str:
    if not counts:
        return ""
    states = ("positive", "negative", "unknown")
    rows = [
        [name, *(str(cell) for count in counts.values() for cell in _cells(count, name))]
        for name in next(iter(counts.values())).known
    ]
    for word in ("images", "patients"):
        rows.append([word, *(cell for count in counts.values() for cell in (str(getattr(count, word)), "", ""))])
    return _table(["", *(f"{split}: {state}" for split in counts for state in states)], rows)


def _cells(count: SplitCounts, name: str) -> tuple[int, int, int]:
    positive, negative = count.known[name]
    return positive, negative, count.images - positive - negative


def _headline(figures: Mapping[str, Any]) -> str:
    classes, undefined = len(figures["per_class"]), len(figures["undefined"])
    sentence = (
        f"mAUROC {_mean(figures) or 'undefined'} over {classes - undefined} of {classes} classes, on "
        f"{figures['images']} test images of {figures['patients']} patients."
    )
    rates = [key for key in ("accuracy", "balanced_accuracy") if key in figures]
    return " ".join([sentence, *(f"{key.replace('_', ' ').capitalize()}: {_cell(figures[key])}." for key in rates)])


def _figures_table(model: Model, figures: Mapping[str, Any]) -> str:
    baselines = figures.get("baselines", {})
    words = [f"AUROC of a {baseline_words(name, model.spatial_dims)}" for name in baselines]
    means = [_cell(baseline["mAUROC"]) for baseline in baselines.values()]
    rows = [["mean", _mean(figures) or "undefined", *[""] * len(COLUMNS), *means]]
    for name, values in figures["classes"].items():
        trivial = [baseline["per_class"].get(name) for baseline in baselines.values()]
        cells = [_cell(values[column]) for column in COLUMNS]
        rows.append([name, *cells, _number(values["threshold"], "none"), *map(_number, trivial)])
    return _table(["Class", *COLUMNS.values(), "Threshold", *words], rows)


def _cautions(model: Model, figures: Mapping[str, Any]) -> list[str]:
    """A warning for each trivial baseline that the model's interval does not lie above."""
    mean = mean_auroc(figures)
    cautions = []
    for name, baseline in figures.get("baselines", {}).items():
        value, low, _ = mean or (None, None, None)
        trivial = (baseline["mAUROC"] or [None])[0]
        if value is not None and trivial is not None and (value if low is None else low) <= trivial:
            words = baseline_words(name, model.spatial_dims)
            cautions.append(
                f"Take care: the mAUROC of {_mean(figures)} does not exceed that of a {words}, {trivial:.3f}, by more "
                "than its interval."
            )
    return cautions


def _requirements(metadata: Mapping[str, Any]) -> str:
    versions = {name: metadata[key] for name, key in OWN_ENTRIES.items()} | metadata["required_packages_version"]
    return " ".join(f"{name}=={version}" for name, version in versions.items())


def _example_datalist(model: Model) -> str:
    label = [1, *[0 if model.exclusive else None] * (len(model.classes) - 1)]
    image = "image_1.png" if model.spatial_dims == 2 else "volume_1.nii.gz"
    labels, item = json.dumps(model.classes, ensure_ascii=False), {"image": image, "label": label, "patient": "a"}
    return f'{{"labels": {labels},\n "test": [{json.dumps(item)}]}}'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _mean(figures: Mapping[str, Any]) -> str:
    """The mAUROC with its interval; "" where there is none."""
    mean = mean_auroc(figures)
    return _cell(mean) if mean else ""


def _cell(triple: Sequence[float | None] | None) -> str:
    return inline(triple_text(triple))


def _number(value: float | None, otherwise: str = "undefined") -> str:
    return otherwise if value is None else f"{value:.3f}"
