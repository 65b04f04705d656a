"""The weights of a backbone in networks of others, and back: MONAI's for segmentation, nnU-Net's, torchvision's."""

import logging
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.nets import FlexibleUNet, resnet10, resnet18, resnet34, resnet50
from monai.networks.utils import copy_model_state
from torch import Tensor, nn

from medssl.errors import UserError

from .public_families import VIT_NAMES, renamed_weights

logger = logging.getLogger(__name__)

RESNETS = {"resnet10": resnet10, "resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
"""Those that `flexible_unet` can have."""
# The layers of a dense block: MONAI calls one denselayer1.layers.norm1, torchvision denselayer1.norm1, and its files of
# 2017 denselayer1.norm.1.
_THEIRS = partial(re.compile(r"(denselayer\d+)\.layers\.").sub, r"\1.")
_OURS = partial(re.compile(r"(denselayer\d+)\.(norm|conv)\.?(?=[12]\.)").sub, r"\1.layers.\2")


def load_matching_weights(network: nn.Module, state: Mapping[str, Tensor], prefix: str = "") -> int:
    """Copy into a network, in place, whatever fits in name and shape, and log how much that was.

    Where a backbone must fit as a whole, use :func:`load_backbone_weights`.

    Args:
        network: anyone's network.
        state: weights by name, as :func:`load_state_dict` reads them.
        prefix: what the network's names have before those of ``state``, such as ``encoder.``.

    Returns:
        The number of weights that were copied.

    Raises:
        UserError: when none of them fits.
    """
    _, updated, kept = copy_model_state(network, dict(state), dst_prefix=prefix)
    if not updated:
        raise UserError(f"{type(network).__name__} takes none of the {len(state)} weights{_hint(network, state)}.")
    lost = [key for key in state if prefix + key not in set(updated)]
    logger.info(
        "Loaded %d of %d weights%s; %d of the network left as initialised.",
        len(updated),
        len(state),
        f" ({lost[0]} and {len(lost) - 1} more have no place of their name and shape)" if lost else "",
        len(kept),
    )
    return len(updated)


def _hint(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    first = next(iter(state), None)
    if first is None:
        return ", for there are none"
    own = network.state_dict()
    # The same name in another shape (other channels, 2D and 3D), or the same shape below a prefix.
    similar = [
        key for key in own if key == first or (key.endswith(f".{first}") and own[key].shape == state[first].shape)
    ]
    if not similar:
        return f": there is no {first} in it"
    return f": they have {first} {list(state[first].shape)}, and it has {similar[0]} {list(own[similar[0]].shape)}"


def flexible_unet(
    spatial_dims: int, in_channels: int, out_channels: int, architecture: str = "resnet18", **arguments: Any
) -> FlexibleUNet:
    """MONAI's ``FlexibleUNet`` with an encoder that takes a backbone whole.

    MONAI's own encoders have other shortcuts than its networks of the same names, and ours: those of ``resnet18`` and
    ``resnet34`` widen with zeros (type A of He et al. 2016, as MedicalNet does), those of the others have no bias, so
    the weights would fit in part only.
    ``load_matching_weights(network, load_state_dict("backbone.pt"), prefix="encoder.")`` fills it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the images, whose sides are multiples of 32.
        out_channels: channels of the segmentation.
        architecture: of the backbone: ``efficientnet_b0``, or a name of `RESNETS`.
        arguments: others of ``FlexibleUNet``, such as ``decoder_channels`` or ``dropout``.

    Raises:
        UserError: FlexibleUNet has no such encoder.
    """
    if architecture not in (*RESNETS, "efficientnet_b0"):
        raise UserError(f"FlexibleUNet takes {', '.join(RESNETS)} and efficientnet_b0, not {architecture!r}.")
    name = architecture.replace("_", "-")
    network = FlexibleUNet(in_channels, out_channels, name, spatial_dims=spatial_dims, **arguments)
    if architecture in RESNETS:
        source = RESNETS[architecture](spatial_dims=spatial_dims, n_input_channels=in_channels, feed_forward=False)
        for layer in ("layer1", "layer2", "layer3", "layer4"):
            setattr(network.encoder, layer, getattr(source, layer))
    return network


def repeat_input_channels(state: Mapping[str, Tensor], copies: int) -> dict[str, Tensor]:
    """The weights of the network that sees every image ``copies`` times, and computes the same of it.

    The weights of the first convolution are repeated and divided by ``copies``; :func:`fold_input_copies` is the way
    back. So a backbone for grey images starts a network for RGB.

    Args:
        state: weights of a 2D or 3D network whose first convolution takes C channels.
        copies: how often the image stands in the input, the copies one after the other.

    Returns:
        A state dict whose first convolution takes ``copies`` × C channels.

    Raises:
        UserError: when there is no convolution.
    """
    name = next((key for key, value in state.items() if value.ndim >= 4), None)
    if name is None:
        raise UserError("These weights have no convolution whose input channels could be repeated.")
    weight = state[name]
    return {**state, name: weight.repeat(1, copies, *[1] * (weight.ndim - 2)) / copies}


def torchvision_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a 2D ``densenet121`` or ResNet backbone under torchvision's names, exact at inference.

    torchvision's shortcuts have no bias; it is taken into the running mean of the batch normalisation that follows,
    which is the same. Repeat the input channels for torchvision's three: ``repeat_input_channels(state, 3)``.

    Args:
        state: weights with MONAI's names; those of its head are left out.

    Returns:
        What ``torchvision.models.densenet121``, ``resnet18`` and so on take, without the head.

    Raises:
        UserError: for weights of another network, or in 3D.
    """
    if any(value.ndim > 4 for value in state.values()):
        raise UserError("torchvision's networks are for 2D images, and these are weights of a 3D network.")
    if "layer1.0.conv1.weight" in state:
        return {key: value for key, value in _without_shortcut_biases(state).items() if not key.startswith("fc.")}
    if "features.denseblock1.denselayer1.layers.conv1.weight" in state:
        return {_THEIRS(key): value for key, value in state.items() if not key.startswith("class_layers.")}
    raise UserError("These are weights of neither MONAI's DenseNet nor its ResNet: there are no others to rename.")


def _without_shortcut_biases(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    kept = dict(state)
    for key in state:
        if key.endswith("downsample.0.bias"):
            mean = key.replace("0.bias", "1.running_mean")
            kept[mean] = kept[mean] - kept.pop(key)
    return kept


def timm_vit_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a 2D ViT backbone under timm's names, which `monai_vit` reads.

    Repeat the input channels for timm's three: ``repeat_input_channels(state, 3)``. timm's layer normalisation has an
    epsilon of 1e-6, MONAI's 1e-5, so features differ in the fifth digit.

    Args:
        state: weights with MONAI's names.

    Returns:
        What ``vit_small_patch16_224`` and so on take, without the head.

    Raises:
        UserError: for weights of another network, or in 3D.
    """
    stem, positions = state.get("patch_embedding.patch_embeddings.weight"), "patch_embedding.position_embeddings"
    if stem is None or stem.ndim != 4:
        raise UserError(
            "These are no weights of a 2D vit_tiny, vit_small or vit_base: timm has no others of MONAI's ViT."
        )
    # MONAI gives the class token no position, and its blocks have a normalisation that they use nowhere.
    own = {key: value for key, value in state.items() if "norm_cross_attn" not in key and key != positions}
    renamed = renamed_weights(own, {ours: theirs for theirs, ours in VIT_NAMES.items()})
    return renamed | {"pos_embed": F.pad(state[positions], (0, 0, 1, 0))}


def nnunet_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a 3D ``resenc_l`` backbone as nnU-Net's network of that preset (ResEncL) has them.

    Names begin with ``encoder.``. nnU-Net's readers give arrays [Z, Y, X], ours [X, Y, Z], so the axes of every kernel
    are turned round: the network gives of an image [Z, Y, X] what the backbone gives of the same [X, Y, Z].

    Args:
        state: weights with the names of dynamic-network-architectures.

    Raises:
        UserError: for weights of another network, or in 2D.
    """
    stem = state.get("stem.convs.0.conv.weight")
    if stem is None or not any(key.startswith("stages.5.") for key in state):
        raise UserError("These are no weights of resenc_l, which is the backbone that nnU-Net's presets take.")
    if stem.ndim != 5:
        raise UserError("These are weights of a 2D network, and nnU-Net takes pre-trained ones in 3D alone.")
    turned = {
        key: value.permute(0, 1, 4, 3, 2).contiguous() if value.ndim == 5 else value for key, value in state.items()
    }
    return {f"encoder.{key}": value for key, value in turned.items()}


def monai_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of others' ResNets, DenseNets and VGGs under the names of our backbones, exact at inference.

    The way back from `torchvision_weights`, in 2D and 3D: names of dense layers are MONAI's; shortcuts get a bias of 0;
    the biases of VGG's convolutions are taken into the running mean of the batch normalisation that follows; and the
    shortcuts of type A (He et al. 2016; MedicalNet's ResNet-18 and 34), which pass every second voxel on and have no
    weights, become convolutions that do the same. In training the batch normalisation behind such a one normalises
    what it passes on.

    Args:
        state: weights with the names of torchvision, timm, MedicalNet, torchxrayvision or MONAI; those of a head stay.

    Returns:
        The same with MONAI's names, and those of VGG with ours.
    """
    renamed = {_OURS(key): value for key, value in state.items()}
    for key in list(renamed):
        if key.endswith("downsample.0.weight"):
            renamed.setdefault(key.replace("weight", "bias"), renamed[key].new_zeros(len(renamed[key])))
        if re.fullmatch(r"features\.\d+\.bias", key):
            mean = f"features.{int(key.split('.')[1]) + 1}.running_mean"
            if mean in renamed:  # which the bias of a normalisation has not behind it, but an activation
                renamed[mean] = renamed[mean] - renamed.pop(key)
    for layer in (1, 2, 3, 4):
        renamed |= _shortcut(f"layer{layer}.0", layer > 1, renamed)
    for key in list(renamed):  # counted since PyTorch 0.4.1
        if key.endswith("running_mean"):
            renamed.setdefault(key.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return renamed


def _shortcut(block: str, strided: bool, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a shortcut of type A; none where it has its own, or there is no such block."""
    first = state.get(f"{block}.conv1.weight")
    last = state.get(f"{block}.conv3.weight", state.get(f"{block}.conv2.weight"))
    if first is None or last is None or f"{block}.downsample.0.weight" in state:
        return {}
    given, wanted = first.shape[1], len(last)
    if given == wanted and not strided:
        return {}
    like = last.new_zeros(wanted)
    eps = nn.BatchNorm1d(1).eps
    return {
        f"{block}.downsample.0.weight": torch.eye(wanted, given).to(last).view(wanted, given, *[1] * (last.ndim - 2)),
        f"{block}.downsample.0.bias": like,
        f"{block}.downsample.1.weight": like + 1,
        f"{block}.downsample.1.bias": like.clone(),
        f"{block}.downsample.1.running_mean": like.clone(),
        f"{block}.downsample.1.running_var": like + 1 - eps,
    }
