"""Backbones: MONAI's classification networks (and our VGG) seen as feature extractors, in 2D and 3D.

To add one, write a function that returns its feature maps from fine to coarse (``pyramids.py``) and add a line to
``ARCHITECTURES``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.networks.nets import DenseNet121, resnet10, resnet18, resnet34, resnet50
from torch import Tensor, nn

from medssl.errors import UserError

from .public_weights import load_init
from .pyramids import densenet_pyramid, resnet_pyramid, vgg_pyramid
from .vgg import VGG


class Architecture(NamedTuple):
    """How to build a network and how to look at it as a feature extractor."""

    target: str
    """Dotted path of the constructor, kept in the checkpoint's description."""
    build: Callable[..., nn.Module]
    names: dict[str, str]
    """What the constructor calls ``in_channels`` and ``out_channels``."""
    defaults: dict[str, Any]
    pyramid: Callable[[Any, Tensor], list[Tensor]]
    """Gives the network's feature maps, from fine to coarse."""
    channels: tuple[int, ...]
    """Of these maps."""
    strides: tuple[int, ...]
    """Input voxels per voxel of each of them, along every axis."""
    last_map: str
    """Name of the module whose output is the last feature map, for Grad-CAM."""
    head: str
    """Name of the member after the feature map, which a backbone leaves out."""
    smallest_side: int
    """Images with a shorter side leave no feature map."""
    channels_last: tuple[int, ...]
    """The ``spatial_dims`` in which a training step is quicker with channels_last, as measured on a CPU
    (``benchmarks/results/fast_defaults_cpu.md``)."""


_RESNET18 = Architecture(
    target="monai.networks.nets.resnet18",
    build=resnet18,
    names={"in_channels": "n_input_channels", "out_channels": "num_classes"},
    # The stem of the paper (He et al. 2016). MONAI's default of 1 keeps four (2D) or eight (3D) times the voxels.
    defaults={"conv1_t_stride": 2},
    pyramid=resnet_pyramid,
    channels=(64, 64, 128, 256, 512),
    strides=(2, 4, 8, 16, 32),
    last_map="layer4",
    head="fc",
    smallest_side=1,
    channels_last=(2,),
)
ARCHITECTURES: dict[str, Architecture] = {
    "densenet121": Architecture(
        target="monai.networks.nets.DenseNet121",
        build=DenseNet121,
        names={"in_channels": "in_channels", "out_channels": "out_channels"},
        defaults={},
        pyramid=densenet_pyramid,
        channels=(64, 128, 256, 512, 1024),
        strides=(2, 4, 8, 16, 32),
        last_map="class_layers.relu",
        head="class_layers",
        smallest_side=29,
        channels_last=(2, 3),
    ),
    "resnet10": _RESNET18._replace(target="monai.networks.nets.resnet10", build=resnet10),
    "resnet18": _RESNET18,
    "resnet34": _RESNET18._replace(target="monai.networks.nets.resnet34", build=resnet34),
    "resnet50": _RESNET18._replace(
        target="monai.networks.nets.resnet50", build=resnet50, channels=(64, 256, 512, 1024, 2048)
    ),
    # A ResNet-10 with a quarter of the channels, 0.3 million weights: for a first try on a laptop, and for tests.
    "resnet10_quarter": _RESNET18._replace(
        target="monai.networks.nets.resnet10",
        build=resnet10,
        defaults={"conv1_t_stride": 2, "widen_factor": 0.25},
        channels=(16, 16, 32, 64, 128),
        channels_last=(2, 3),
    ),
    "vgg11": Architecture(
        target="medssl.networks.VGG",
        build=VGG,
        names={"in_channels": "in_channels", "out_channels": "out_channels"},
        defaults={"configuration": "vgg11"},
        pyramid=vgg_pyramid,
        channels=(64, 128, 256, 512, 512, 512),
        strides=(1, 2, 4, 8, 16, 32),
        last_map="features",
        head="class_layers",
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
        channels: of the maps of :meth:`pyramid`, from fine to coarse.
        strides: input voxels per voxel of each of them, along every axis.
        out_channels, stride: those of the last map.
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
        self.channels, self.strides = architecture.channels, architecture.strides
        self.out_channels, self.stride = self.channels[-1], self.strides[-1]
        self.smallest_side = architecture.smallest_side
        self.network = build_classifier(name, spatial_dims, in_channels, num_classes=1)
        # Left in, an unused head would carry weights without a gradient, which DDP refuses, into the checkpoint.
        delattr(self.network, architecture.head)
        self._pyramid = architecture.pyramid

    def forward(self, images: Tensor) -> Tensor:
        """The feature map ``[B, out_channels, *(about spatial / stride)]`` of ``[B, C, *spatial]``.

        Raises:
            UserError: when ``in_channels`` is no multiple of ``C``.
        """
        return self.pyramid(images)[-1]

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """The feature maps of ``[B, C, *spatial]`` from fine to coarse; the last is that of :meth:`forward`.

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
        return self._pyramid(self.network, images)

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
