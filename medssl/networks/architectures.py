"""What backbones there are: how each network is built, and how to look at it as a feature extractor.

To add one, write a function that returns its feature maps from fine to coarse (``pyramids.py``) and add a line to
``ARCHITECTURES``.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from monai.networks.nets import DenseNet121, ViT, resnet10, resnet18, resnet34, resnet50
from torch import Tensor, nn

from medssl.errors import UserError

from .headed import HEAD, LAST_MAP, with_head
from .pyramids import densenet_pyramid, resnet_pyramid, vgg_pyramid
from .tokens import vit_pyramid
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
    encoder: bool = False
    """Whether the constructor makes no classifier, so that `with_head` makes it one."""
    without: tuple[str, ...] = ()
    """Members of an encoder's network that are left out, such as its decoder."""
    idle: str = ""
    """Pattern of the names of weights that the network has and never uses."""
    in_3d: MappingProxyType[str, Any] = MappingProxyType({})
    """Fields that differ in 3D."""
    packages: tuple[str, ...] = ()
    """Distributions that it needs and MONAI does not bring."""


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


def _vit(width: int, heads: int) -> Architecture:
    """A ViT of twelve layers on patches of 16 voxels a side; its positions are those of images of 224, of boxes of 96.

    They are fixed sines and cosines, as in He et al. 2022 (MAE), and are spread over images of other sizes. It has a
    class token, as the weights of others want it.
    """
    values = {
        "patch_size": 16,
        "hidden_size": width,
        "mlp_dim": 4 * width,
        "num_heads": heads,
        "pos_embed_type": "sincos",
        "qkv_bias": True,
        "classification": True,
    }
    return Architecture(
        target="monai.networks.nets.ViT",
        build=ViT,
        names={"in_channels": "in_channels"},
        defaults={**values, "img_size": 224},
        pyramid=vit_pyramid,
        channels=(width // 16, width // 4, width),
        strides=(4, 8, 16),
        last_map=LAST_MAP,
        head=HEAD,
        smallest_side=1,
        channels_last=(),
        encoder=True,
        without=("classification_head",),  # on the class token alone
        idle=r"\.norm_cross_attn\.",
        in_3d=MappingProxyType({"defaults": {**values, "img_size": 96}, "channels": (width // 64, width // 8, width)}),
        packages=("einops",),
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
    "vit_tiny": _vit(192, heads=3),
    "vit_small": _vit(384, heads=6),
    "vit_base": _vit(768, heads=12),
}


def find_architecture(name: str, spatial_dims: int = 2) -> Architecture:
    """The entry of ``ARCHITECTURES``, as it is for 2D or for 3D.

    Raises:
        UserError: there is none of this name, or ``spatial_dims`` is other than 2 and 3.
    """
    if name not in ARCHITECTURES:
        raise UserError(f"There is no backbone {name!r}; choose one of {', '.join(ARCHITECTURES)}.")
    if spatial_dims not in (2, 3):
        raise UserError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    architecture = ARCHITECTURES[name]
    return architecture._replace(**architecture.in_3d) if spatial_dims == 3 else architecture


def encoder_description(name: str, spatial_dims: int, in_channels: int, out_channels: int = 1) -> dict[str, Any]:
    """The library's own network as a MONAI config would name it: ``_target_`` and its arguments.

    Raises:
        UserError: see `find_architecture`.
    """
    architecture = find_architecture(name, spatial_dims)
    outputs = {architecture.names["out_channels"]: out_channels} if "out_channels" in architecture.names else {}
    return {
        "_target_": architecture.target,
        "spatial_dims": spatial_dims,
        architecture.names["in_channels"]: in_channels,
        **outputs,
        **architecture.defaults,
    }


def network_description(name: str, spatial_dims: int, in_channels: int, out_channels: int) -> dict[str, Any]:
    """The classifier as a MONAI config would name it; ``out_channels`` counts its logits.

    It is the library's own network, or `with_head` of it, where that is an encoder.

    Raises:
        UserError: see `find_architecture`.
    """
    architecture = find_architecture(name, spatial_dims)
    network = encoder_description(name, spatial_dims, in_channels, out_channels)
    if not architecture.encoder:
        return network
    return {
        "_target_": f"{with_head.__module__}.{with_head.__name__}",
        "network": network,
        "pyramid": pyramid_description(architecture),
        "channels": architecture.channels[-1],
        "out_channels": out_channels,
        "without": list(architecture.without),
        "idle": architecture.idle,
    }


def pyramid_description(architecture: Architecture) -> dict[str, Any]:
    """The function that gives the maps as a MONAI config would name it."""
    return {
        "_target_": f"{architecture.pyramid.__module__}.{architecture.pyramid.__name__}",
        "_mode_": "callable",
    }


def build_network(name: str, spatial_dims: int, in_channels: int, num_classes: int) -> nn.Module:
    """The classifier that `network_description` describes, with random weights.

    Raises:
        UserError: see `find_architecture`.
    """
    architecture = find_architecture(name, spatial_dims)
    arguments = encoder_description(name, spatial_dims, in_channels, num_classes)
    del arguments["_target_"]
    network = architecture.build(**arguments)
    if not architecture.encoder:
        return network
    widest = architecture.channels[-1]
    return with_head(network, architecture.pyramid, widest, num_classes, architecture.without, architecture.idle)


def fast_layout(name: str, spatial_dims: int) -> torch.memory_format:
    """The memory format of the weights with which a training step takes least time; for ``network.to``.

    Args:
        name: a key of ``ARCHITECTURES``.
        spatial_dims: 2 or 3.

    Raises:
        UserError: for an unknown name.
    """
    if spatial_dims not in find_architecture(name, spatial_dims).channels_last:
        return torch.contiguous_format
    return torch.channels_last if spatial_dims == 2 else torch.channels_last_3d


def last_map_layer(name: str) -> str:
    """Name of the module of `build_classifier`'s network whose output is the last feature map.

    Raises:
        UserError: for an unknown name.
    """
    return find_architecture(name).last_map
