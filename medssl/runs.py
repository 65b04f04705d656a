"""A run's folder: the names of its files, what a run left in them, and the commands that go on from it.

The ground floor of the house: every room may use it. Nothing that stands in a folder is executed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, Self

from medssl.errors import UserError

CONFIG, EVALUATION_CONFIG, INFERENCE_CONFIG = "config.yaml", "evaluate.yaml", "inference.yaml"
"""The resolved configs of training, evaluation and inference, for the record."""
METRICS = "metrics.json"
CALIBRATION = "calibration.json"
"""Temperature, bias and threshold of each class, by the validation split."""
MODEL, MODEL_DESCRIPTION = "model.pt", "model.json"
BACKBONE, BACKBONE_DESCRIPTION = "backbone.pt", "backbone.json"
DECODER = "decoder.pt"
"""The decoder that a pre-training left beside its backbone, where it trained one for segmentation."""
BACKBONES, PRETEXT_MODELS = "backbones", "pretext_models"
"""Folders of what a pre-training kept along its epochs, see `kept_file`."""
CHECKPOINTS = "checkpoints"
MASKS, VOLUMES = "masks", "volumes.csv"
"""What an inference of a segmentation writes: the folder of the masks, and how large each class is in each image."""
REPORT = "report"
FEATURES, FEATURES_PICTURE, FEATURES_SUMMARY = "features", "features.png", "embedding.json"
"""What `medssl embed` writes: the folder, the images in a plane, whether the features tell the hospital."""
CURVE, CURVE_PICTURE = "curve.csv", "curve.png"
"""What `medssl curve` came to."""
IMAGES = "images.json"
"""The images that it learned from: counts and hashes, see `medssl.data.SeenImages`."""


def predictions_file(split: str = "") -> str:
    """The probabilities of a split; without one, those of an inference."""
    return f"predictions_{split}.csv" if split else "predictions.csv"


def grad_cam_file(split: str) -> str:
    """The Grad-CAM panels of a split."""
    return f"gradcam_{split}.png"


def masks_file(split: str) -> str:
    """How well the masks of a split were found: a row for each image and class."""
    return f"masks_{split}.csv"


def overlays_file(split: str) -> str:
    """What was found over what was outlined, in the best and the worst images of a split."""
    return f"overlays_{split}.png"


def kept_file(epoch: int | None = None) -> str:
    """The weights of an epoch in `BACKBONES` and `PRETEXT_MODELS`; without one, the pattern of all of them."""
    return "epoch_*.pt" if epoch is None else f"epoch_{epoch:04d}.pt"


@dataclass(frozen=True)
class Run:
    """A run of a bundle.

    Attributes:
        path: of the folder.
        config: the training's config, empty where there is none.
        metrics: the figures, likewise.
        description: of the model or the backbone, likewise.
    """

    path: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    description: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a run.

        Raises:
            UserError: when the folder is no run, or a file in it is damaged.
        """
        path = Path(path)
        if not (path / CONFIG).is_file() and not (path / METRICS).is_file():
            raise UserError(
                f"{path} is no run: it has neither {CONFIG} nor {METRICS}. Give the output_dir of a bundle."
            )
        description = _read(path / MODEL_DESCRIPTION) or _read(path / BACKBONE_DESCRIPTION)
        return cls(path, _read(path / CONFIG), _read(path / METRICS), description)

    @property
    def is_pretraining(self) -> bool:
        """Whether it trained a backbone on pretext tasks."""
        return "tasks" in self.config or "metrics" in self.metrics

    @property
    def is_segmentation(self) -> bool:
        """Whether it trained a network on masks."""
        return "mask_loss" in self.config or "mDice" in self.metrics

    @property
    def bundle(self) -> str:
        """The name of the bundle, as the run recorded it; of the first edition's, whose names were others, by kind."""
        kind = "pretrain" if self.is_pretraining else "segment" if self.is_segmentation else "finetune"
        return str(self.config.get("bundle") or kind)

    @property
    def spatial_dims(self) -> int:
        """2 or 3; 2 where the run does not say, for it has no weights yet."""
        network = self.config.get("backbone" if self.is_pretraining else "network_def", {})
        stated = (
            self.description.get("spatial_dims"),
            self.description.get("network", {}).get("spatial_dims"),
            len(self.description.get("image_size", [])),
            network.get("spatial_dims") if isinstance(network, Mapping) else None,
        )
        return next((dims for dims in stated if dims in (2, 3)), 2)

    @property
    def modality(self) -> str:
        """Of the images, as DICOM calls it; "" where nobody said."""
        return str(self.description.get("modality") or "")

    @property
    def tasks(self) -> list[str]:
        """The pretext tasks of a pre-training, by name."""
        tasks = self.description.get("tasks") or self.config.get("tasks") or []
        return tasks.split(",") if isinstance(tasks, str) else [str(task) for task in tasks]

    @property
    def data(self) -> str:
        """The folder or datalist that it was trained on, "" where its config does not say."""
        return self.text("data") or self.text("datalist")

    def text(self, name: str) -> str:
        """The value of an id of the config as text; "" where there is none.

        An expression is followed only where it adds texts, such as ``$@dataset_dir + '/datalist.json'``: whoever
        reads a folder does not want to run what a stranger wrote into it.
        """
        return _followed(self.config, name, frozenset())

    def pretraining_description(self) -> Mapping[str, Any]:
        """The description beside the weights that a fine-tuning began with; empty where it is not to be found."""
        start = Path(self.text("pretrained") or "nowhere")
        return _read((start / BACKBONE if start.is_dir() else start).with_suffix(".json"))

    def curves(self) -> dict[str, tuple[list[int], list[float]]]:
        """Every scalar of the TensorBoard log: its name → epochs and values."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # heavy, and seldom needed

        log = EventAccumulator(str(self.path), size_guidance={"scalars": 0, "images": 1, "tensors": 1}).Reload()
        scalars = {name: log.Scalars(name) for name in log.Tags()["scalars"]}
        return {
            name: ([event.step for event in all_], [event.value for event in all_]) for name, all_ in scalars.items()
        }

    def features_summary(self) -> Mapping[str, Any]:
        """What `medssl embed` found of the features; empty where it was not asked."""
        return _read(self.path / FEATURES / FEATURES_SUMMARY)

    def resume_command(self) -> str:
        """What to type to go on with the training."""
        return f"{_BUNDLE_RUN} {shown_path(self.path)}/{CONFIG} --output_dir {shown_path(self.path)} --resume True"

    def evaluate_command(self) -> str:
        """What to type to evaluate it on the test split."""
        data = shown_path(self.data) if self.data else "DATA"
        config = f"bundles/{self.bundle}/configs/evaluate.yaml"
        return f"{_BUNDLE_RUN} {config} --data {data} --output_dir {shown_path(self.path)}"


_BUNDLE_RUN = "python -m monai.bundle run --config_file"


def _followed(config: Mapping[str, Any], name: str, behind: frozenset[str]) -> str:
    value = str(config.get(name, ""))
    if not value.startswith("$"):
        return value
    parts = [part.strip() for part in value[1:].split(" + ")]
    if name in behind or not all(re.fullmatch(r"@\w+|'[^']*'|\"[^\"]*\"", part) for part in parts):
        return ""
    followed = (_followed(config, part[1:], behind | {name}) if part[0] == "@" else part[1:-1] for part in parts)
    return "".join(followed)


def _read(path: Path) -> dict[str, Any]:
    import yaml  # not needed for names

    if not path.is_file():
        return {}
    try:
        content = (yaml.safe_load if path.suffix == ".yaml" else json.loads)(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:  # JSON's and Unicode's errors are kinds of ValueError
        raise UserError(f"{path} cannot be read: it is damaged. Run again what wrote it.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a run's: it must hold names and values.")
    return content


def shown_path(path: str | Path) -> str:
    """A path as a report may show it: from the working folder on, or else its last name, but no folder above."""
    if not Path(path).is_absolute() and PureWindowsPath(path).is_absolute():
        return PureWindowsPath(path).name  # a run from another kind of machine
    path = Path(path).resolve()
    inside = path.is_relative_to(Path.cwd()) and path != Path.cwd()
    return path.relative_to(Path.cwd()).as_posix() if inside else path.name
