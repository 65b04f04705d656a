"""VGG with batch normalisation for 2D and 3D, which MONAI does not have (Simonyan & Zisserman 2015, Table 1)."""

from monai.networks.layers import Conv, Norm, Pool
from torch import Tensor, nn

CONFIGURATIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "vgg11": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
}
"""Channels of the convolutions of each stage; a stage ends with a pooling that halves every side."""


class VGG(nn.Module):
    """Convolutions of 3 × 3 (× 3) in five stages, global average pooling and one linear layer.

    The three fully connected layers of the original, which fix the input size and hold most of its weights, are
    replaced by pooling and a single layer, as in every later network; the members are named as in MONAI's ``DenseNet``.

    Args:
        configuration: a key of ``CONFIGURATIONS``.
        spatial_dims: 2 or 3.
        in_channels: channels of the images.
        out_channels: number of outputs (classes).
    """

    def __init__(self, configuration: str, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in CONFIGURATIONS[configuration]:
            for width in stage:
                layers += [
                    Conv[Conv.CONV, spatial_dims](channels, width, kernel_size=3, padding=1, bias=False),
                    Norm[Norm.BATCH, spatial_dims](width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
            layers.append(Pool[Pool.MAX, spatial_dims](kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        self.class_layers = nn.Sequential(
            Pool[Pool.ADAPTIVEAVG, spatial_dims](1), nn.Flatten(1), nn.Linear(channels, out_channels)
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, out_channels]`` of images ``[B, in_channels, *spatial]``, sides of at least 32."""
        return self.class_layers(self.features(images))
