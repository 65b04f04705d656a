"""From the last feature map back to an image: the heads of the reconstruction tasks, thrown away afterwards."""

from collections.abc import Sequence

import torch.nn.functional as F
from monai.networks.blocks import Convolution
from monai.networks.layers import Conv
from torch import Tensor, nn

from .backbone import Backbone

KERNEL, STRIDE, PADDING = 64, 32, 16


class TransposedDecoder(nn.Module):
    """One transposed convolution with kernel 64, stride 32 and padding 16 (Dong et al. 2024, Sec. 6.2.3), 2D only.

    In 3D such a kernel would have 2.7e8 weights on DenseNet-121.

    Args:
        backbone: in 2D, of stride 32.
        image_size: spatial shape of the images; multiples of 32, as the map is then exactly 1/32 of them.
        out_channels: channels of the images.

    Raises:
        ValueError: in 3D, for another stride, or for sides that are no multiple of 32.
    """

    def __init__(self, backbone: Backbone, image_size: Sequence[int], out_channels: int) -> None:
        super().__init__()
        if backbone.spatial_dims != 2 or backbone.stride != STRIDE:
            raise ValueError(
                f"The transposed decoder is for 2D backbones of stride {STRIDE}, not for {backbone.name} in "
                f"{backbone.spatial_dims}D. Set decoder: light."
            )
        if any(side % STRIDE for side in image_size):
            raise ValueError(
                f"The transposed decoder gives multiples of {STRIDE} pixels, image_size is {list(image_size)}. "
                f"Change image_size, or set decoder: light."
            )
        self.layer = nn.ConvTranspose2d(backbone.out_channels, out_channels, KERNEL, STRIDE, PADDING)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Images ``[B, out_channels, *image_size]`` from a feature map."""
        images: Tensor = self.layer(feature_map)
        return images


class LightDecoder(nn.Module):
    """Doubles the resolution five times, each time by interpolation and a narrow 3 × 3 (× 3) convolution; 2D and 3D.

    The backbone is what is kept, so the decoder stays small; sides need not be multiples of anything.

    Args:
        backbone: whose feature map is decoded.
        image_size: spatial shape of the images.
        out_channels: channels of the images.
        channels: of the five stages, from the coarsest.
    """

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        out_channels: int,
        channels: Sequence[int] = (128, 64, 32, 16, 8),
    ) -> None:
        super().__init__()
        dims = backbone.spatial_dims
        # The sizes on the way: half of the image, a quarter, … rounded up.
        self.sizes = [[-(-side // 2**step) for side in image_size] for step in reversed(range(len(channels)))]
        self.entry = Conv[Conv.CONV, dims](backbone.out_channels, channels[0], kernel_size=1)
        self.stages = nn.ModuleList(
            Convolution(dims, before, after, adn_ordering="NA", act="RELU", norm="BATCH", bias=False)
            for before, after in zip([channels[0], *channels], channels, strict=False)
        )
        self.exit = Conv[Conv.CONV, dims](channels[-1], out_channels, kernel_size=1)
        self.mode = "bilinear" if dims == 2 else "trilinear"

    def forward(self, feature_map: Tensor) -> Tensor:
        """Images ``[B, out_channels, *image_size]`` from a feature map."""
        features = self.entry(feature_map)
        for size, stage in zip(self.sizes, self.stages, strict=True):
            features = stage(F.interpolate(features, size=size, mode=self.mode, align_corners=False))
        images: Tensor = self.exit(features)
        return images
