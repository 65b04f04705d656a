"""An encoder of others made a classifier: its last map is averaged and passes one linear layer.

It needs torch alone, so that it can travel in a bundle. The network keeps its class and the names of its weights.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

from torch import Tensor, nn

Pyramid = Callable[[Any, Tensor], list[Tensor]]
LAST_MAP, HEAD = "last_map", "class_layers"
"""Members that are added: what the last map passes unchanged, for Grad-CAM to look at, and the linear layer."""


def with_head(
    network: nn.Module,
    pyramid: Pyramid,
    channels: int,
    out_channels: int,
    without: Sequence[str] = (),
    idle: str = "",
) -> nn.Module:
    """Give a network ``class_layers`` and a ``forward`` that answers with logits ``[B, out_channels]``; it is changed.

    Args:
        network: of any class.
        pyramid: gives its maps from fine to coarse.
        channels: of the last of them.
        out_channels: number of logits.
        without: members that are left out, such as a decoder.
        idle: pattern of the names of weights that the network has and never uses; they are not trained, for
            `DistributedDataParallel` refuses weights without a gradient. "" for none.
    """
    for name in without:
        delattr(network, name)
    for name, weight in network.named_parameters():
        if idle and re.search(idle, name):
            weight.requires_grad_(False)
    headed = cast(Any, network)
    headed.__class__ = _headed(headed.__class__)
    headed._pyramid = pyramid
    setattr(network, LAST_MAP, nn.Identity())
    setattr(network, HEAD, nn.Linear(channels, out_channels))
    return network


@cache
def _headed(network: Any) -> type[nn.Module]:
    """A class of the same name and members whose ``forward`` gives logits."""
    return type(network.__name__, (network,), {"forward": _logits, "__doc__": network.__doc__})


def _logits(self: Any, images: Tensor) -> Tensor:
    """Logits ``[B, out_channels]`` of images ``[B, C, *spatial]``."""
    last: Tensor = self.last_map(self._pyramid(self, images)[-1])
    return self.class_layers(last.flatten(2).mean(dim=2))
