"""The network of a run as an exported bundle names it, and its weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from medssl.errors import UserError
from medssl.evaluation import Calibration
from medssl.networks import (
    Architecture,
    build_classifier,
    build_segmenter,
    find_architecture,
    load_backbone,
    load_model_weights,
    network_description,
    output_layer,
    segmenter_description,
)
from medssl.readers.modalities import image_word
from medssl.runs import BACKBONE, BACKBONE_DESCRIPTION, MODEL, MODEL_DESCRIPTION, Run
from medssl.transforms import View

DESCRIBED = (
    *("labels", "exclusive", "boxes", "pooling"),
    *("classes", "contains", "mask_loss", "decoder_channels"),
)
"""Entries of a run's description that travel, beside those of network and view: of a classifier, and of a segmenter."""


@dataclass(frozen=True)
class Model:
    """What a run trained.

    Attributes:
        run: where it comes from.
        view: what it sees of an image.
        classes: names of the K classes; empty for a backbone, whose outputs are pooled features.
        outputs: number of outputs.
        config: of the network, as a MONAI config names it.
        modules: of ours that the network needs because MONAI has no such network.
        state: its weights, under the names of that network; a classifier's logits are calibrated by them.
        calibration: what they were calibrated by; None for a backbone, and where the run has none.
        in_channels: channels of an image.
    """

    run: Run
    view: View
    classes: list[str]
    outputs: int
    config: dict[str, Any]
    modules: tuple[str, ...]
    state: Mapping[str, Tensor]
    calibration: Calibration | None = None
    in_channels: int = 1

    @property
    def exclusive(self) -> bool:
        """Whether each image has exactly one of the classes."""
        return bool(self.run.description.get("exclusive", False))

    @property
    def segments(self) -> bool:
        """Whether its outputs are masks, not one number an image."""
        return bool(self.classes) and "classes" in self.run.description

    @property
    def architecture(self) -> Architecture:
        """Of its backbone."""
        return find_architecture(str(self.run.description.get("architecture") or self.run.description["backbone"]))

    @property
    def scripted(self) -> bool:
        """Whether TorchScript takes it as it is, without an image to follow through it."""
        return not self.segments and not self.architecture.encoder

    @property
    def disjoint(self) -> bool:
        """Whether its classes, as masks, never share a voxel."""
        return self.run.description.get("mask_loss") == "marginal_exclusion"

    @property
    def contains(self) -> Mapping[str, list[str]]:
        """Class of a mask → those that make it up."""
        return self.run.description.get("contains") or {}

    @property
    def boxes(self) -> str:
        """What it sees of a volume that is larger than its box, `several` or the `middle` one."""
        return str(self.run.description.get("boxes", "middle"))

    @property
    def pooling(self) -> str:
        """How the outputs of several boxes become one: `max` or `mean`."""
        return str(self.run.description.get("pooling", "max")) if self.classes else "mean"

    @property
    def thresholds(self) -> dict[str, float]:
        """Name of a class → probability from which on an image counts as positive; of those that have one."""
        classes = self.calibration.classes if self.calibration else {}
        return {name: each.threshold for name, each in classes.items() if each.threshold is not None}

    @property
    def description(self) -> dict[str, Any]:
        """What `medssl.load` needs to build the network again and to show it images: nothing of the data."""
        own = self.run.description
        network = {"architecture": own.get("architecture") or own.get("backbone"), "in_channels": self.in_channels}
        kept = {key: own[key] for key in DESCRIBED if key in own}
        return {**network, **kept, **self.view.to_dict(), "thresholds": self.thresholds}

    @property
    def image_word(self) -> str:
        """What such an image is called."""
        return image_word(self.view.modality, self.view.spatial_dims)


def read_model(path: str | Path) -> Model:
    """Read what a fine-tuning or a pre-training left behind.

    Args:
        path: its output_dir, with ``model.pt`` or ``backbone.pt`` and the description beside it.

    Raises:
        UserError: it is no run, or has not come to weights yet, or these are damaged.
        MissingFileError: the description of the weights is missing.
    """
    run = Run.read(path)
    if (run.path / MODEL).is_file():
        if "classes" in run.description:
            return _segmenter(run)
        return _classifier(run)
    if (run.path / BACKBONE).is_file():
        return _backbone(run)
    raise UserError(
        f"{run.path} has no weights yet (neither {MODEL} nor {BACKBONE}), for no epoch has come to its end: go on with "
        "the training command and --resume True."
    )


