"""Pooled features of many images, computed once: what probes and linear classifiers work on."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.progress import watched

from .unet import Segmenter


def output_layer(network: nn.Module) -> nn.Linear:
    """The linear layer that ends a classifier, which gives a logit for each class.

    Raises:
        UserError: when the network has none.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UserError(f"{type(network).__name__} has no linear layer, so it is no classifier of build_classifier.")
    return layers[-1]


def new_layers(network: nn.Module) -> list[nn.Module]:
    """What stands behind the backbone: of a classifier its output layer, of a segmenter decoder and output layers.

    Args:
        network: also wrapped for distributed training.

    Raises:
        UserError: see `output_layer`.
    """
    segmenter = next((module for module in network.modules() if isinstance(module, Segmenter)), None)
    return [output_layer(network)] if segmenter is None else [segmenter.decoder, segmenter.head]


def classifier_features(network: nn.Module, images: Tensor) -> Tensor:
    """The pooled features ``[B, D]`` that a classifier's :func:`output_layer` sees of images ``[B, C, *spatial]``."""
    seen: list[Tensor] = []
    hook = output_layer(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        network(images)
    finally:
        hook.remove()
    return seen[0]


@torch.no_grad()
def compute_features(
    network: nn.Module,
    extract: Callable[[Tensor], Tensor],
    batches: Iterable[Mapping[str, Any]],
    amp: bool = False,
    description: str | None = None,
) -> Tensor:
    """Features of every image of a loader, in its order; the network is in evaluation mode meanwhile.

    Args:
        network: whose mode is set, and on whose device the features are computed and stay.
        extract: from images ``[B, C, *spatial]`` to features ``[B, D]``, such as ``classifier_features``.
        batches: a loader of dictionaries with ``image``.
        amp: whether to compute in mixed precision.
        description: of the work, for its progress; None to show none.

    Returns:
        ``[N, D]``, float32.
    """
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    shown = watched(batches, description or "", "batches", show=description is not None)
    try:
        with torch.autocast(device.type, enabled=amp):
            features = [extract(batch["image"].to(device)).float() for batch in shown]
    finally:
        network.train(training)
    return torch.cat(features)
