"""From feature maps back to an image: the heads of the reconstruction tasks.

Those that see the last map alone are thrown away afterwards; the U-Net decoder of the pyramid is kept for segmentation.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv
from monai.networks.utils import pixelshuffle
from torch import Tensor, nn

from medssl.errors import UserError

from .backbone import Backbone
from .unet import UNetDecoder

KERNEL, STRIDE, PADDING = 64, 32, 16
SHUFFLED = 4
"""Pixels along each axis that the light decoder's last layer gives for each place."""


class TransposedDecoder(nn.Module):
    """One transposed convolution with kernel 64, stride 32 and padding 16 (Dong et al. 2024, Sec. 6.2.3), 2D only.

    In 3D such a kernel would have 2.7e8 weights on DenseNet-121.

    Args:
        backbone: in 2D, of stride 32.
        image_size: spatial shape of the images; multiples of 32, as the map is then exactly 1/32 of them.
        out_channels: channels of the images.

    Raises:
        UserError: in 3D, for another stride, or for sides that are no multiple of 32.
    """

    def __init__(self, backbone: Backbone, image_size: Sequence[int], out_channels: int) -> None:
        super().__init__()
        if backbone.spatial_dims != 2 or backbone.stride != STRIDE:
            raise UserError(
                f"The transposed decoder is for 2D backbones of stride {STRIDE}, not for {backbone.name} in "
                f"{backbone.spatial_dims}D. Set decoder: light."
            )
        if any(side % STRIDE for side in image_size):
            raise UserError(
                f"The transposed decoder gives multiples of {STRIDE} pixels, image_size is {list(image_size)}. "
                f"Change image_size, or set decoder: light."
            )
        self.image_size = tuple(image_size)
        self.layer = nn.ConvTranspose2d(backbone.out_channels, out_channels, KERNEL, STRIDE, PADDING)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Images ``[B, out_channels, *image_size]`` from a feature map.

        As a product of matrices whose columns are added up where they overlap: on two cores forward and backward take
        50 ms for four maps of 512 × 7 × 7, torch's transposed convolution 83 ms.
        """
        columns = self.layer.weight.flatten(1).t() @ feature_map.flatten(2)
        images = F.fold(columns, self.image_size, KERNEL, padding=PADDING, stride=STRIDE)
        assert self.layer.bias is not None
        return images + self.layer.bias[:, None, None]


class LinearDecoder(nn.Module):
    """One linear layer: each place of the map gives the voxels that it stands for (SimMIM, Xie et al. 2022, Sec. 3.3).

    Args:
        backbone: whose last feature map is decoded.
        image_size: spatial shape of the images.
        out_channels: channels of the images.
    """

    def __init__(self, backbone: Backbone, image_size: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.image_size, self.stride = tuple(image_size), backbone.stride
        self.places = [-(-side // self.stride) for side in image_size]
        dims = backbone.spatial_dims
        self.layer = Conv[Conv.CONV, dims](backbone.out_channels, out_channels * self.stride**dims, kernel_size=1)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Images ``[B, out_channels, *image_size]`` from a feature map."""
        if list(feature_map.shape[2:]) != self.places:  # of a network that leaves out what is no whole stride
            feature_map = F.interpolate(feature_map, size=self.places, mode="nearest")
        images: Tensor = pixelshuffle(self.layer(feature_map), len(self.image_size), scale_factor=self.stride)
        wanted: tuple[slice, ...] = (slice(None), slice(None), *map(slice, self.image_size))
        return images[wanted]


class LightDecoder(nn.Module):
    """Doubles the resolution three times by interpolation and a narrow convolution; a pixel shuffle does the rest.

    The backbone is what is kept, so the decoder stays small: no layer works above a quarter of the image's resolution.
    2D and 3D; sides need not be multiples of anything.

    Args:
        backbone: whose feature map is decoded.
        image_size: spatial shape of the images.
        out_channels: channels of the images.
        channels: on entry, then of the stages, from the coarsest.
    """

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        out_channels: int,
        channels: Sequence[int] = (128, 64, 32, 16),
    ) -> None:
        super().__init__()
        dims = backbone.spatial_dims
        self.image_size = tuple(image_size)
        # The sizes on the way: … an eighth of the image, a quarter of it, rounded up.
        self.sizes = [[-(-side // 2**step) for side in image_size] for step in range(len(channels), 1, -1)]
        self.entry = Conv[Conv.CONV, dims](backbone.out_channels, channels[0], kernel_size=1)
        self.stages = nn.ModuleList(
            Convolution(dims, before, after, adn_ordering="NA", act="RELU", norm="BATCH", bias=False)
            for before, after in pairwise(channels)
        )
        self.exit = Conv[Conv.CONV, dims](channels[-1], out_channels * SHUFFLED**dims, kernel_size=3, padding=1)
        self.mode = "bilinear" if dims == 2 else "trilinear"

    def forward(self, feature_map: Tensor) -> Tensor:
        """Images ``[B, out_channels, *image_size]`` from a feature map."""
        if feature_map.device.type == "cpu":  # a fifth of the time less in 3D, a tenth in 2D; not measured on a GPU
            layout = torch.channels_last if feature_map.ndim == 4 else torch.channels_last_3d
            feature_map = feature_map.contiguous(memory_format=layout)
        features = self.entry(feature_map)
        for size, stage in zip(self.sizes, self.stages, strict=True):
            features = stage(F.interpolate(features, size=size, mode=self.mode, align_corners=False))
        images: Tensor = pixelshuffle(self.exit(features), len(self.image_size), scale_factor=SHUFFLED)
        # Sides that are no multiple of four were rounded up.
        wanted: tuple[slice, ...] = (slice(None), slice(None), *map(slice, self.image_size))
        return images[wanted]


class PyramidDecoder(nn.Module):
    """The U-Net decoder of `build_segmenter`, with skip connections from the backbone's maps, and a layer to the image.

    As in Models Genesis (Zhou et al. 2019), whose encoder and decoder form a U-Net. ``decoder`` is what is kept.

    Args:
        backbone: whose maps are decoded.
        image_size: spatial shape of the images; any.
        out_channels: of what comes out.
        image_channels: channels of the images; None for as many.
    """

    def __init__(
        self, backbone: Backbone, image_size: Sequence[int], out_channels: int, image_channels: int | None = None
    ) -> None:
        super().__init__()
        seen = image_channels or out_channels
        self.decoder = UNetDecoder(backbone.spatial_dims, seen, backbone.channels, backbone.strides)
        self.exit = Conv[Conv.CONV, backbone.spatial_dims](self.decoder.out_channels[0], out_channels, kernel_size=1)

    def forward(self, images: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Images ``[B, out_channels, *spatial]`` from those that the backbone saw, and its maps from fine to coarse."""
        return self.exit(self.decoder(images, maps)[0])
