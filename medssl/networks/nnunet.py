"""nnU-Net's residual encoder, from dynamic-network-architectures, an extra (Isensee et al. 2024, nnU-Net Revisited).

It needs that package and MONAI alone, so that it can travel in a bundle.
"""

from monai.networks.layers import Conv, Norm
from torch import nn

FEATURES, BLOCKS = (32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6)
"""Channels and residual blocks of each stage of ResEnc L."""


def residual_encoder(spatial_dims: int, in_channels: int) -> nn.Module:
    """The encoder of nnU-Net's preset ResEnc L: six stages, each but the first of which halves every side.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the images.
    """
    from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
    from dynamic_network_architectures.initialization.weight_init import InitWeights_He, init_last_bn_before_add_to_0

    encoder = ResidualEncoder(
        in_channels,
        len(FEATURES),
        FEATURES,
        Conv[Conv.CONV, spatial_dims],
        kernel_sizes=3,
        strides=(1, 2, 2, 2, 2, 2),
        n_blocks_per_stage=BLOCKS,
        conv_bias=True,
        norm_op=Norm[Norm.INSTANCE, spatial_dims],
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        return_skips=True,
    )
    encoder.apply(InitWeights_He(1e-2))
    encoder.apply(init_last_bn_before_add_to_0)
    return encoder
