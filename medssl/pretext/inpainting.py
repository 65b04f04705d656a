"""Inpainting: what was in the hole? (Context encoder, Pathak et al. 2016; used by Zhu et al. 2020, Sec. 5.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.networks import Backbone
from medssl.transforms.boxes import box_masks, draw_boxes

from .reconstruction import DecoderName, Reconstruction, masked_mse, reconstruction_metrics, reconstruction_pictures
from .task import PretextOutput, check_share


class Inpainting(Reconstruction):
    """Cut one block out of each image, anywhere, and reconstruct it; squared error within the hole alone (Eq. 1).

    The hole shows the image's mean, as in the original, so that its fill says nothing. The original's second loss, an
    adversarial one that sharpens the picture, is left out: it adds a second network, and its authors report that the
    features come from the reconstruction.

    Args:
        backbone, image_size: see `PretextTask`.
        hole: side of the block as a share of the image's; ½ is a quarter of the area, as in the original.
        decoder: ``light``, ``linear``, ``pyramid``, or in 2D ``transposed``.
        image_channels: channels of an image.

    Raises:
        UserError: when sizes do not fit.
    """

    question = "what was in the hole?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        hole: float = 0.5,
        decoder: DecoderName = "light",
        image_channels: int = 1,
    ) -> None:
        super().__init__(backbone, image_size, decoder, image_channels)
        check_share(hole=hole)
        self.hole = hole

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images with a hole ``[B, C, *spatial]`` and where it is ``[B, 1, *spatial]`` (bool)."""
        image_size = images.shape[2:]
        starts, sides = draw_boxes(len(images), 1, image_size, (self.hole, self.hole), images.device)
        hidden = box_masks(starts, sides, image_size)
        means = images.flatten(2).mean(dim=2).view(*images.shape[:2], *[1] * len(image_size))
        return torch.where(hidden, means, images), hidden

    def measure(self, images: Tensor, inputs: Tensor, target: Tensor, answer: Tensor) -> PretextOutput:
        """Mean squared error within the holes; outside nothing is asked, so the error there says nothing."""
        metrics = reconstruction_metrics(images, answer, hidden=target)
        metrics = {"error": metrics["hidden_error"], "baseline": metrics["hidden_baseline"]}
        filled = torch.where(target, answer.detach(), images)
        return PretextOutput(
            masked_mse(answer, images, target), metrics, reconstruction_pictures(inputs, images, filled)
        )
