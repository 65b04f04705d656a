"""Weights in and out: plain MONAI state dicts with a description beside them, and loading that says what it loaded."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medssl import runs
from medssl.errors import MissingFileError, UserError
from medssl.files import whole_file, write_json

from .architecture import without_values
from .architectures import encoder_description, find_architecture, is_architecture
from .backbone import Backbone, build_backbone
from .public_weights import description_of_init, fitting_weights, read_public_weights
from .state_dicts import load_state_dict, read_description
from .unet import Segmenter, UNetDecoder

logger = logging.getLogger(__name__)


def first_convolution(network: nn.Module) -> tuple[str, nn.Module]:
    """Name and module of the convolution that the image meets first."""
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            return name, module
    raise UserError(f"{type(network).__name__} has no convolution.")


def fold_input_copies(network: nn.Module, copies: int) -> dict[str, Tensor]:
    """The state dict of the network that sees an image once instead of ``copies`` times.

    On equal copies the first convolution is linear in their sum, so summing its weights over the copies is exact
    (RVRM at inference, Dong et al. 2024, Sec. 5.3.2).

    Args:
        network: whose first convolution takes ``copies`` × C channels, the copies one after the other.
        copies: 1 leaves the weights as they are.

    Returns:
        A state dict whose first convolution takes C channels.

    Raises:
        UserError: when the input channels are no multiple of ``copies``.
    """
    name, convolution = first_convolution(network)
    state = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
    weight = state[f"{name}.weight"]
    if weight.shape[1] % copies:
        raise UserError(f"{weight.shape[1]} input channels of {name} are not {copies} copies of one image.")
    folded = weight.unflatten(1, (copies, -1)).sum(dim=1)
    # nnU-Net's networks have two names for it.
    names = [key for key, value in network.state_dict(keep_vars=True).items() if value is convolution.weight]
    return {**state, **dict.fromkeys(names, folded)}


def save_backbone(
    backbone: Backbone, path: str | Path, copies: int = 1, decoder: UNetDecoder | None = None, **description: Any
) -> None:
    """Write ``path`` (a state dict with MONAI's names) and ``path`` with the suffix ``.json`` (how to reuse it).

    A decoder becomes ``decoder.pt`` beside it. Whether there is one, and with which channels, the description says.

    Args:
        backbone: the trained backbone.
        path: usually ``backbone.pt``.
        copies: how often an image stands in the backbone's input; those are folded into one.
        decoder: that was trained with it, for a segmentation to begin with.
        description: whatever else the next user should know: ``image_size``, ``normalisation``, ``tasks``, …
    """
    path = Path(path)
    in_channels = backbone.in_channels // copies
    network = encoder_description(backbone.name, backbone.spatial_dims, in_channels)
    if decoder is not None:
        _write({key: value.detach().cpu() for key, value in decoder.state_dict().items()}, path.with_name(runs.DECODER))
        description = {"decoder": {"decoder_channels": list(decoder.decoder_channels)}, **description}
    _write(fold_input_copies(backbone.network, copies), path)
    write_json(path.with_suffix(".json"), {"backbone": backbone.name, "network": network, **description})


def _write(state: Mapping[str, Tensor], path: Path) -> None:
    # Given a path, torch names the archive inside after it, and hides the reason when the disk is full.
    with whole_file(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)


def load_backbone_weights(network: nn.Module, path: str | Path, decoder: bool = True) -> nn.Module:
    """Copy a saved backbone into a network in place, and log how many weights matched; the head stays as it is.

    Args:
        network: a classifier from ``build_classifier`` or MONAI, ``Backbone.network``, or a `Segmenter`.
        path: a state dict, as :func:`save_backbone` writes it, or the folder of the run that did.
        decoder: whether a segmenter gets the decoder as well, where the pre-training kept one.

    Returns:
        ``network``.

    Raises:
        MissingFileError: when there is no such file.
        UserError: when the file is no state dict, or not every weight of it found its place.
    """
    path = weights_file(path)
    if isinstance(network, Segmenter):
        load_backbone_weights(network.backbone, path)
        if decoder:
            _load_decoder(network.decoder, path)
        return network
    state = _fitting_state(network, path)
    kept = network.load_state_dict(state, strict=False).missing_keys
    logger.info("Loaded %s: %d weights of the network, %d left as initialised.", path, len(state), len(kept))
    return network


def _load_decoder(decoder: UNetDecoder, path: Path) -> None:
    """Fill the decoder of a segmenter from what the pre-training kept beside its backbone, if it did."""
    kept = read_description(path).get("decoder") if path.with_suffix(".json").is_file() else None
    if kept is None:
        logger.info("No decoder was pre-trained with %s: the segmenter's is left as initialised.", path)
        return
    if list(decoder.decoder_channels) != kept["decoder_channels"]:
        raise UserError(
            f"The decoder beside {path} has decoder_channels {kept['decoder_channels']}, the segmenter "
            f"{list(decoder.decoder_channels)}: build it with those, or leave the decoder out."
        )
    load_model_weights(decoder, path.with_name(runs.DECODER))
    logger.info("Loaded the decoder beside it, too; the output layers are left as initialised.")


def weights_file(path: str | Path) -> Path:
    """The file of a backbone's weights: ``backbone.pt`` in the folder of a run, or the file that is named.

    Raises:
        MissingFileError: when there is no such file, or none in the folder.
    """
    path = Path(path)
    found = path / runs.BACKBONE if path.is_dir() else path
    if not found.is_file():
        raise MissingFileError(f"There is no weights file {found}: name a {runs.BACKBONE}, or the folder of its run.")
    return found


def load_backbone(path: str | Path) -> Backbone:
    """Build the backbone that the description beside a ``backbone.pt`` names, with its weights.

    Args:
        path: of the weights, or the folder of the run that left them.

    Raises:
        MissingFileError: when weights or description are missing.
        UserError: when the description names no backbone of ours, or the weights are of another.
    """
    path = weights_file(path)
    description = read_description(path)
    name, network = str(description.get("backbone")), description.get("network", {})
    in_channels = network.get(find_architecture(name).names["in_channels"]) if is_architecture(name) else None
    if in_channels is None or "spatial_dims" not in network:
        raise UserError(
            f"{Path(path).with_suffix('.json')} describes no backbone: give the {runs.BACKBONE} of a pre-training."
        )
    backbone = build_backbone(name, network["spatial_dims"], in_channels)
    load_backbone_weights(backbone.network, path)
    return backbone


def load_model_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load every weight of a network from a file that holds all of them, such as ``model.pt``.

    Returns:
        ``network``.

    Raises:
        MissingFileError: when there is no such file.
        UserError: when the file is no state dict, or does not hold exactly the network's weights.
    """
    state = _fitting_state(network, path)
    missing = [key for key in network.state_dict() if key not in state]
    if missing:
        raise UserError(f"{path} lacks {len(missing)} weights of the network, the first is {missing[0]}.")
    network.load_state_dict(state)
    return network


def _fitting_state(network: nn.Module, path: str | Path) -> Mapping[str, Tensor]:
    state = load_state_dict(path)
    own = network.state_dict()
    wrong = [key for key, value in state.items() if key not in own or own[key].shape != value.shape]
    if wrong or not state:
        first = f", the first is {wrong[0]} {list(state[wrong[0]].shape)}" if wrong else ""
        description = Path(path).with_suffix(".json")
        hint = f" Build the network that {description.name} beside it describes." if description.is_file() else ""
        raise UserError(
            f"{path} does not fit this {type(network).__name__}: {len(wrong)} of its {len(state)} weights have no "
            f"place of their name and shape{first}.{hint}"
        )
    return state


def model_description(path: str | Path, spatial_dims: int | None = None) -> dict[str, Any]:
    """The description of a classifier, which stands beside its ``model.pt``.

    Args:
        path: of the weights.
        spatial_dims: 2 or 3, what the network must be for; None for either.

    Raises:
        MissingFileError: when there is none.
        UserError: when it is damaged, says too little, or is of a network for other images.
    """
    whose = f"no classifier ({{}} missing): give the {runs.MODEL} of a fine-tuning."
    return _described(path, ("labels", "exclusive"), whose, spatial_dims)


def segmentation_description(path: str | Path, spatial_dims: int | None = None) -> dict[str, Any]:
    """The description of a network for segmentation, which stands beside its ``model.pt``.

    Args:
        path: of the weights.
        spatial_dims: 2 or 3, what the network must be for; None for either.

    Raises:
        MissingFileError: when there is none.
        UserError: when it is damaged, says too little, or is of a network for other images.
    """
    whose = f"no network for segmentation ({{}} missing): give the {runs.MODEL} that bundles/segment trained."
    return _described(path, ("classes", "contains", "mask_loss"), whose, spatial_dims)


def _described(path: str | Path, own: Sequence[str], whose: str, spatial_dims: int | None) -> dict[str, Any]:
    """A description that has what every network's has and what is its `own`; else it describes what `whose` says."""
    description = read_description(path)
    needed = ("architecture", "spatial_dims", "in_channels", "image_size", *own)
    if missing := [key for key in needed if key not in description]:
        raise UserError(f"{Path(path).with_suffix('.json')} describes {whose.format(', '.join(missing))}")
    theirs = description["spatial_dims"]
    if spatial_dims not in (None, theirs):
        raise UserError(f"{path} is a network for {theirs}D images, and these are {spatial_dims}D: give another one.")
    return description


def describe_init(path: str | Path, architecture: str, spatial_dims: int, source: str = "") -> dict[str, Any]:
    """What a description says of the weights that a network begins with: ``{"init": …}``, empty without any.

    Whether they fit is looked at here, before anything is built.

    Args:
        path: see `load_init`; "" for random weights.
        architecture: a key of ``ARCHITECTURES``.
        spatial_dims: 2 or 3.
        source: where they are from and under which licence.

    Raises:
        MissingFileError: there is no such file.
        UserError: it holds no state dict, or one of another network.
    """
    if not path:
        if source:
            raise UserError("--init_source says where weights are from, but there are none: give --init, too.")
        return {}
    weights = read_public_weights(path)
    fitting_weights(weights, without_values(lambda: build_backbone(architecture, spatial_dims).network))
    return {"init": description_of_init(weights, source)}
