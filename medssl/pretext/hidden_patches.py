"""What SparK and MAE have in common: most patches are hidden, and asked for, each in units of its own deviation."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone

from .mim import draw_grid_masks
from .reconstruction import Reconstruction, masked_mse, normalise_patches, reconstruction_pictures
from .task import PretextOutput, check_share


class HiddenPatches(Reconstruction):
    """Base of the tasks whose backbone sees some patches of an image and nothing of the others.

    The target is each patch minus its mean, over its deviation; the loss is the squared error in the hidden ones (He et
    al. 2022, Sec. 3; Tian et al. 2023, Sec. 3.3).

    Args:
        backbone: sees the visible patches.
        image_size: spatial shape of the images.
        grid: patches along each axis.
        mask_ratio: share of them that is hidden, at least one and never all.
        decoder: see `Reconstruction`.
        image_channels: channels of an image.
        patch: see `spread_cells`.

    Raises:
        UserError: when sizes do not fit, or there is one patch only.
    """

    question = "what was in the masked patches?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        grid: Sequence[int],
        mask_ratio: float,
        decoder: str | nn.Module,
        image_channels: int,
        patch: int = 0,
    ) -> None:
        super().__init__(backbone, image_size, decoder, image_channels)
        check_share(mask_ratio=mask_ratio)
        self.grid, self.patch, self.patches = list(grid), patch, prod(grid)
        if self.patches < 2:
            raise UserError(f"images of {list(image_size)} are a single patch: take larger ones, or smaller patches.")
        self.masked = min(max(1, round(mask_ratio * self.patches)), self.patches - 1)

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images that are zero where hidden ``[B, C, *spatial]``, and where that is ``[B, 1, *spatial]`` (bool)."""
        hidden = draw_grid_masks(len(images), images.shape[2:], self.grid, self.masked, images.device, self.patch)
        return torch.where(hidden, 0, images), hidden

    def measure(self, images: Tensor, inputs: Tensor, target: Tensor, answer: Tensor) -> PretextOutput:
        """Mean squared error within the hidden patches, in units of each patch's deviation."""
        normalised, means, deviations = normalise_patches(images, self.grid, self.patch)
        loss = masked_mse(answer, normalised, target)
        baseline = masked_mse(torch.zeros_like(answer), normalised, target)
        metrics = {"error": loss.detach(), "baseline": baseline.detach()}
        filled = torch.where(target, means + answer.detach() * deviations, images)
        return PretextOutput(loss, metrics, reconstruction_pictures(inputs, images, filled))
