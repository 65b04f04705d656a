"""Networks of timm as encoders, by name, 2D alone; timm is an extra.

It needs timm and torch alone, so that it can travel in a bundle.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

ANY_SIZE: tuple[dict[str, bool], ...] = (
    {"strict_img_size": False},
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"dynamic_img_size": True},
    {},
)
"""What makes networks of timm take images of any size: transformers an option, convolutions nothing."""


def timm_network(model_name: str, in_channels: int, **values: Any) -> Any:
    """The whole network with random weights.

    Args:
        model_name: as ``timm.create_model`` takes it.
        in_channels: channels of the images.
        values: further ones for ``timm.create_model``.
    """
    import timm

    for option in ANY_SIZE:
        try:
            return timm.create_model(
                model_name, pretrained=False, in_chans=in_channels, num_classes=0, **values, **option
            )
        except TypeError:  # it has no such option
            if not option:
                raise
    raise AssertionError


def timm_encoder(
    model_name: str, levels: Sequence[int], spatial_dims: int, in_channels: int, **values: Any
) -> nn.Module:
    """A network of timm without what stands behind its last map; names are timm's.

    Args:
        model_name: as ``timm.create_model`` takes it.
        levels: which of its maps are wanted, by the number that ``forward_intermediates`` gives them.
        spatial_dims: 2.
        in_channels: channels of the images.
        values: further ones for ``timm.create_model``.
    """
    assert spatial_dims == 2
    network = timm_network(model_name, in_channels, **values)
    network.prune_intermediate_layers(list(levels), prune_norm=True, prune_head=True)
    head = str(network.pretrained_cfg.get("classifier") or "").partition(".")[0]
    if head:  # of which pruning may leave a normalisation
        setattr(network, head, nn.Identity())
    network.levels = list(levels)
    return network


def timm_pyramid(network: Any, images: Tensor) -> list[Tensor]:
    """The maps of `timm_encoder`'s network from fine to coarse."""
    return network.forward_intermediates(images, indices=network.levels, intermediates_only=True)
