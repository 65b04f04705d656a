"""The network of a run as an exported bundle names it, and its weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from medssl.data import image_word
from medssl.errors import UserError
from medssl.networks import (
    ARCHITECTURES,
    build_classifier,
    load_backbone,
    load_model_weights,
    network_description,
    output_layer,
)
from medssl.runs import Run


@dataclass(frozen=True)
class Model:
    """What a run trained.

    Attributes:
        run: where it comes from.
        classes: names of the K classes; empty for a backbone, whose outputs are pooled features.
        outputs: number of outputs.
        config: of the network, as a MONAI config names it.
        modules: of ours that the network needs because MONAI has no such network.
        state: its weights, under the names of that network.
        image_size: spatial shape of what it sees.
    """

    run: Run
    classes: list[str]
    outputs: int
    config: dict[str, Any]
    modules: tuple[str, ...]
    state: Mapping[str, Tensor]
    image_size: list[int]

    @property
    def description(self) -> Mapping[str, Any]:
        """What the run says of it: ``intensity``, ``window``, ``spacing``, …"""
        return self.run.description

    @property
    def exclusive(self) -> bool:
        """Whether each image has exactly one of the classes."""
        return bool(self.description.get("exclusive", False))

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.image_size)

    @property
    def modality(self) -> str:
        """Of the images that it was trained on, as DICOM writes it; "" where they did not state it."""
        return str(self.description.get("modality", ""))

    @property
    def image_word(self) -> str:
        """What such an image is called."""
        return image_word(self.modality, self.spatial_dims)


def read_model(path: str | Path) -> Model:
    """Read what a fine-tuning or a pre-training left behind.

    Args:
        path: its output_dir, with ``model.pt`` or ``backbone.pt`` and the description beside it.

    Raises:
        UserError: it is no run, or has not come to weights yet, or these are damaged.
        MissingFileError: the description of the weights is missing.
    """
    run = Run.read(path)
    if (run.path / "model.pt").is_file():
        return _classifier(run)
    if (run.path / "backbone.pt").is_file():
        return _backbone(run)
    raise UserError(
        f"{run.path} has no weights yet (neither model.pt nor backbone.pt), for no epoch has come to its end: go on "
        "with the training command and --resume True."
    )


def _classifier(run: Run) -> Model:
    needed = ("architecture", "spatial_dims", "in_channels", "labels", "image_size")
    _check_described(run, "model.json", needed)
    name, dims, channels, labels, size = (run.description[key] for key in needed)
    network = load_model_weights(build_classifier(name, dims, channels, len(labels)), run.path / "model.pt")
    config, modules = _config(name, dims, channels, len(labels))
    return Model(run, list(labels), len(labels), config, modules, network.state_dict(), list(size))


def _backbone(run: Run) -> Model:
    _check_described(run, "backbone.json", ("backbone", "network", "image_size"))
    backbone = load_backbone(run.path / "backbone.pt")
    config, modules = _config(backbone.name, backbone.spatial_dims, backbone.in_channels, 1)
    # Without its last layer the network ends with the pooled features.
    config = {
        "_target_": "monai.networks.utils.set_named_module",
        "mod": config,
        "name": _output_name(build_classifier(backbone.name, backbone.spatial_dims, backbone.in_channels, 1)),
        "new_layer": {"_target_": "torch.nn.Identity"},
    }
    state, size = backbone.network.state_dict(), list(run.description["image_size"])
    return Model(run, [], backbone.out_channels, config, modules, state, size)


def _check_described(run: Run, file: str, needed: tuple[str, ...]) -> None:
    of_volumes = ("window", "spacing") if len(run.description.get("image_size", [])) == 3 else ()
    missing = [key for key in (*needed, *of_volumes) if key not in run.description]
    if missing:
        raise UserError(
            f"{run.path / file} does not say {', '.join(missing)} of the network, or is missing: it is written beside "
            "the weights, so keep both together."
        )


def _config(
    name: str, spatial_dims: int, in_channels: int, out_channels: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The network for a config, and the modules of ours that it needs."""
    config = network_description(name, spatial_dims, in_channels, out_channels)
    if not ARCHITECTURES[name].target.startswith("medssl."):
        return config, ()
    room, _, attribute = config["_target_"].rpartition(".")
    module = getattr(import_module(room), attribute).__module__
    target = f"scripts.{module.rpartition('.')[2]}.{attribute}"
    return {**config, "_target_": target, "_requires_": "@scripts_on_path"}, (module,)


def _output_name(network: nn.Module) -> str:
    last = output_layer(network)
    return next(name for name, module in network.named_modules() if module is last)
