"""A U-Net on a classification network: the decoder, and the network for segmentation that it makes of a backbone.

(Ronneberger et al. 2015.) It needs torch and MONAI alone, so that it can travel in a bundle.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv
from torch import Tensor, nn

from medssl.errors import UserError

FINEST, WIDEST = 16, 256
"""Channels of the default decoder at the image's resolution, doubled with each level below it, and at most."""
Norm = str | tuple[str, dict[str, object]]


class Block(nn.Module):
    """One level of the decoder: the coarser features, upsampled, and the backbone's map pass two convolutions.

    MONAI's ``UpCat`` differs in that it doubles every side, which does not fit maps whose sides were rounded up. The
    upsampling repeats voxels (nearest): that is reproducible on CUDA, and the convolutions smooth it.

    Args:
        spatial_dims: 2 or 3.
        below: channels of the coarser features.
        skip: channels of the backbone's map.
        out: channels of what comes out.
        norm: MONAI's name of a normalisation, or name and arguments.
    """

    def __init__(self, spatial_dims: int, below: int, skip: int, out: int, norm: Norm) -> None:
        super().__init__()
        # Before the upsampling, where it costs a quarter (an eighth in 3D).
        self.narrow = Conv[Conv.CONV, spatial_dims](below, out, kernel_size=1)
        self.convolutions = nn.Sequential(
            *(
                Convolution(spatial_dims, before, out, adn_ordering="NA", act="RELU", norm=norm, bias=False)
                for before in (skip + out, out)
            )
        )

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Features ``[B, out, *spatial]`` on the grid of ``skip`` ``[B, C, *spatial]``."""
        features = F.interpolate(self.narrow(features), size=skip.shape[2:], mode="nearest")
        return self.convolutions(torch.cat([skip, features], dim=1))


class UNetDecoder(nn.Module):
    """From the maps of a backbone, fine to coarse, to features at the image's own resolution; images of any size.

    Where the finest map is coarser than the image, as in ResNets, the image itself is the finest skip connection.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the images.
        channels: of the backbone's maps, from fine to coarse.
        strides: input voxels per voxel of each map.
        decoder_channels: of the levels, from coarse to fine as in MONAI's ``FlexibleUNet``; None doubles from 16 at the
            image's resolution up to 256, nowhere more than the backbone's map has.
        norm: MONAI's name of a normalisation, or name and arguments.

    Attributes:
        decoder_channels: as given, or those that None stands for.
        out_channels: the same from fine to coarse, as :meth:`forward` gives them.

    Raises:
        UserError: ``decoder_channels`` are more or fewer than the levels.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        strides: Sequence[int],
        decoder_channels: Sequence[int] | None = None,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.sees_image = strides[0] > 1
        skips = [*channels[:-1]]
        widths = [min(WIDEST, FINEST * stride, skip) for skip, stride in zip(skips, strides, strict=False)]
        if self.sees_image:
            skips, widths = [in_channels, *skips], [FINEST, *widths]
        self.decoder_channels = tuple(decoder_channels or reversed(widths))
        if len(self.decoder_channels) != len(skips):
            raise UserError(
                f"decoder_channels must be {len(skips)} numbers for this backbone, one a level from coarse to fine, "
                f"got {list(self.decoder_channels)}."
            )
        self.out_channels = self.decoder_channels[::-1]
        belows = pairwise([channels[-1], *self.decoder_channels])
        self.blocks = nn.ModuleList(
            Block(spatial_dims, below, skip, out, norm)
            for (below, out), skip in zip(belows, reversed(skips), strict=True)
        )

    def forward(self, images: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Features of every level, fine to coarse; the first ``[B, out_channels[0], *spatial]``.

        Args:
            images: ``[B, in_channels, *spatial]``, as the backbone saw them.
            maps: the backbone's, from fine to coarse.
        """
        *skips, features = [images, *maps] if self.sees_image else maps
        levels = []
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            features = block(features, skip)
            levels.append(features)
        return levels[::-1]


class Segmenter(nn.Module):
    """A backbone and a U-Net decoder on its maps: images in, one logit a class for every voxel out.

    Args:
        backbone: the network without its head, as MONAI's own class.
        pyramid: gives its maps from fine to coarse, such as ``resnet_pyramid``.
        spatial_dims, in_channels, channels, strides, decoder_channels, norm: see `UNetDecoder`.
        num_classes: number of logits K.
        deep_supervision: how many coarser levels give logits as well while training (Lee et al. 2015; nnU-Net).

    Raises:
        UserError: see `UNetDecoder`; or the decoder has no so many coarser levels.
    """

    def __init__(
        self,
        backbone: nn.Module,
        pyramid: Callable[[nn.Module, Tensor], list[Tensor]],
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        decoder_channels: Sequence[int] | None = None,
        deep_supervision: int = 0,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.decoder = UNetDecoder(spatial_dims, in_channels, channels, strides, decoder_channels, norm)
        widths = self.decoder.out_channels[: 1 + deep_supervision]
        if not 0 <= deep_supervision == len(widths) - 1:
            raise UserError(
                f"deep_supervision must lie between 0 and {len(self.decoder.out_channels) - 1}, the coarser levels of "
                f"the decoder, got {deep_supervision}."
            )
        self.head = nn.ModuleList(Conv[Conv.CONV, spatial_dims](width, num_classes, kernel_size=1) for width in widths)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Logits ``[B, K, *spatial]`` of images ``[B, in_channels, *spatial]`` of any size.

        In training mode with deep supervision a list: those, then those of the coarser levels on their own grids.
        """
        levels = self.decoder(images, self.pyramid(self.backbone, images))
        if self.training and len(self.head) > 1:
            return [layer(level) for layer, level in zip(self.head, levels, strict=False)]
        return self.head[0](levels[0])
