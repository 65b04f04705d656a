"""Backbones: MONAI's classification networks (and our VGG) seen as feature extractors, in 2D and 3D.

To add one, write a function that returns its last feature map and add a line to ``ARCHITECTURES``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from monai.networks.nets import DenseNet121, resnet10, resnet18, resnet34, resnet50
from torch import Tensor, nn

from medssl.errors import UserError

from .public_weights import load_init
from .vgg import VGG


class Architecture(NamedTuple):
    """How to build a network and how to look at it as a feature extractor."""

    target: str
    """Dotted path of the constructor, kept in the checkpoint's description."""
    build: Callable[..., nn.Module]
    names: dict[str, str]
    """What the constructor calls ``in_channels`` and ``out_channels``."""
    defaults: dict[str, Any]
    feature_map: Callable[[Any, Tensor], Tensor]
    last_map: str
    """Name of the module whose output is the last feature map, for Grad-CAM."""
    head: str
    """Name of the member after the feature map, which a backbone leaves out."""
    out_channels: int
    stride: int
    smallest_side: int
    """Images with a shorter side leave no feature map."""
    channels_last: tuple[int, ...]
    """The ``spatial_dims`` in which a training step is quicker with channels_last, as measured on a CPU
    (``benchmarks/results/fast_defaults_cpu.md``)."""


def _densenet_map(network: DenseNet121, images: Tensor) -> Tensor:
    # MONAI's ``features`` ends with a batch normalisation; the activation belongs to its ``class_layers``.
    return F.relu(network.features(images), inplace=True)


def _resnet_stem(convolution: Any, images: Tensor) -> Tensor:
    if images.ndim == 5 and images.shape[2] < 8 and images.device.type == "cpu":
        # With a first axis of 5, 6 or 7 voxels, as small tiles have, oneDNN (torch 2.13, AVX-512) computes a wrong
        # gradient of this convolution (off by 6672 where it is 46 at most). Padded by hand, the sum comes out right.
        first, *others = convolution.padding
        padded = F.pad(images, (0, 0, 0, 0, first, first))
        return F.conv3d(padded, convolution.weight, convolution.bias, convolution.stride, (0, *others))
    return convolution(images)


def _resnet_map(network: Any, images: Tensor) -> Tensor:
    features = network.maxpool(network.act(network.bn1(_resnet_stem(network.conv1, images))))
    return network.layer4(network.layer3(network.layer2(network.layer1(features))))


def _vgg_map(network: VGG, images: Tensor) -> Tensor:
    return network.features(images)


_RESNET18 = Architecture(
    target="monai.networks.nets.resnet18",
    build=resnet18,
    names={"in_channels": "n_input_channels", "out_channels": "num_classes"},
    # The stem of the paper (He et al. 2016). MONAI's default of 1 keeps four (2D) or eight (3D) times the voxels.
    defaults={"conv1_t_stride": 2},
    feature_map=_resnet_map,
    last_map="layer4",
    head="fc",
    out_channels=512,
    stride=32,
    smallest_side=1,
    channels_last=(2,),
)
ARCHITECTURES: dict[str, Architecture] = {
    "densenet121": Architecture(
        target="monai.networks.nets.DenseNet121",
        build=DenseNet121,
        names={"in_channels": "in_channels", "out_channels": "out_channels"},
        defaults={},
        feature_map=_densenet_map,
        last_map="class_layers.relu",
        head="class_layers",
        out_channels=1024,
        stride=32,
        smallest_side=29,
        channels_last=(2, 3),
    ),
    "resnet10": _RESNET18._replace(target="monai.networks.nets.resnet10", build=resnet10),
    "resnet18": _RESNET18,
    "resnet34": _RESNET18._replace(target="monai.networks.nets.resnet34", build=resnet34),
    "resnet50": _RESNET18._replace(target="monai.networks.nets.resnet50", build=resnet50, out_channels=2048),
    # A ResNet-10 with a quarter of the channels, 0.3 million weights: for a first try on a laptop, and for tests.
    "resnet10_quarter": _RESNET18._replace(
        target="monai.networks.nets.resnet10",
        build=resnet10,
        defaults={"conv1_t_stride": 2, "widen_factor": 0.25},
        out_channels=128,
        channels_last=(2, 3),
    ),
    "vgg11": Architecture(
        target="medssl.networks.VGG",
        build=VGG,
        names={"in_channels": "in_channels", "out_channels": "out_channels"},
        defaults={"configuration": "vgg11"},
        feature_map=_vgg_map,
        last_map="features",
        head="class_layers",
        out_channels=512,
        stride=32,
        smallest_side=32,
        channels_last=(),
    ),
}


