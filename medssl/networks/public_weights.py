"""Where a network can begin: weights of others, and our own, recognised by their names and shapes.

torchvision's and timm's ResNets, DenseNet121 and VGG11 (ImageNet, RGB); MedicalNet's 3D ResNets; torchxrayvision's
DenseNet121 and ResNet50; MONAI's networks; the transformers and SegResNet's encoder of `public_families`; whatever timm
has, for ``timm:NAME``; and what medssl wrote. They come as a file on disk: nothing is downloaded.
"""

import logging
import re
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn

from medssl import runs
from medssl.errors import MissingFileError, UserError

from .public_families import Family, recognise
from .state_dicts import load_state_dict, read_description
from .transfer import monai_weights, repeat_input_channels

logger = logging.getLogger(__name__)

PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "backbone.", "encoder.")
"""What wrappers put before every name: `DataParallel`, `torch.compile`, and members of a larger module."""
HEADS = ("fc.", "classifier.", "class_layers.", "head.", "decoder.", "pre_logits.", "conv_seg.", "op_threshs")
"""What stands behind the last feature map, by the beginning of its names."""
LAST_NORMS = ("norm.", "fc_norm.")
"""What timm calls the normalisation behind the last map."""
STEMS = {"conv1": "bn1", "features.conv0": "features.norm0", "features.0": "features.1"}
"""The convolution that the image meets first, and the normalisation behind it."""
XRAYVISION_OUTPUTS = 18
XRAYVISION_SCALE = 1024 * 2 * 0.226
"""torchxrayvision sees a radiograph's range as −1024 … 1024, our networks each image with a standard deviation of 1.
Where that of the image is 0.226 of its range, as ImageNet's on average, one of ours is this many of theirs."""
RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (1, 1, 1, 1)): "resnet10",
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
    (True, (3, 24, 36, 3)): "resnet200",
}
"""ResNets by whether their blocks are bottlenecks, and the blocks of each layer."""
DENSENETS: dict[tuple[int, ...], str] = {
    (6, 12, 24, 16): "densenet121",
    (6, 12, 36, 24): "densenet161",
    (6, 12, 32, 32): "densenet169",
    (6, 12, 48, 32): "densenet201",
}
"""DenseNets by the layers of each block."""


class PublicWeights(NamedTuple):
    """Weights of others under the names of our backbones, for grey images.

    The stem is that of a network that sees one channel: where it took several, it computes what it did of an image that
    stands in all of them.
    """

    path: Path
    family: str
    """Whose network it is."""
    state: dict[str, Tensor]
    """Without a head."""
    total: int
    """How many weights the file holds."""
    left_out: list[str]
    """Those of the head, by their names in the file."""
    changes: list[str]
    """What was done beside renaming, in words."""
    unnamed: Mapping[str, Tensor] = MappingProxyType({})
    """The same under the names of the file, for networks of timm."""
    backbone: str = ""
    """Which of ours takes them, in words; "" where their blocks tell."""


def read_public_weights(path: str | Path) -> PublicWeights:
    """Read a weights file, and tell by its names whose it is.

    Grey images reach our networks with mean 0 and standard deviation 1 each. ImageNet's networks see each channel with
    mean 0 and standard deviation 1 over all images, so the weights of their stem are summed over red, green and blue,
    without a factor. torchxrayvision's see −1024 … 1024: their stem is rescaled, see `XRAYVISION_SCALE`.

    Args:
        path: a ``.pt``, ``.pth`` or ``.safetensors`` file with a state dict, also within a checkpoint, or the folder of
            a run of medssl.

    Raises:
        MissingFileError: there is no such file.
        UserError: it holds no state dict, or no convolution.
    """
    path = _file(path)
    state = dict(load_state_dict(path, nested=True))
    while prefix := _prefix(state):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    ours = bool(_own_description(path))
    if not ours and (found := recognise(state)):
        return _of_family(path, len(state), *found)
    stem = next((name for name in STEMS if f"{name}.weight" in state and state[f"{name}.weight"].ndim > 3), None)
    left_out = [key for key in state if key.startswith(HEADS)]
    family = _family(path, state, stem)
    kept = {key: value for key, value in state.items() if key not in set(left_out)}
    unnamed = kept
    if not ours:  # which have the names of their library, which need not be MONAI
        kept = monai_weights(kept)
    changes = []
    if any("downsample" in key for key in kept) and not any("downsample" in key for key in state):
        changes.append("shortcuts without weights (type A) became convolutions that pass the same on")
    if stem is not None:
        channels = kept[f"{stem}.weight"].shape[1]
        if channels > 1:
            kept[f"{stem}.weight"] = kept[f"{stem}.weight"].sum(dim=1, keepdim=True)
            unnamed = {**unnamed, f"{stem}.weight": kept[f"{stem}.weight"]}
            changes.append(_summed(channels))
        if family.startswith("torchxrayvision"):
            kept |= _for_larger_inputs(kept, stem, XRAYVISION_SCALE)
            changes.append(f"the stem takes images of standard deviation 1 for theirs of {XRAYVISION_SCALE:.0f}")
    return PublicWeights(path, family, kept, len(state), left_out, changes, unnamed)


