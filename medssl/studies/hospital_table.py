"""Pixels, RandIni and pre-trained beside each other, within hospitals that were trained on and at one never seen."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from rich.table import Table as ScreenTable

from medssl.data import Datalist
from medssl.evaluation import linear_probe, read_predictions, thumbnails
from medssl.networks import build_backbone, compute_features, load_backbone_weights
from medssl.report.page import Table
from medssl.runs import BACKBONE, predictions_file
from medssl.training import choose_view

from .bundle_runs import BundleRun
from .curve_figures import FINE_TUNED, PROBE, Cell, Place, cell_of, known_sources
from .pretraining_gain import PRETRAINED, RANDINI, Comparison

Item = Mapping[str, Any]
"""Of a datalist."""
PIXELS = "8×8 pixels"
"""A logistic regression on them sees exposure and outline; what it reaches, the images give away."""
WORDS = {
    (PIXELS, PROBE): "8×8 pixels, logistic regression",
    (RANDINI, FINE_TUNED): "RandIni, fine-tuned",
    (PRETRAINED, FINE_TUNED): "pre-trained, fine-tuned",
    (PRETRAINED, PROBE): "pre-trained, frozen: logistic regression",
}
"""The rows: arm and method."""


def judge(comparison: Comparison) -> list[Cell]:
    """What each row of `WORDS` comes to at each place, over the seeds of a comparison that has ended.

    Args:
        comparison: its labelled test images may be of sources that it was not trained on.
    """
    prepared = Datalist.read(comparison.finetune.options["data"])
    training, test = (_known(prepared, split) for split in ("training", "test"))
    scores = {
        (PIXELS, PROBE): [_probed(comparison, prepared, training, test)],
        (PRETRAINED, PROBE): [_probed(comparison, prepared, training, test, seed) for seed in comparison.seeds],
        **{
            (arm, FINE_TUNED): [
                _fine_tuned(comparison.finetune_run(seed, arm), prepared, test) for seed in comparison.seeds
            ]
            for arm in (RANDINI, PRETRAINED)
        },
    }
    return [
        cell_of(place, method, arm, len(training), [each[rows] for each in scores[arm, method]])
        for place, rows in places(training, test, prepared.labels)
        for arm, method in WORDS
    ]


def places(training: Sequence[Item], test: Sequence[Item], labels: Sequence[str]) -> list[tuple[Place, np.ndarray]]:
    """The sources that were trained on, together, then each further one of the test; and the rows of their images."""
    trained = known_sources(training)
    words = " + ".join(trained)
    sources = np.array([item["source"] for item in test])
    found = [(f"within {words}".strip(), np.isin(sources, trained or [""]))]
    found += [(f"at {name}, never seen", sources == name) for name in known_sources(test) if name not in trained]
    return [
        (
            Place(name, words, number > 0, [test[row] for row in np.flatnonzero(rows).tolist()], labels),
            np.flatnonzero(rows),
        )
        for number, (name, rows) in enumerate(found)
        if rows.any()
    ]


def hospital_table(cells: Sequence[Cell]) -> Table:
    """Rows of `WORDS`, a column for each place: mean ± SD over the seeds [95 % interval over test patients]."""
    names = list(dict.fromkeys(cell.place.name for cell in cells))
    found = {(cell.arm, cell.method, cell.place.name): cell for cell in cells}
    rows = [[words, *(cell_text(found[arm, method, name]) for name in names)] for (arm, method), words in WORDS.items()]
    seeds = max(len(cell.values) for cell in cells)
    over = f"mean ± SD over {seeds} seeds" if seeds > 1 else "one seed"
    title = f"mAUROC, {cells[0].size} labelled images; {over} [95 % interval over test patients]"
    return Table(title, ["", *names], rows)


def on_screen(table: Table) -> ScreenTable:
    """A table of a report as one for the screen."""
    shown = ScreenTable(title=f"\n{table.title}", title_justify="left")
    for number, name in enumerate(table.header):
        shown.add_column(name, justify="left" if number < table.words else "right")
    for row in table.rows:
        shown.add_row(*row)
    return shown


def cell_text(cell: Cell) -> str:
    """Such as `0.674 ± 0.016 [0.651, 0.697]`; without ± for a single value."""
    low, high = cell.over_patients
    spread = f" ± {cell.values.std(ddof=1):.3f}" if len(cell.values) > 1 else ""
    return f"{cell.values.mean():.3f}{spread} [{low:.3f}, {high:.3f}]"


def leads(cells: Sequence[Cell]) -> dict[str, np.ndarray]:
    """By how much the fine-tuned pre-trained network is above the better of RandIni and pixels, at each place `[S]`."""
    found = {(cell.place.name, cell.arm): cell.values for cell in cells if cell.arm == PIXELS or cell.method != PROBE}
    return {
        name: found[name, PRETRAINED] - np.maximum(found[name, RANDINI], found[name, PIXELS])
        for name in dict.fromkeys(cell.place.name for cell in cells)
    }


def as_rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The cells for a JSON file; `mAUROC` and `per_class` are lists over the seeds, `patients` is the interval."""
    return [
        {
            "row": WORDS[cell.arm, cell.method],
            "place": cell.place.name,
            "unseen": cell.place.outside,
            "mAUROC": cell.values.tolist(),
            "per_class": {
                name: None if np.isnan(column).any() else column.tolist()
                for name, column in zip(cell.place.labels, cell.per_class.T, strict=True)
            },
            "patients": list(cell.over_patients),
        }
        for cell in cells
    ]


def _known(prepared: Datalist, split: str) -> list[Item]:
    return [item for item in prepared.labelled(split) if not np.isnan(item["label"]).all()]


def _labels(items: Sequence[Item]) -> np.ndarray:
    return np.array([item["label"] for item in items], dtype=np.float64)


def _fine_tuned(run: BundleRun, prepared: Datalist, test: Sequence[Item]) -> np.ndarray:
    said = read_predictions(run.folder / predictions_file("test"))
    scores = dict(zip(said.images, said.scores, strict=True))
    folder = prepared.path.parent.resolve()
    return np.stack([scores[Path(os.path.relpath(item["file"], folder)).as_posix()] for item in test])


def _probed(
    comparison: Comparison, prepared: Datalist, training: Sequence[Item], test: Sequence[Item], seed: int | None = None
) -> np.ndarray:
    """A logistic regression on the frozen backbone that a seed has pre-trained; of no seed, on pixels."""
    options = comparison.finetune.options
    shape = {name: options[name] for name in ("image_size", "window") if name in options}
    view = choose_view(prepared, **shape)
    backbone = build_backbone(options["architecture"], view.spatial_dims, 1)
    if seed is not None:
        load_backbone_weights(backbone.network, comparison.pretrain_run(seed).folder / BACKBONE)
    backbone.to("cuda" if torch.cuda.is_available() else "cpu")
    extract = thumbnails if seed is None else lambda images: backbone.pool(backbone(images))
    loader = DataLoader(Dataset([*training, *test], view.stored()), batch_size=64 if view.spatial_dims == 2 else 8)
    features = compute_features(backbone, extract, loader).cpu().numpy()
    known, asked = np.split(features, [len(training)])
    return linear_probe(known, _labels(training), asked, [item["patient"] for item in training])