def _architecture(name: str) -> Architecture:
    if name not in ARCHITECTURES:
        raise UserError(f"There is no backbone {name!r}; choose one of {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[name]


def network_description(name: str, spatial_dims: int, in_channels: int, out_channels: int) -> dict[str, Any]:
    """The network as a MONAI config would name it: ``_target_`` and its arguments; ``out_channels`` counts its logits.

    Raises:
        UserError: for an unknown name.
    """
    architecture = _architecture(name)
    return {
        "_target_": architecture.target,
        "spatial_dims": spatial_dims,
        architecture.names["in_channels"]: in_channels,
        architecture.names["out_channels"]: out_channels,
        **architecture.defaults,
    }


def fast_layout(name: str, spatial_dims: int) -> torch.memory_format:
    """The memory format of the weights with which a training step takes least time; for ``network.to``.

    Args:
        name: a key of ``ARCHITECTURES``.
        spatial_dims: 2 or 3.

    Raises:
        UserError: for an unknown name.
    """
    if spatial_dims not in _architecture(name).channels_last:
        return torch.contiguous_format
    return torch.channels_last if spatial_dims == 2 else torch.channels_last_3d


def last_map_layer(name: str) -> str:
    """Name of the module of `build_classifier`'s network whose output is the last feature map.

    Raises:
        UserError: for an unknown name.
    """
    return _architecture(name).last_map


def build_classifier(
    name: str, spatial_dims: int, in_channels: int, num_classes: int, init: str | Path = ""
) -> nn.Module:
    """The plain network (MONAI's own class, where it has one) with ``num_classes`` logits, for fine-tuning.

    Args:
        name: a key of ``ARCHITECTURES``.
        spatial_dims: 2 or 3.
        in_channels: channels of the images.
        num_classes: number of logits.
        init: weights to begin with, see `load_init`; "" for random ones. The head is random in any case.

    Raises:
        UserError: for an unknown name, ``spatial_dims`` other than 2 and 3, or weights that do not fit.
        MissingFileError: there are no such weights.
    """
    if spatial_dims not in (2, 3):
        raise UserError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    arguments = network_description(name, spatial_dims, in_channels, num_classes)
    del arguments["_target_"]
    network = _architecture(name).build(**arguments)
    return load_init(network, init, _architecture(name).head) if init else network


class Backbone(nn.Module):
    """A network without its classification head: images in, the last feature map out.

    ``backbone.network`` is the wrapped network, so ``backbone.network.state_dict()`` holds the names that MONAI uses.
    Images with fewer channels than ``in_channels`` are seen several times: a backbone for RVRM, which has three times
    the channels of an image, takes a single image as three copies of it (Dong et al. 2024, Sec. 5.3.2).

    Args:
        name: a key of ``ARCHITECTURES``.
        spatial_dims: 2 or 3.
        in_channels: input channels of the first convolution.

    Attributes:
        name, spatial_dims, in_channels: as given.
        out_channels: channels of the feature map.
        stride: input voxels per voxel of the feature map, along each axis.
        smallest_side: the shortest side of an image that leaves a feature map.

    Raises:
        UserError: for an unknown name, or ``spatial_dims`` other than 2 and 3.
    """

    def __init__(self, name: str, spatial_dims: int, in_channels: int) -> None:
        super().__init__()
        architecture = _architecture(name)
        self.name = name
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = architecture.out_channels
        self.stride = architecture.stride
        self.smallest_side = architecture.smallest_side
        self.network = build_classifier(name, spatial_dims, in_channels, num_classes=1)
        # Left in, an unused head would carry weights without a gradient, which DDP refuses, into the checkpoint.
        delattr(self.network, architecture.head)
        self._feature_map = architecture.feature_map

    def forward(self, images: Tensor) -> Tensor:
        """The feature map ``[B, out_channels, *(about spatial / stride)]`` of ``[B, C, *spatial]``.

        Raises:
            UserError: when ``in_channels`` is no multiple of ``C``.
        """
        copies, rest = divmod(self.in_channels, images.shape[1])
        if rest or not copies:
            raise UserError(
                f"The backbone takes {self.in_channels} channels; images with {images.shape[1]} do not fit."
            )
        if copies > 1:
            images = images.repeat(1, copies, *[1] * self.spatial_dims)
        return self._feature_map(self.network, images)

    def pool(self, feature_map: Tensor) -> Tensor:
        """Global average pooling: ``[B, C, *spatial]`` → ``[B, C]``."""
        return feature_map.flatten(2).mean(dim=2)


def build_backbone(name: str, spatial_dims: int, in_channels: int = 1, init: str | Path = "") -> Backbone:
    """A `Backbone` by name: a key of ``ARCHITECTURES``.

    Args:
        name, spatial_dims, in_channels: see `Backbone`.
        init: weights to begin with, see `load_init`; "" for random ones.

    Raises:
        UserError: see `Backbone`; or the weights do not fit.
        MissingFileError: there are no such weights.
    """
    backbone = Backbone(name, spatial_dims, in_channels)
    if init:
        load_init(backbone.network, init)
    return backbone
