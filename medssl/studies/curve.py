"""How good with how many labelled images, with and without pre-training? The study behind `medssl curve`."""

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from rich.console import Console
from torch import Tensor

from medssl.data import Datalist, write_datalist
from medssl.data.store import write_settings
from medssl.errors import UserError
from medssl.evaluation import Predictions, linear_probe, read_predictions, thumbnails, write_predictions
from medssl.files import write_json
from medssl.networks import Backbone, build_backbone, compute_features, load_backbone_weights, read_description
from medssl.networks import weights_file as find_weights
from medssl.runs import BACKBONE, CHECKPOINTS, predictions_file
from medssl.training import choose_view, read_recipe
from medssl.training.checks import check_pretrained
from medssl.transforms import View

from .bundle_runs import BundleRun, say
from .curve_figures import FINE_TUNED, PROBE, Place, Results, cell_of, known_sources
from .curve_table import curve_lines, curve_tables, write_curve
from .labelled_subsets import draw_order
from .pretraining_gain import RANDINI
from .trainings import Announce, Training, how_far, run_trainings

PIXELS = "pixels"
"""Beside the networks: a logistic regression on thumbnails of 8×8 (×8) pixels."""
LEAST_VALIDATION = 10
WITHIN = "none"
"""In place of a source: train and test on all of them."""


@dataclass(frozen=True)
class Setting:
    """What is trained on, and what is tested on.

    Attributes:
        folder: its name in paths.
        training: labelled items of the datalist to draw from.
        validation: likewise.
        places: where the networks are tested.
    """

    folder: str
    training: Sequence[Mapping[str, Any]]
    validation: Sequence[Mapping[str, Any]]
    places: Sequence[Place]

    @property
    def test(self) -> list[Mapping[str, Any]]:
        """The items of all places."""
        return [item for place in self.places for item in place.items]


