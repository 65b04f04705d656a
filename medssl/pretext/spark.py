"""SparK: masked image modelling for convolutional networks (Tian et al. 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone

from .hidden_patches import HiddenPatches
from .masked_pass import Masked, visible_at
from .task import check_positive

UNMASKED = (nn.LayerNorm, nn.MultiheadAttention)
"""Layers of transformers, which `Masked` lets through."""


class SparK(HiddenPatches):
    """Hide most patches of each image, show the backbone the others alone, give back the hidden from maps of all sizes.

    A convolution that sees patches set to zero, as in `MIM`, soon sees them everywhere: its statistics shift, and the
    mask fades from layer to layer. Here what is hidden stays out of every layer (see `Masked`); then each map of the
    pyramid is filled with a learned vector where it is hidden (Sec. 3.2), and a U-Net decoder gives back the image. The
    target is each patch, normalised; the loss is the squared error in the hidden ones (Sec. 3.3).

    The original's decoder adds the backbone's maps where this one, which a segmentation can begin with, concatenates
    them; and it has no skip connection from the image, which shows zeros here where it is hidden.

    Args:
        backbone: a convolutional one.
        image_size: see `PretextTask`.
        mask_ratio: share of the patches that is hidden, at least one.
        patch: its side in voxels; 0 takes the backbone's stride, as the paper does, or half of the image's longest side
            where that is shorter. Smaller ones fade in the coarsest maps, whose voxels then hold something visible.
        image_channels: channels of an image.

    Raises:
        UserError: when sizes do not fit, there is one patch only, or the backbone has layers of transformers.
    """

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        mask_ratio: float = 0.6,
        patch: int = 0,
        image_channels: int = 1,
    ) -> None:
        patch = int(patch or min(backbone.stride, max(image_size) // 2))
        check_positive(patch=patch)
        grid = [-(-side // patch) for side in image_size]
        super().__init__(backbone, image_size, grid, mask_ratio, "pyramid", image_channels)
        if foreign := next((module for module in backbone.modules() if isinstance(module, UNMASKED)), None):
            raise UserError(
                f"it masks convolutions and their normalisations, and {backbone.name} has layers of another kind "
                f"({type(foreign).__name__}): take another task."
            )
        ones = [1] * backbone.spatial_dims
        self.tokens = nn.ParameterList(0.02 * torch.randn(1, channels, *ones) for channels in backbone.channels)

    def answer(self, backbone: Backbone, inputs: Tensor, target: Tensor) -> Tensor:
        """The decoder's image of maps that hold what is visible, and learned vectors elsewhere."""
        with Masked(backbone, ~target):
            maps = backbone.pyramid(inputs)
        filled = [
            torch.where(visible_at(~target, features.shape[2:]) > 0, features, token.to(features.dtype))
            for features, token in zip(maps, self.tokens, strict=True)
        ]
        answer: Tensor = self.head(inputs, filled)
        return answer
