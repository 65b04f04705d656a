"""MAE: a transformer sees a quarter of an image's patches, a small one beside it gives the rest (He et al. 2022)."""

from collections.abc import Sequence

import torch
from monai.networks.blocks.pos_embed_utils import build_sincos_position_embedding
from monai.networks.nets import ViT
from monai.networks.utils import pixelshuffle
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone

from .hidden_patches import HiddenPatches
from .task import check_positive


class MAE(HiddenPatches):
    """Masked autoencoder (He et al. 2022): the encoder sees the visible patches alone, the decoder fills in the others.

    That is why it is cheap: with three quarters hidden the backbone has a quarter of the tokens. The decoder gets a
    learned vector for each hidden patch, and tells them by their places; it is thrown away. Its default is smaller than
    the paper's (512 channels, eight layers), which was made for larger networks and sets of images.

    Args:
        backbone: a vision transformer; its patches are those that are hidden.
        image_size: see `PretextTask`.
        mask_ratio: share of the patches that is hidden, at least one.
        channels: of the decoder; a multiple of 12, and of `heads`.
        layers: of the decoder.
        heads: of its attention.
        image_channels: channels of an image.

    Raises:
        UserError: when sizes do not fit, there is one patch only, or the backbone is no vision transformer.
    """

    smallest_backbone = "vit_tiny"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        mask_ratio: float = 0.75,
        channels: int = 192,
        layers: int = 4,
        heads: int = 6,
        image_channels: int = 1,
    ) -> None:
        if not isinstance(backbone.network, ViT):
            raise UserError(f"{backbone.name} is no vision transformer: take one such as vit_tiny, or another task.")
        check_positive(channels=channels, layers=layers, heads=heads)
        if channels % 12 or channels % heads:
            raise UserError(f"channels must be a multiple of 12 and of heads, {heads}, got {channels}.")
        grid = [-(-side // backbone.stride) for side in image_size]
        voxels = image_channels * backbone.stride**backbone.spatial_dims
        decoder = TokenDecoder(backbone.out_channels, grid, voxels, channels, layers, heads)
        super().__init__(backbone, image_size, grid, mask_ratio, decoder, image_channels, patch=backbone.stride)

    def answer(self, backbone: Backbone, inputs: Tensor, target: Tensor) -> Tensor:
        """The decoder's image, of what the backbone makes of the visible patches."""
        first_voxels: tuple[int | slice, ...] = (0, *[slice(None, None, self.patch)] * backbone.spatial_dims)
        # Those that are not hidden come first, each kind in its own order.
        order = target[(slice(None), *first_voxels)].flatten(1).int().argsort(dim=1, stable=True)
        tokens = take(backbone.embed(inputs), order[:, : self.patches - self.masked])
        patches = self.head(backbone.encode(tokens), order).transpose(1, 2).unflatten(2, self.grid)
        images: Tensor = pixelshuffle(patches, backbone.spatial_dims, scale_factor=self.patch)
        # A patch may reach over the edge.
        wanted: tuple[slice, ...] = (slice(None), slice(None), *map(slice, inputs.shape[2:]))
        return images[wanted]


class TokenDecoder(nn.Module):
    """A small transformer on the tokens of visible patches and a learned vector for each hidden one.

    Args:
        in_channels: of the encoder's tokens.
        grid: patches along each axis.
        out_channels: numbers that it gives for each patch.
        channels, layers, heads: see `MAE`.
    """

    positions: Tensor

    def __init__(
        self, in_channels: int, grid: Sequence[int], out_channels: int, channels: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.entry = nn.Linear(in_channels, channels)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, channels))
        # Fixed sines and cosines, as the encoder's.
        positions = build_sincos_position_embedding(list(grid), channels, len(grid))
        self.register_buffer("positions", positions.detach(), persistent=False)
        layer = nn.TransformerEncoderLayer(
            channels, heads, 4 * channels, dropout=0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(channels), enable_nested_tensor=False)
        self.exit = nn.Linear(channels, out_channels)

    def forward(self, tokens: Tensor, order: Tensor) -> Tensor:
        """An answer for each patch, ``[B, N, out_channels]``.

        Args:
            tokens: of the visible patches, ``[B, V, in_channels]``.
            order: the numbers of all patches, ``[B, N]``, first those of the visible ones as their tokens stand.
        """
        known = self.entry(tokens)
        missing = self.token.to(known.dtype).expand(len(known), order.shape[1] - known.shape[1], -1)
        every = take(torch.cat([known, missing], dim=1), order.argsort(dim=1))
        answer: Tensor = self.exit(self.layers(every + self.positions.to(every.dtype)))
        return answer


def take(tokens: Tensor, numbers: Tensor) -> Tensor:
    """The tokens ``[B, N, D]`` of each image that have these numbers ``[B, V]``, in their order: ``[B, V, D]``."""
    return tokens.gather(1, numbers[:, :, None].expand(-1, -1, tokens.shape[2]))