def _of_family(path: Path, total: int, family: Family, own: Mapping[str, Tensor], left_out: list[str]) -> PublicWeights:
    """What stands in a file of a family, under the names of our backbones."""
    stem = f"{family.stem}.weight"
    channels = own[stem].shape[1]
    grey = {**own, stem: own[stem].sum(dim=1, keepdim=True)}
    changes = [family.change] if family.change else []
    changes += [_summed(channels)] if channels > 1 else []
    return PublicWeights(
        path, family.name, family.convert(grey), total, left_out, changes, grey, f"It is for {family.backbone}"
    )


def _summed(channels: int) -> str:
    return f"the {channels} input channels of the stem are summed into a grey one"


def load_init(network: nn.Module, path: str | Path, head: str = "") -> nn.Module:
    """Let a network begin with the weights of a file, in place, and log what they are and how many matched.

    All of the network but its head must be in the file, and all of the file but its head in the network. A network
    that sees an image several times, as for RVRM, gets equal parts of the stem for each copy, so that folded it is the
    given one (`fold_input_copies`).

    Args:
        network: a classifier, or the network of a `Backbone`, whose input channels are copies of a grey image.
        path: see `read_public_weights`.
        head: name of the member of the network that stays as it is; "" for none.

    Returns:
        ``network``.

    Raises:
        MissingFileError: there is no such file.
        UserError: it holds no state dict, or one of another network.
    """
    weights = read_public_weights(path)
    state = fitting_weights(weights, network, head)
    network.load_state_dict(state, strict=False)
    logger.info("The network begins with %s (%s): %s.", weights.path, weights.family, matched(weights))
    return network


def fitting_weights(weights: PublicWeights, network: nn.Module, head: str = "") -> dict[str, Tensor]:
    """The weights as a network takes them: its names, and as many input channels as it has.

    Raises:
        UserError: when they are of another network.
    """
    state: Mapping[str, Tensor] = weights.state
    own = {key: value for key, value in network.state_dict().items() if not head or not key.startswith(f"{head}.")}
    if own.keys() != state.keys() and own.keys() <= weights.unnamed.keys():
        # Ours of timm end before the last normalisation.
        state = {key: value for key, value in weights.unnamed.items() if key in own or not key.startswith(LAST_NORMS)}
    first = next((weight for weight in network.parameters() if weight.ndim > 3), None)
    for stem in [key for key, value in network.state_dict(keep_vars=True).items() if value is first]:
        if stem in state and own[stem].shape[1] > 1:
            state = {**state, **repeat_input_channels({stem: state[stem]}, own[stem].shape[1])}
    lost = [key for key, value in state.items() if key not in own or own[key].shape != value.shape]
    missing = [key for key in own if key not in state]
    if lost or missing:
        theirs = _architecture(state)
        such = f", such as {lost[0]} {list(state[lost[0]].shape)}" if lost else ""
        raise UserError(
            f"{weights.path} ({weights.family}) does not fit this {type(network).__name__}: {len(lost)} of its "
            f"{len(state)} weights have no place of their name and shape{such}, and {len(missing)} of the network's "
            f"{len(own)} are not in it. "
            + (f"It holds a {theirs}: give that as --architecture, if there is such a one, or " if theirs else "")
            + (f"{weights.backbone}; or g" if weights.backbone else "g" if theirs else "G")
            + "ive weights of another file."
        )
    return dict(state)


def matched(weights: PublicWeights) -> str:
    """What of the file a network took, in words."""
    heads = Counter(key.partition(".")[0] for key in weights.left_out)
    out = ", ".join(f"{name} ({number})" for name, number in heads.items())
    taken = f"{weights.total - len(weights.left_out)} of {weights.total} weights"
    return "; ".join([f"{taken}, left out: {out}" if out else taken, *weights.changes])


