"""Masked image modelling: what was in the masked patches? (Dong et al. 2024, Sec. 4.1.2, 6.2.3)."""

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import UserError
from medssl.networks import Backbone
from medssl.networks.decoder import STRIDE

from .reconstruction import (
    DecoderName,
    Reconstruction,
    masked_l1,
    reconstruction_metrics,
    reconstruction_pictures,
    spread_cells,
)
from .task import PretextOutput, check_share


class MIM(Reconstruction):
    """Divide each image into 4 × 4 (× 4) patches, set some to zero, give back the whole image; squared error.

    In 2D the head is the paper's transposed convolution (kernel 64, stride 32, padding 16). In 3D such a kernel would
    have 2.7e8 weights on DenseNet-121, so a light decoder stands there instead. The loss counts the visible patches as
    well, as in the paper; ``hidden_error`` is that of the masked ones alone.

    SimMIM (Xie et al. 2022) is the same with other values: many masked patches, ``loss: hidden``, ``decoder: linear``,
    see `configs/recipes/simmim.yaml`. Its learned vector in place of masked patches has no name here: where they are
    the patches of a transformer, all zeros become one token, the bias of its first layer, which is learned.

    Args:
        backbone, image_size: see `PretextTask`.
        grid: patches along each axis.
        mask_ratio: share of the patches that is masked, at least one; 1/16 is the paper's one of sixteen.
        loss: ``image``, squared error over the whole, or ``hidden``, absolute error in the masked patches (SimMIM).
        decoder: ``transposed``, ``light``, ``linear`` or ``pyramid``; None takes ``light`` in 3D, and
            ``transposed`` in 2D, where the backbone's stride is the paper's.
        image_channels: channels of an image.

    Raises:
        UserError: when sizes do not fit, or every patch would be masked.
    """

    question = "what was in the masked patches?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        grid: int = 4,
        mask_ratio: float = 1 / 16,
        loss: Literal["image", "hidden"] = "image",
        decoder: DecoderName | None = None,
        image_channels: int = 1,
    ) -> None:
        papers = backbone.spatial_dims == 2 and backbone.stride == STRIDE
        decoder = decoder or ("transposed" if papers else "light")
        super().__init__(backbone, image_size, decoder, image_channels)
        check_share(mask_ratio=mask_ratio)
        if not 2 <= grid <= min(image_size):
            raise UserError(f"images of {list(image_size)} have no grid of {grid} patches along each axis.")
        if loss not in ("image", "hidden"):
            raise UserError(f"loss must be image or hidden, got {loss!r}.")
        self.grid, self.loss = grid, loss
        self.masked = min(max(1, round(mask_ratio * grid**backbone.spatial_dims)), grid**backbone.spatial_dims - 1)

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images with masked patches ``[B, C, *spatial]`` and where they are masked ``[B, 1, *spatial]`` (bool)."""
        grid = [self.grid] * (images.ndim - 2)
        hidden = draw_grid_masks(len(images), images.shape[2:], grid, self.masked, images.device)
        return torch.where(hidden, 0, images), hidden

    def measure(self, images: Tensor, inputs: Tensor, target: Tensor, answer: Tensor) -> PretextOutput:
        """Mean squared error over the whole image, or mean absolute error in what is masked."""
        metrics = reconstruction_metrics(images, answer, hidden=target)
        loss = masked_l1(answer, images, target) if self.loss == "hidden" else F.mse_loss(answer, images)
        return PretextOutput(loss, metrics, reconstruction_pictures(inputs, images, answer))


def draw_grid_masks(
    batch_size: int, image_size: Sequence[int], grid: Sequence[int], cells: int, device: torch.device, patch: int = 0
) -> Tensor:
    """Divide each image into a ``grid`` of cells, so many along each axis, and mark ``cells`` of them at random.

    Returns:
        ``[B, 1, *image_size]``, True in the marked cells, which are cut as by `spread_cells`.
    """
    order = torch.rand(batch_size, prod(grid), device=device).argsort(dim=1)
    # The ranks of random numbers are a random permutation: exactly ``cells`` of them are below ``cells``.
    return spread_cells((order < cells).view(batch_size, 1, *grid), image_size, patch)
