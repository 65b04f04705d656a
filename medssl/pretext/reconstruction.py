"""What the tasks that give back an image have in common: the decoder by name, and how good the answer is."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone, LightDecoder, PyramidDecoder, TransposedDecoder

from .task import Pictures, PretextOutput, PretextTask, check_image_size

DECODERS: dict[str, type[nn.Module]] = {
    "transposed": TransposedDecoder,
    "light": LightDecoder,
    "pyramid": PyramidDecoder,
}
DecoderName = Literal["transposed", "light", "pyramid"]


class Reconstruction(PretextTask):
    """Base of the tasks that give back an image, by a decoder.

    ``light`` and ``transposed`` see the last feature map and are thrown away. ``pyramid`` has skip connections from the
    backbone's finer maps, as the original Models Genesis; it sees of an image what the backbone sees of it, the puzzle,
    and stays beside the backbone for a segmentation to begin with.

    Args:
        backbone: sees the images of the puzzle.
        image_size: spatial shape of the images.
        decoder: a key of ``DECODERS``.
        image_channels: channels of an image.

    Raises:
        UserError: for an unknown decoder, or sizes that backbone or decoder cannot take.
    """

    def __init__(self, backbone: Backbone, image_size: Sequence[int], decoder: str, image_channels: int) -> None:
        super().__init__()
        check_image_size(image_size, backbone)
        if decoder not in DECODERS:
            raise UserError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}.")
        self.image_channels = image_channels
        self.head = DECODERS[decoder](backbone, image_size, image_channels)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Measure the answer, an image of the shape of ``images``, by :meth:`measure`.

        Raises:
            UserError: when images do not have the channels that the decoder gives.
        """
        if images.shape[1] != self.image_channels:
            raise UserError(
                f"{type(self).__name__}: images have {images.shape[1]} channels, not {self.image_channels}. "
                "Set image_channels."
            )
        inputs, target = self.puzzle(images)
        if isinstance(self.head, PyramidDecoder):
            answer = self.head(inputs, backbone.pyramid(inputs))
        else:
            answer = self.head(backbone(inputs))
        return self.measure(images, inputs, target, answer.to(images.dtype))

    @abstractmethod
    def measure(self, images: Tensor, inputs: Tensor, target: Tensor, answer: Tensor) -> PretextOutput:
        """Loss, metrics and pictures of an answer to the puzzle ``(inputs, target)`` that was made from ``images``."""


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
