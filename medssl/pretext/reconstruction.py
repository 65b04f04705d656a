"""What the tasks that give back an image have in common: the decoder by name, and how good the answer is."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone, LightDecoder, TransposedDecoder

from .task import Pictures

DECODERS: dict[str, type[nn.Module]] = {"transposed": TransposedDecoder, "light": LightDecoder}


def build_decoder(task: str, name: str, backbone: Backbone, image_size: Sequence[int], channels: int) -> nn.Module:
    """A decoder of ``DECODERS`` for images ``[B, channels, *image_size]``.

    Raises:
        UserError: for an unknown name, or sizes that the decoder cannot give; the message names the task.
    """
    if name not in DECODERS:
        raise UserError(f"{task}: decoder must be one of {', '.join(DECODERS)}, got {name!r}.")
    try:
        return DECODERS[name](backbone, image_size, channels)
    except UserError as error:
        raise UserError(f"{task}: {error}") from error


def check_share(task: str, **shares: float) -> None:
    """Raise `UserError` when one of the named numbers does not lie strictly between 0 and 1."""
    for name, share in shares.items():
        if not 0 < share < 1:
            raise UserError(f"{task}: {name} must lie between 0 and 1, got {share}.")


def reconstruction_metrics(images: Tensor, answer: Tensor, hidden: Tensor | None = None) -> dict[str, Tensor]:
    """``error``, the mean squared error, and ``baseline``, that of answering with each image's mean everywhere.

    Args:
        images: what should be given back, ``[B, C, *spatial]``.
        answer: of the same shape.
        hidden: ``[B, 1, *spatial]`` (bool); with it, ``hidden_error`` and ``hidden_baseline`` are those in there alone.
    """
    images, answer = images.detach(), answer.detach()
    means = images.flatten(2).mean(dim=2).view(*images.shape[:2], *[1] * (images.ndim - 2)).expand_as(images)
    metrics = {"error": F.mse_loss(answer, images), "baseline": F.mse_loss(means, images)}
    if hidden is not None:
        metrics["hidden_error"] = masked_mse(answer, images, hidden)
        metrics["hidden_baseline"] = masked_mse(means, images, hidden)
    return metrics


def masked_mse(answer: Tensor, images: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the marked voxels ``[B, 1, *spatial]`` of all channels."""
    squared = torch.where(mask, (answer - images).square(), 0)
    return squared.sum() / (mask.sum() * images.shape[1])


def reconstruction_pictures(inputs: Tensor, images: Tensor, answer: Tensor) -> Pictures:
    """The first channel of what goes in, of what should come out, and of what did."""
    return Pictures(inputs.detach()[:, :1], images.detach()[:, 0], answer.detach()[:, 0])


def check_channels(task: str, images: Tensor, channels: int) -> None:
    """Raise `UserError` when images do not have the channels that the decoder gives."""
    if images.shape[1] != channels:
        raise UserError(f"{task}: images have {images.shape[1]} channels, not {channels}. Set image_channels.")
