"""Entries of the registry for networks of timm: ``timm:NAME``, found by a look at the network, and EVA-X's."""

import re
from functools import cache, partial

import torch

from medssl.errors import UserError

from .architecture import Architecture, without_values
from .headed import HEAD, LAST_MAP
from .timm_networks import timm_encoder, timm_network, timm_pyramid

TIMM = "timm:"
"""What stands before the name of a network of timm."""
SIDE = 224
"""Of the image that the network is looked at with; it is also the size that transformers of timm are built for."""
_ANY = Architecture(
    target=f"{timm_encoder.__module__}.{timm_encoder.__name__}",
    build=timm_encoder,
    names={"in_channels": "in_channels"},
    defaults={},
    pyramid=timm_pyramid,
    channels=(),
    strides=(),
    last_map=LAST_MAP,
    head=HEAD,
    smallest_side=1,
    channels_last=(),
    encoder=True,
    blocks=r"(blocks|layer\d|(stages|layers)\.\d+\.blocks)\.\d+",
    spatial_dims=(2,),
    packages=("timm",),
    extra="timm",
)


def eva_x(size: str, width: int) -> Architecture:
    """EVA-X's transformer: EVA-02 with turned (rotary) positions on patches of 16 pixels (Yao et al. 2024)."""
    values = {"patch_size": 16, "ref_feat_shape": [14, 14]}
    return _ANY._replace(
        defaults={"model_name": f"eva02_{size}_patch14_224", "levels": [11], **values},
        channels=(width,),
        strides=(16,),
        smallest_side=1,
    )


@cache
def timm_architecture(name: str) -> Architecture:
    """The entry of ``timm:NAME``.

    Its pyramid has the last map of each size. Of a transformer with maps of one size that is the last map alone.

    Raises:
        UserError: timm is not installed, has no such network, or none that gives maps on the way.
    """
    _ANY.check_installed(name)
    import timm

    model = name.removeprefix(TIMM)
    if not timm.is_model(model):
        raise UserError(f"timm has no network {model!r}: timm.list_models() gives their names.")
    try:
        levels, channels, strides, idle = without_values(partial(_look, model))
    except AssertionError as error:  # timm's word for what a network cannot do
        raise UserError(f"timm's {model} cannot be taken apart ({error}): take another network of timm.") from error
    return _ANY._replace(
        defaults={"model_name": model, "levels": levels},
        channels=channels,
        strides=strides,
        smallest_side=strides[-1],
        idle="^(" + "|".join(map(re.escape, idle)) + ")$" if idle else "",
    )


def _look(model: str) -> tuple[list[int], tuple[int, ...], tuple[int, ...], list[str]]:
    """Levels, channels and strides of the maps that are wanted, and the weights that the last does not depend on."""
    whole = timm_network(model, 1)
    if not hasattr(whole, "forward_intermediates"):
        raise UserError(f"timm's {model} does not give its maps on the way: take another network of timm.")
    images = torch.zeros(2, 1, SIDE, SIDE)
    sides = [each.shape[2] for each in whole.forward_intermediates(images, intermediates_only=True)]
    levels = [level for level, side in enumerate(sides) if side not in sides[level + 1 :]]
    network = timm_encoder(model, levels, 2, 1)
    maps = timm_pyramid(network, images)
    maps[-1].sum().backward()
    idle = [name for name, weight in network.named_parameters() if weight.grad is None]
    return levels, tuple(each.shape[1] for each in maps), tuple(SIDE // each.shape[2] for each in maps), idle