def description_of_init(weights: PublicWeights, source: str = "") -> dict[str, Any]:
    """Whence a network begins, as it stands beside its weights: no path, but the file's name and SHA-256.

    Args:
        weights: that it begins with.
        source: where they are from and under which licence; "" where nobody said.
    """
    described: dict[str, Any] = {
        "file": weights.path.name,
        "family": weights.family,
        "sha256": sha256(weights.path.read_bytes()).hexdigest(),
        "source": source,
    }
    before = _own_description(weights.path).get("init")
    return {**described, "init": before} if before else described


def _file(path: str | Path) -> Path:
    path = Path(path)
    choices = [path / name for name in (runs.BACKBONE, runs.MODEL)] if path.is_dir() else [path]
    found = next((choice for choice in choices if choice.is_file()), None)
    if found is None:
        raise MissingFileError(
            f"There are no weights to begin with at {path}: name a file, or a run's folder with {runs.BACKBONE} or "
            f"{runs.MODEL}."
        )
    return found


def _own_description(path: Path) -> dict[str, Any]:
    """What medssl wrote beside its weights; empty for those of others."""
    described = read_description(path) if path.with_suffix(".json").is_file() else {}
    return described if {"backbone", "architecture"} & set(described) else {}


def _prefix(state: Mapping[str, Tensor]) -> str:
    """What a wrapper put before every name, but those of a head of its own."""
    names = [key for key in state if not key.startswith(HEADS)]
    return next((start for start in PREFIXES if names and all(key.startswith(start) for key in names)), "")


def _family(path: Path, state: Mapping[str, Tensor], stem: str | None) -> str:
    """Whose network has such names and shapes."""
    if _own_description(path):
        return "medssl's"
    if stem is None:
        known = "torchvision's and timm's ResNet, DenseNet and VGG, MedicalNet's, torchxrayvision's, MONAI's and ours"
        raise UserError(f"{path} holds {len(state)} weights of no network that is known here; known are {known}.")
    first = state[f"{stem}.weight"]
    outputs = next((len(state[name]) for name in ("classifier.weight", "fc.weight") if name in state), 0)
    of_xrayvision = first.ndim == 4 and first.shape[1] == 1 and outputs == XRAYVISION_OUTPUTS
    if stem == "features.0":
        return "torchvision's or timm's VGG" if "features.0.bias" in state else "medssl's VGG"
    if stem == "features.conv0":
        if any(".layers." in key for key in state):
            return "MONAI's DenseNet"
        return "torchxrayvision's DenseNet" if of_xrayvision else "torchvision's or timm's DenseNet"
    biased = any(key.endswith("downsample.0.bias") for key in state)
    if first.ndim == 5:
        return "MONAI's ResNet" if biased or "fc.weight" in state else "MedicalNet's ResNet"
    if biased:
        return "MONAI's ResNet"
    return "torchxrayvision's ResNet" if of_xrayvision else "torchvision's or timm's ResNet"


def _for_larger_inputs(state: Mapping[str, Tensor], stem: str, scale: float, eps: float = 1e-5) -> dict[str, Tensor]:
    """Stem and normalisation that give of ``images`` what these gave of ``scale × images``, exactly at inference.

    The convolution stays as it is, so that an optimizer finds weights of the usual size, and the statistics of the
    batch normalisation are those of smaller images.
    """
    norm = STEMS[stem]
    variance = state[f"{norm}.running_var"]
    smaller = variance / scale**2
    gain = scale * ((smaller + eps) / (variance + eps)).sqrt()
    return {
        f"{norm}.running_mean": state[f"{norm}.running_mean"] / scale,
        f"{norm}.running_var": smaller,
        f"{norm}.weight": state[f"{norm}.weight"] * gain,
    }


def _architecture(state: Mapping[str, Tensor]) -> str:
    """What network has so many blocks, in words; "" for none of those that are known."""
    axes = max((value.ndim for value in state.values()), default=2) - 2
    blocks = tuple(_count(rf"layer{layer}\.(\d+)\.conv1\.weight", state) for layer in (1, 2, 3, 4))
    layers = tuple(_count(rf"features\.denseblock{block}\.(denselayer\d+)\.", state) for block in (1, 2, 3, 4))
    name = RESNETS.get(("layer1.0.conv3.weight" in state, blocks)) or DENSENETS.get(layers)
    return f"{name} for {axes}D images" if name else ""


def _count(pattern: str, state: Mapping[str, Tensor]) -> int:
    return len({found.group(1) for key in state if (found := re.match(pattern, key))})
