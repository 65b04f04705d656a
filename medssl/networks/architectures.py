"""What backbones there are: how each network is built, and how to look at it as a feature extractor.

To add one, write a function that returns its feature maps from fine to coarse (``pyramids.py``) and add a line to
``ARCHITECTURES``.
"""

from types import MappingProxyType
from typing import Any

import torch
from monai.networks.nets import (
    DenseNet121,
    DenseNet169,
    EfficientNetBN,
    MedNeXt,
    ViT,
    resnet10,
    resnet18,
    resnet34,
    resnet50,
)
from monai.networks.nets.segresnet_ds import SegResEncoder
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn

from medssl.errors import UserError

from .architecture import Architecture
from .headed import HEAD, LAST_MAP, with_head
from .nnunet import residual_encoder
from .pyramids import (
    densenet_pyramid,
    efficientnet_pyramid,
    mednext_pyramid,
    residual_pyramid,
    resnet_pyramid,
    segresnet_pyramid,
    swin_pyramid,
    vgg_pyramid,
)
from .timm_architecture import TIMM, eva_x, timm_architecture
from .tokens import vit_pyramid
from .vgg import VGG

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
    blocks=r"layer\d\.\d+",
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
        blocks=r"blocks\.\d+",
        in_3d=MappingProxyType({"defaults": {**values, "img_size": 96}, "channels": (width // 64, width // 8, width)}),
        packages=("einops",),
    )


_DENSENET121 = Architecture(
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
    blocks=r"features\.denseblock\d",
)
_SEGRESNET = Architecture(
    target="monai.networks.nets.segresnet_ds.SegResEncoder",
    build=SegResEncoder,
    names={"in_channels": "in_channels"},
    defaults={"init_filters": 32, "blocks_down": [1, 2, 2, 4, 4]},  # as in CT-FM (Pai et al. 2025)
    pyramid=segresnet_pyramid,
    channels=(32, 64, 128, 256, 512),
    strides=(1, 2, 4, 8, 16),
    last_map=LAST_MAP,
    head=HEAD,
    smallest_side=1,
    channels_last=(),
    encoder=True,
    blocks=r"layers\.\d+\.blocks\.\d+",
)


def _swin(**values: bool) -> Architecture:
    """SwinUNETR's encoder, of the size that its weights have."""
    sizes = {"embed_dim": 48, "depths": [2, 2, 2, 2], "num_heads": [3, 6, 12, 24], **values}
    return _SEGRESNET._replace(
        target="monai.networks.nets.swin_unetr.SwinTransformer",
        build=SwinTransformer,
        names={"in_channels": "in_chans"},
        defaults={**sizes, "patch_size": [2, 2], "window_size": [7, 7]},
        pyramid=swin_pyramid,
        channels=(48, 96, 192, 384, 768),
        strides=(2, 4, 8, 16, 32),
        blocks=r"layers\d\.0\.blocks\.\d+",
        in_3d=MappingProxyType({"defaults": {**sizes, "patch_size": [2, 2, 2], "window_size": [7, 7, 7]}}),
        packages=("einops",),
    )


ARCHITECTURES: dict[str, Architecture] = {
    "densenet121": _DENSENET121,
    "densenet169": _DENSENET121._replace(
        target="monai.networks.nets.DenseNet169", build=DenseNet169, channels=(64, 128, 256, 640, 1664)
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
    "efficientnet_b0": _SEGRESNET._replace(
        target="monai.networks.nets.EfficientNetBN",
        build=EfficientNetBN,
        defaults={"model_name": "efficientnet-b0", "pretrained": False},
        pyramid=efficientnet_pyramid,
        channels=(16, 24, 40, 112, 1280),
        strides=(2, 4, 8, 16, 32),
        smallest_side=32,
        without=("_fc",),  # its activation has two places, so that Grad-CAM could not look at the last one
        blocks=r"_blocks\.\d+\.\d+",
    ),
    "eva_x_tiny": eva_x("tiny", 192),
    "eva_x_small": eva_x("small", 384),
    "eva_x_base": eva_x("base", 768),
    "segresnet": _SEGRESNET,
    "mednext": _SEGRESNET._replace(
        target="monai.networks.nets.MedNeXt",
        build=MedNeXt,
        # MedNeXt-B with kernels of 3 (Roy et al. 2023, Table 1).
        defaults={
            "encoder_expansion_ratio": [2, 3, 4, 4],
            "bottleneck_expansion_ratio": 4,
            "kernel_size": 3,
            "use_residual_connection": True,
        },
        pyramid=mednext_pyramid,
        without=("up_blocks", "dec_stages", "out_0"),
        blocks=r"(enc_stages\.\d+|bottleneck)\.\d+|down_blocks\.\d+",
    ),
    "resenc_l": _SEGRESNET._replace(
        target=f"{residual_encoder.__module__}.{residual_encoder.__name__}",
        build=residual_encoder,
        defaults={},
        pyramid=residual_pyramid,
        channels=(32, 64, 128, 256, 320, 320),
        strides=(1, 2, 4, 8, 16, 32),
        blocks=r"stages\.\d+\.blocks\.\d+",
        packages=("dynamic-network-architectures",),
        extra="nnunet",
    ),
    "swin": _swin(),
    "swin_v2": _swin(use_v2=True),  # whose stages begin with a convolution, as VoCo's (Wu et al. 2024)
    "vit_tiny": _vit(192, heads=3),
    "vit_small": _vit(384, heads=6),
    "vit_base": _vit(768, heads=12),
}


def is_architecture(name: object) -> bool:
    """Whether a backbone can be called so."""
    return isinstance(name, str) and (name in ARCHITECTURES or name.startswith(TIMM))


def find_architecture(name: str, spatial_dims: int | None = None) -> Architecture:
    """What stands in ``ARCHITECTURES`` by this name, or ``timm:NAME``, as it is for 2D or for 3D.

    Raises:
        UserError: there is none of this name, or not for such images.
    """
    if not is_architecture(name):
        raise UserError(f"There is no backbone {name!r}; choose one of {', '.join(ARCHITECTURES)}, or {TIMM}NAME.")
    if spatial_dims not in (None, 2, 3):
        raise UserError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    architecture = timm_architecture(name) if name.startswith(TIMM) else ARCHITECTURES[name]
    if spatial_dims is not None and spatial_dims not in architecture.spatial_dims:
        raise UserError(f"{name} is for {architecture.spatial_dims[0]}D images: take another backbone for these.")
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
    architecture.check_installed(name)
    arguments = encoder_description(name, spatial_dims, in_channels, num_classes)
    del arguments["_target_"]
    network = architecture.build(**arguments)
    if not architecture.encoder:
        return network
    widest = architecture.channels[-1]
    return with_head(network, architecture.pyramid, widest, num_classes, architecture.without, architecture.idle)


def fast_layout(name: str, spatial_dims: int) -> torch.memory_format:
    """The memory format of the weights, for ``network.to``, with which a training step takes least time.

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