def _classifier(run: Run) -> Model:
    _check_described(run, MODEL_DESCRIPTION, ("architecture", "in_channels", "labels", "image_size"))
    view = View.from_dict(run.description, str(run.path / MODEL_DESCRIPTION))
    name, channels, labels = (run.description[key] for key in ("architecture", "in_channels", "labels"))
    network = load_model_weights(build_classifier(name, view.spatial_dims, channels, len(labels)), run.path / MODEL)
    calibration = Calibration.read(run.path)
    if calibration:
        calibration.fold(network)
    config, modules = _config(name, view.spatial_dims, channels, len(labels))
    return Model(run, view, list(labels), len(labels), config, modules, network.state_dict(), calibration, channels)


def _segmenter(run: Run) -> Model:
    _check_described(run, MODEL_DESCRIPTION, ("architecture", "in_channels", "classes", "mask_loss", "image_size"))
    view = View.from_dict(run.description, str(run.path / MODEL_DESCRIPTION))
    classes, width = list(run.description["classes"]), run.description.get("decoder_channels")
    built = (run.description["architecture"], view.spatial_dims, run.description["in_channels"], len(classes))
    network = build_segmenter(*built, run.description.get("deep_supervision", 0), width)
    load_model_weights(network, run.path / MODEL)
    # Outputs of coarser levels teach, and are of no use afterwards.
    kept = build_segmenter(*built, 0, width).state_dict()
    config = segmenter_description(*built, 0, width)
    modules: list[str] = []
    config = _with_scripts(config, modules)
    state = {key: value for key, value in network.state_dict().items() if key in kept}
    modules_of = tuple(dict.fromkeys(modules))
    return Model(run, view, classes, len(classes), config, modules_of, state, in_channels=built[2])


def _with_scripts(config: Any, modules: list[str]) -> Any:
    """A network for a config with what is ours named as it is in ``scripts/``; the modules are added to ``modules``."""
    if not isinstance(config, dict):
        return config
    inner = {key: _with_scripts(value, modules) for key, value in config.items()}
    if not str(config.get("_target_", "")).startswith("medssl."):
        return inner
    room, _, attribute = config["_target_"].rpartition(".")
    member = getattr(import_module(room), attribute)
    modules.append(member.__module__)
    return {
        **inner,
        "_target_": f"scripts.{member.__module__.rpartition('.')[2]}.{attribute}",
        "_requires_": "@scripts_on_path",
    }


def _backbone(run: Run) -> Model:
    _check_described(run, BACKBONE_DESCRIPTION, ("backbone", "network", "image_size"))
    view = View.from_dict(run.description, str(run.path / BACKBONE_DESCRIPTION))
    backbone = load_backbone(run.path / BACKBONE)
    config, modules = _config(backbone.name, backbone.spatial_dims, backbone.in_channels, 1)
    classifier = build_classifier(backbone.name, backbone.spatial_dims, backbone.in_channels, 1)
    last = output_layer(classifier)  # without it the network ends with the pooled features
    config = {
        "_target_": "monai.networks.utils.set_named_module",
        "mod": config,
        "name": next(name for name, module in classifier.named_modules() if module is last),
        "new_layer": {"_target_": "torch.nn.Identity"},
    }
    state, channels = backbone.network.state_dict(), backbone.in_channels
    return Model(run, view, [], backbone.out_channels, config, modules, state, in_channels=channels)


def _check_described(run: Run, file: str, needed: tuple[str, ...]) -> None:
    missing = [key for key in needed if key not in run.description]
    if missing:
        raise UserError(
            f"{run.path / file} does not say {', '.join(missing)} of the network, or is missing: it is written beside "
            "the weights, so keep both together."
        )


def _config(
    name: str, spatial_dims: int, in_channels: int, out_channels: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The network for a config, and the modules of ours that it needs."""
    modules: list[str] = []
    config = _with_scripts(network_description(name, spatial_dims, in_channels, out_channels), modules)
    return config, tuple(modules)