@dataclass(frozen=True)
class Curve:
    """Fine-tunings and probes on growing numbers of labelled images, each from random and from pre-trained weights.

    A draw is a random order of the patients (see `draw_order`), whose first images are the training subset, whatever
    the size; a share of the validation images is drawn alike, as large as the subset's of the training images but 10
    at least. Random weights, the order of batches and the subset are those of the draw, the same for every arm. Every
    training is an ordinary run of the bundle `finetune` on a datalist of its own in `output/data`.

    The probe is a logistic regression on the pooled features of the frozen backbone, as pre-trained, which needs no
    validation images. Beside the backbones, it judges 8×8 (×8) pixels.

    Whoever stops the study, at any moment, and calls `run` again gets what an undisturbed one gives: no training that
    has ended is repeated. Sizes above the smallest, draws, pre-trainings and sources may join later.

    Args:
        output: folder of the runs, the tables and the picture.
        data: labelled, prepared images: their folder or datalist.
        pretrained: pre-trainings, each an arm beside RandIni: `output_dir`s or `backbone.pt`s, of one architecture.
        sizes: numbers of labelled training images; of more than there are, all are taken.
        draws: of the subsets, each with fresh random numbers.
        test_sources: each is tested on while the others are trained on; None for every source in turn where there are
            several; `none` among them for training and testing on all sources together.
        options: further ids and values of the fine-tuning bundle, such as `epochs` or `recipe`.
        parallel: trainings at a time, see `run_trainings`.

    Raises:
        UserError: for values that cannot be.
    """

    output: Path
    data: Path
    pretrained: Sequence[Path] = ()
    sizes: Sequence[int] = (20, 40, 100, 200)
    draws: int = 5
    test_sources: Sequence[str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    parallel: int = 1
    _orders: dict[tuple[str, str, int], np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 2 or min(self.draws, self.parallel) < 1:
            raise UserError(
                f"A curve needs sizes from 2 (not {' '.join(map(str, self.sizes)) or 'none'}), and at least one draw "
                f"and one training at a time (not {self.draws} and {self.parallel})."
            )
        names = [arm_name(path) for path in self.pretrained]
        if twice := [name for name in names if names.count(name) > 1 or name in (RANDINI, PIXELS)]:
            raise UserError(f"Two arms are called {twice[0]}: rename the folder of one, for the table names them.")

    def run(self, announce: Announce) -> Results:
        """Train what has not been trained yet, after the probes, and measure everything.

        Args:
            announce: called with what begins, how far the study is, and the run that does it.

        Raises:
            UserError: when the output holds another study, an option is mistyped, the images are too few or of one
                source, or weights do not fit.
        """
        self._check()
        self._keep_settings()
        write_settings(self.output / "data", self.prepared.settings)
        self._probe()
        for draw in range(self.draws):
            chains = [[training] for training in self.trainings(draw)]
            run_trainings(chains, lambda what, run: announce(f"{what} ({self._progress()})", run), self.parallel)
            for training in self.trainings(draw):  # three times as large as the model, and of no more use
                shutil.rmtree(training.folder / CHECKPOINTS, ignore_errors=True)
        return Results(list(self._cells()), self.draws)

    @cached_property
    def prepared(self) -> Datalist:
        """The prepared images."""
        return Datalist.read(self.data)

    @cached_property
    def arms(self) -> dict[str, Path | None]:
        """What each arm begins with: its name → weights, None for random ones."""
        return {RANDINI: None, **{arm_name(path): find_weights(path) for path in self.pretrained}}

    @cached_property
    def view(self) -> View:
        """What every network sees of an image: what the first pre-trained one saw."""
        shape = {name: self.options[name] for name in ("image_size", "window") if name in self.options}
        return choose_view(self.prepared, **shape, pretrained=self.pretrained[0] if self.pretrained else "")

    @cached_property
    def architecture(self) -> str:
        """The one given, or that of the pre-trained networks, or the recipe's."""
        theirs = [path for path in self.arms.values() if path is not None and path.with_suffix(".json").is_file()]
        if "architecture" not in self.options and theirs:
            described = read_description(theirs[0])
            return str(described.get("backbone", described.get("architecture")))
        recipe = read_recipe(self.options.get("recipe", "default"), "finetune", self.view.spatial_dims)
        return str({**recipe, **self.options}["architecture"])

    @cached_property
    def settings(self) -> list[Setting]:
        """What is trained on and what is tested on, one after the other."""
        items = {
            split: self.prepared.labelled(split, may_be_empty=True) for split in ("training", "validation", "test")
        }
        known = {split: [item for item in all_ if not np.isnan(item["label"]).all()] for split, all_ in items.items()}
        sources = known_sources(known["training"], known["test"])
        wanted = self.test_sources
        if wanted is None:
            wanted = sources if len(sources) > 1 else [WITHIN]
        if unknown := [name for name in wanted if name not in (*sources, WITHIN)]:
            names = ", ".join(sources) or "none with a name"
            raise UserError(f"{self.prepared.path} has no labelled source {unknown[0]!r}: there are {names}.")
        settings = [self._setting(known, "" if name == WITHIN else name) for name in dict.fromkeys(wanted)]
        found = [setting for setting in settings if setting.places]
        if self.test_sources is None:  # sources of which one cannot be told by the others are left out
            found = found or [each for each in [self._setting(known, "")] if each.places]
        if found and (self.test_sources is None or len(found) == len(settings)):
            return found
        raise UserError(
            f"{self.prepared.path} has nothing to test on for {', '.join(wanted)}: no label has known positive and "
            "negative images in training of what is trained on and in test of what is tested on. Prepare the images "
            "with more for test, or name other sources."
        )

    def trainings(self, draw: int) -> list[Training]:
        """The trainings of a draw, the small ones first, each with its evaluation."""
        trainings = []
        for setting in self.settings:
            for size in self.sizes_of(setting):
                for arm in self.arms:
                    run = self.finetuning(setting, arm, size, draw)
                    evaluation = run.evaluation(baselines="$None", resamples=0)  # the table has its own
                    images = f"{size} images of {setting.places[0].trained}"
                    what = f"Fine-tuning and evaluating {arm} on {images}, draw {draw + 1} of {self.draws}"
                    trainings.append(Training(what, [run, evaluation]))
        return trainings

    def finetuning(self, setting: Setting, arm: str, size: int, draw: int) -> BundleRun:
        """A fine-tuning on a subset, whose datalist is written where it is missing."""
        weights = self.arms[arm]
        sees = (
            {"image_size": list(self.view.image_size), "window": self._window()} if self.view.spatial_dims == 3 else {}
        )
        options = {
            **sees,
            "architecture": self.architecture,
            "workers": 0,  # whose start takes longer than a few images
            "checkpoint_interval": math.ceil(2000 / size),  # epochs take less time than writing a checkpoint
            **self.options,
            "data": self._subset(setting, size, draw),
            "output_dir": self.output / "finetune" / setting.folder / _as_folder(arm) / f"n{size}_draw{draw}",
            "seed": draw,
            "resume": True,
        }
        return BundleRun("finetune", options if weights is None else {**options, "pretrained": weights})

    def sizes_of(self, setting: Setting) -> list[int]:
        """The numbers of training images in a setting: those wanted, but no more than there are."""
        return sorted({min(size, len(setting.training)) for size in self.sizes})

    def probe_file(self, setting: Setting, arm: str, size: int, draw: int) -> Path:
        """Where the probabilities of a probe stand."""
        return self.output / "probe" / setting.folder / _as_folder(arm) / f"n{size}_draw{draw}.csv"

    def subset(self, setting: Setting, size: int, draw: int, split: str = "training") -> list[Mapping[str, Any]]:
        """The first so many items of a draw, of `training` or `validation`."""
        items = setting.training if split == "training" else setting.validation
        key = (setting.folder, split, draw)
        if key not in self._orders:
            patients = [item["patient"] for item in items]
            smallest = min(self.sizes) if split == "training" else LEAST_VALIDATION
            self._orders[key] = draw_order(patients, _labels(items), smallest, draw)
        return [items[row] for row in self._orders[key][:size]]

    def minutes(self) -> float:
        """What all trainings that have ended took."""
        return sum(training.seconds for training in self._all_trainings() if training.ended) / 60

    def _setting(self, known: Mapping[str, Sequence[Mapping[str, Any]]], left_out: str) -> Setting:
        parts = {
            split: [item for item in items if not left_out or item["source"] != left_out]
            for split, items in known.items()
        }
        sources = known_sources(parts["training"])
        words = " + ".join(sources) or "all"
        others = [item for item in known["test"] if left_out and item["source"] == left_out]
        places = [
            Place(f"within {words}", words, False, parts["test"], self.prepared.labels),
            Place(f"at {left_out}", words, True, others, self.prepared.labels),
        ]
        training = _labels(parts["training"]) if parts["training"] else np.zeros((0, len(self.prepared.labels)))
        learnable = (training == 1).any(axis=0) & (training == 0).any(axis=0)
        places = [place for place in (each.of_classes(learnable) for each in places) if place.is_defined]
        if left_out and not any(place.outside for place in places):
            places = []
        folder = f"without_{_as_folder(left_out)}" if left_out else "all_sources"
        return Setting(folder, parts["training"], parts["validation"], places)

    def _subset(self, setting: Setting, size: int, draw: int) -> Path:
        path = self.output / "data" / f"{setting.folder}_n{size}_draw{draw}.json"
        if not path.exists():
            share = len(setting.validation) / len(setting.training)
            validation = max(LEAST_VALIDATION, math.ceil(size * share))
            splits = {
                "training": self.subset(setting, size, draw),
                "validation": self.subset(setting, validation, draw, "validation"),
                "test": setting.test,
            }
            plain = {split: [_as_written(item) for item in items] for split, items in splits.items()}
            write_datalist(path, self.prepared.labels, plain, self.prepared.exclusive)
        return path

    def _window(self) -> Any:
        return list(self.view.window) if self.view.window else "none"

    def _check(self) -> None:
        """Find what would stop the study hours later."""
        for setting in self.settings:
            if len(setting.training) < 2 or not setting.validation:
                raise UserError(
                    f"{self.prepared.path} has too few labelled images in training ({len(setting.training)}) or "
                    f"validation ({len(setting.validation)}) of what is trained on: prepare the images with other "
                    "fractions (--fractions 0.7 0.1 0.2)."
                )
        described = {"architecture": self.architecture, **self.view.to_dict(), "labels": self.prepared.labels}
        for path in filter(None, self.arms.values()):
            check_pretrained(path, described)
        example = BundleRun("finetune", {"data": self.data, "output_dir": self.output, **self.options})
        example.check("numbers")

    def _keep_settings(self) -> None:
        """Keep what the figures depend on, so that no study goes on with those of another."""
        settings: dict[str, Any] = {
            "data": hashlib.sha256(self.prepared.path.read_bytes()).hexdigest(),
            "smallest size": min(self.sizes),
            "options": {name: str(value) for name, value in self.options.items() if name not in ("device", "workers")},
            "architecture": self.architecture,
            "pretrained": {
                name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in self.arms.items() if path
            },
        }
        path = self.output / "study.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else settings
        arms = {**before["pretrained"], **settings["pretrained"]}  # which may join or leave
        for name, value in settings.items():
            if before.get(name) != value and name != "pretrained":
                raise UserError(f"{self.output} holds a curve with another {name}: take another --output.")
        if changed := [name for name, value in before["pretrained"].items() if arms[name] != value]:
            raise UserError(f"{self.output} holds a curve with other weights of {changed[0]}: take another --output.")
        write_json(path, {**settings, "pretrained": arms})

    def _progress(self) -> str:
        return how_far([self._all_trainings()], self.parallel)

    def _all_trainings(self) -> list[Training]:
        return [training for draw in range(self.draws) for training in self.trainings(draw)]

    def _probe(self) -> None:
        """Fit the probes that are missing, on features that are computed once for each backbone."""
        for arm in (PIXELS, *self.arms):
            features = None
            for draw in range(self.draws):
                missing = [
                    (setting, size)
                    for setting in self.settings
                    for size in self.sizes_of(setting)
                    if not self.probe_file(setting, arm, size, draw).exists()
                ]
                if missing and (features is None or arm == RANDINI):  # whose weights are others for each draw
                    features = self._features(arm, draw)
                for setting, size in missing:
                    assert features is not None
                    training, rows = self.subset(setting, size, draw), setting.test
                    known, asked = (np.stack([features[item["file"]] for item in items]) for items in (training, rows))
                    scores = linear_probe(known, _labels(training), asked, [item["patient"] for item in training])
                    predictions = Predictions(
                        [self._name(item["file"]) for item in rows],
                        [item["patient"] for item in rows],
                        self.prepared.labels,
                        scores,
                        _labels(rows),
                    )
                    write_predictions(self.probe_file(setting, arm, size, draw), predictions)

    def _features(self, arm: str, draw: int) -> dict[str, np.ndarray]:
        """The features of every image that some probe sees, by file."""
        items = {
            item["file"]: item
            for setting in self.settings
            for draw in range(self.draws)
            for item in (*self.subset(setting, max(self.sizes), draw), *setting.test)
        }
        device = torch.device(self.options.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
        with torch.random.fork_rng():
            torch.manual_seed(draw)
            backbone = build_backbone(self.architecture, self.view.spatial_dims, 1)
        weights = self.arms.get(arm)
        if weights is not None:
            load_backbone_weights(backbone.network, weights)
        loader = DataLoader(
            Dataset(list(items.values()), self.view.stored()),
            batch_size=64 if self.view.spatial_dims == 2 else 8,
            num_workers=self.options.get("workers", 0),
        )
        extract = thumbnails if arm == PIXELS else partial(_pooled, backbone)
        found = compute_features(
            backbone.to(device), extract, loader, device.type == "cuda", f"features of images by {arm}"
        )
        return dict(zip(items, found.cpu().numpy(), strict=True))

    def _name(self, file: str) -> str:
        """As an evaluation names an image of a subset."""
        return Path(os.path.relpath(file, (self.output / "data").resolve())).as_posix()

    def _cells(self) -> Iterator[Any]:
        for setting in self.settings:
            for size in self.sizes_of(setting):
                for method, arms in ((FINE_TUNED, [*self.arms]), (PROBE, [PIXELS, *self.arms])):
                    for arm in arms:
                        said = [self._said(setting, method, arm, size, draw) for draw in range(self.draws)]
                        for place in setting.places:
                            yield cell_of(place, method, arm, size, [self._scores(place, each) for each in said])

    def _said(self, setting: Setting, method: str, arm: str, size: int, draw: int) -> dict[str, np.ndarray]:
        if method == PROBE:
            path = self.probe_file(setting, arm, size, draw)
        else:
            path = self.finetuning(setting, arm, size, draw).folder / predictions_file("test")
        predictions = read_predictions(path)
        return dict(zip(predictions.images, predictions.scores, strict=True))

    def _scores(self, place: Place, said: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.stack([said[self._name(item["file"])] for item in place.items])


def arm_name(path: str | Path) -> str:
    """What a pre-training is called: its folder, with the name of weights other than `backbone.pt`."""
    path = Path(path)
    if not path.suffix or path.is_dir():
        return path.resolve().name
    folder = path.resolve().parent.name
    return folder if path.name == BACKBONE else f"{folder}/{path.stem}"


def _as_folder(name: str) -> str:
    """A name as a folder may be called, told apart from others that look alike then."""
    plain = re.sub(r"[^\w.+-]+", "_", name)
    return plain if plain == name else f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def _as_written(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as it stands in a datalist."""
    return {key: value for key, value in item.items() if key == "label" or (key != "file" and value)}


def _labels(items: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([item["label"] for item in items], dtype=np.float64)


def _pooled(backbone: Backbone, images: Tensor) -> Tensor:
    return backbone.pool(backbone(images))


def run_curve(
    data: str | Path,
    output: str | Path,
    pretrained: Sequence[str | Path] = (),
    sizes: Sequence[int] = (20, 40, 100, 200),
    draws: int = 5,
    test_source: Sequence[str] | None = None,
    target: Sequence[float] = (),
    recipe: str = "",
    epochs: int | None = None,
    options: Mapping[str, Any] | None = None,
    parallel: int = 1,
) -> Results:
    """Run the study; write `curve.csv`, `curve_draws.csv`, `curve.md` and `curve.png`; print the tables.

    Args:
        data, output, pretrained, sizes, draws, parallel: see `Curve`.
        test_source: see `test_sources` of `Curve`.
        target: figures (mAUROC) for which to say how many images they would need.
        recipe, epochs: of the fine-tunings.
        options: further ids and values of the fine-tuning bundle.

    Raises:
        UserError: see `Curve`.
    """
    console = Console(markup=False, emoji=False)  # a user's names may hold brackets
    study = Curve(
        Path(output),
        Path(data),
        [Path(path) for path in pretrained],
        sizes,
        draws,
        test_source,
        {**(options or {}), **({"recipe": recipe} if recipe else {}), **({"epochs": epochs} if epochs else {})},
        parallel,
    )
    if wrong := [value for value in target if not 0.5 < value < 1]:
        raise UserError(f"--target is an AUROC between 0.5 and 1, not {wrong[0]}.")
    results = study.run(lambda what, run: say(console, what, run))
    write_curve(study.output, results, target)
    for table in curve_tables(results):
        console.print(table)
    for line in curve_lines(results, target):
        console.print(line, soft_wrap=True)
    console.print(f"\nAll trainings took {study.minutes():.1f} minutes.")
    console.print(f"The picture: {study.output}/curve.png; the tables: curve.md, curve.csv, curve_draws.csv beside it.")
    return results
