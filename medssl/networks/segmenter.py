"""Networks for segmentation by the name of their backbone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .architectures import find_architecture, network_description, pyramid_description
from .backbone import build_backbone
from .unet import Segmenter


def build_segmenter(
    name: str,
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    deep_supervision: int = 0,
    decoder_channels: Sequence[int] | None = None,
    init: str | Path = "",
) -> Segmenter:
    """A backbone with a U-Net decoder, whose logits ``[B, num_classes, *spatial]`` have the images' size, any size.

    Args:
        name: a key of ``ARCHITECTURES``.
        spatial_dims: 2 or 3.
        in_channels: channels of the images.
        num_classes: number of logits.
        deep_supervision, decoder_channels: see `Segmenter`.
        init: weights that the backbone begins with, see `load_init`; "" for random ones.

    Raises:
        UserError: see `Backbone` and `Segmenter`; or the weights do not fit.
        MissingFileError: there are no such weights.
    """
    backbone = build_backbone(name, spatial_dims, in_channels, init)
    return Segmenter(
        backbone.network,
        find_architecture(name).pyramid,
        spatial_dims,
        in_channels,
        backbone.channels,
        backbone.strides,
        num_classes,
        decoder_channels,
        deep_supervision,
    )


def segmenter_description(
    name: str,
    spatial_dims: int,
    in_channels: int,
    num_classes: int,
    deep_supervision: int = 0,
    decoder_channels: Sequence[int] | None = None,
) -> dict[str, Any]:
    """`build_segmenter`'s network as a MONAI config names it, weight for weight.

    Raises:
        UserError: for an unknown name.
    """
    network = network_description(name, spatial_dims, in_channels, out_channels=1)
    architecture = find_architecture(name, spatial_dims)
    return {
        "_target_": f"{Segmenter.__module__}.{Segmenter.__name__}",
        "backbone": {  # without its head
            "_target_": "monai.networks.utils.set_named_module",
            "mod": network,
            "name": architecture.head,
            "new_layer": {"_target_": "torch.nn.Identity"},
        },
        "pyramid": pyramid_description(architecture),
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "channels": list(architecture.channels),
        "strides": list(architecture.strides),
        "num_classes": num_classes,
        "decoder_channels": None if decoder_channels is None else list(decoder_channels),
        "deep_supervision": deep_supervision,
    }
