"""The blocks of a backbone in the order of its layers: what is computed again to spare memory, or has its own rate."""

import re
from collections.abc import Iterator

from torch import nn

from medssl.errors import UserError

from .architectures import find_architecture
from .backbone import Backbone
from .unet import Segmenter


def encoder_of(network: nn.Module) -> nn.Module:
    """The library's own network within a pre-training's model, a segmenter, or a classifier, which is one itself.

    Args:
        network: also wrapped for distributed training.
    """
    for module in network.modules():
        if isinstance(module, Backbone):
            return module.network
        if isinstance(module, Segmenter):
            return module.backbone
    return network


def named_blocks(network: nn.Module, architecture: str) -> Iterator[tuple[str, nn.Module]]:
    """The blocks of a backbone by their names in `encoder_of` the network, as its library lists them.

    Args:
        network: see `encoder_of`.
        architecture: a key of ``ARCHITECTURES``.

    Raises:
        UserError: for an unknown name, or a network that is no sequence of blocks.
    """
    pattern = find_architecture(architecture).blocks
    found = [
        (name, module)
        for name, module in encoder_of(network).named_modules()
        if pattern and re.fullmatch(rf"(.*\.)?({pattern})", name)
    ]
    if not found:
        raise UserError(
            f"{architecture} has no blocks to tell apart, which layer_decay and checkpoint_activations need: leave "
            "them out, or take another backbone."
        )
    yield from found


def layers_above(network: nn.Module, architecture: str) -> dict[nn.Parameter, int]:
    """How many layers lie above a weight: 0 behind the last block, 1 in it, most in front of the first.

    As in BEiT (Bao et al. 2022, Appendix). What lies between two blocks counts to the one before it.

    Args:
        network, architecture: see `named_blocks`.

    Raises:
        UserError: see `named_blocks`.
    """
    blocks = [name for name, _ in named_blocks(network, architecture)]
    above, begun = dict.fromkeys(network.parameters(), 0), 0
    for name, weight in encoder_of(network).named_parameters():
        inside = next((number for number, block in enumerate(blocks, 1) if name.startswith(f"{block}.")), None)
        begun = inside or begun
        behind = inside is None and begun == len(blocks)
        above[weight] = 0 if behind else len(blocks) + 1 - begun
    return above
