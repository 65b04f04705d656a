"""One output layer for each source of labels in training, which are one ordinary layer afterwards."""

from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.utils import set_named_module
from torch import Tensor, nn

from .features import output_layer


class SourceHeads(nn.Linear):
    """The output layers of S sources side by side, for labels that may mean something else at each of them.

    In training it gives a logit for each source and class, source by source. In evaluation it gives each class the mean
    of the logits of those sources that learned it: that of the layers' weights, for they are linear, so a network
    saved with `plain_state` is an ordinary one and answers the same.

    Args:
        in_features: D.
        learned: which source learned which class, ``[S, K]`` (bool), each class at one source at least.
    """

    share: Tensor

    def __init__(self, in_features: int, learned: Tensor) -> None:
        super().__init__(in_features, learned.numel())
        self.register_buffer("share", learned / learned.sum(dim=0), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[B, S · K]`` of features ``[B, D]`` in training, ``[B, K]`` in evaluation."""
        return super().forward(features) if self.training else F.linear(features, *self.folded())

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight ``[K, D]`` and bias ``[K]`` of the ordinary layer."""
        weight, bias = (part.unflatten(0, self.share.shape) for part in (self.weight, self.bias))
        return torch.einsum("sk,skd->kd", self.share, weight), (self.share * bias).sum(dim=0)


def give_heads(network: nn.Module, positive: Any, negative: Any) -> nn.Module:
    """Put `SourceHeads` in place of a classifier's output layer where its training labels are those of several sources.

    A source learns a class by known positive and known negative images; with one of the two alone it learns a constant.
    Where no source has both, all count that know any.

    Args:
        network: of K classes; it is changed.
        positive: known positive images of each source and class, source by source, S · K numbers; with K of them the
            network stays as it is.
        negative: the negative ones.

    Returns:
        The network.
    """
    layer = output_layer(network)
    has_positive, has_negative = (
        torch.as_tensor(counts).view(-1, layer.out_features) > 0 for counts in (positive, negative)
    )
    if len(has_positive) == 1:
        return network
    learned = torch.ones_like(has_positive)
    for candidate in (has_positive | has_negative, has_positive & has_negative):
        learned = torch.where(candidate.any(dim=0), candidate, learned)
    name = next(name for name, module in network.named_modules() if module is layer)
    set_named_module(network, name, SourceHeads(layer.in_features, learned))
    return network


def plain_state(network: nn.Module) -> dict[str, Any]:
    """The state dict of a network with its `SourceHeads` folded into an ordinary layer of the same name."""
    state = dict(network.state_dict())
    for name, module in network.named_modules():
        if isinstance(module, SourceHeads):
            state[f"{name}.weight"], state[f"{name}.bias"] = (part.detach() for part in module.folded())
    return state
