"""The feature maps of a network on its way from fine to coarse, as a decoder wants them: one function a family.

It needs torch and MONAI alone, so that it can travel in a bundle.
"""

import copy
from collections.abc import Sequence
from math import prod
from typing import Any

import torch.nn.functional as F
from monai.networks.nets.segresnet_ds import SegResEncoder
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn


def resnet_pyramid(network: Any, images: Tensor) -> list[Tensor]:
    """The stem's map at half of the resolution, and those of the four layers of MONAI's ``ResNet``."""
    maps = [network.act(network.bn1(_resnet_stem(network.conv1, images)))]
    features = network.maxpool(maps[0])
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        features = layer(features)
        maps.append(features)
    return maps


def _resnet_stem(convolution: Any, images: Tensor) -> Tensor:
    if images.ndim == 5 and images.shape[2] < 8 and images.device.type == "cpu":
        # With a first axis of 5, 6 or 7 voxels, as small tiles have, oneDNN (torch 2.13, AVX-512) computes a wrong
        # gradient of this convolution (off by 6672 where it is 46 at most). Padded by hand, the sum comes out right.
        first, *others = convolution.padding
        unpadded = copy.copy(convolution)  # the same weights and hooks
        unpadded.padding = (0, *others)
        return unpadded(F.pad(images, (0, 0, 0, 0, first, first)))
    return convolution(images)


def densenet_pyramid(network: Any, images: Tensor) -> list[Tensor]:
    """The stem's map, what the transitions of MONAI's ``DenseNet`` make of its blocks before they pool, the last map.

    (A block's own map has twice the channels, which would cost a decoder twice as much.)
    """
    maps, features = [], images
    for name, layer in network.features.named_children():
        if name.startswith("transition"):
            maps.append(layer.conv(layer.relu(layer.norm(features))))
            features = layer.pool(maps[-1])
        else:
            features = layer(features)
            if name == "relu0":
                maps.append(features)
    # ``features`` ends with a batch normalisation; the activation belongs to ``class_layers``.
    return [*maps, F.relu(features, inplace=True)]


def vgg_pyramid(network: Any, images: Tensor) -> list[Tensor]:
    """The map of every stage of a VGG before it is pooled, and the last one after that."""
    maps, features = [], images
    for layer in network.features:
        if isinstance(layer, (nn.MaxPool2d, nn.MaxPool3d)):
            maps.append(features)
        features = layer(features)
    return [*maps, features]


def efficientnet_pyramid(network: Any, images: Tensor) -> list[Tensor]:
    """The maps of MONAI's ``EfficientNet`` before each halving, and the last after its wide convolution."""
    features = network._swish(network._bn0(network._conv_stem(network._conv_stem_padding(images))))
    maps = []
    for number, stage in enumerate(network._blocks):
        if number and number in network.extract_stacks:
            maps.append(features)
        features = stage(features)
    return [*maps, network._swish(network._bn1(network._conv_head(network._conv_head_padding(features))))]


def segresnet_pyramid(network: Any, images: Tensor) -> list[Tensor]:
    """The map of every level of MONAI's ``SegResEncoder`` (Myronenko 2018)."""
    return SegResEncoder.forward(network, images)


def swin_pyramid(network: Any, images: Tensor) -> list[Tensor]:
    """What SwinUNETR's decoder sees of MONAI's ``SwinTransformer``: patches and four stages, each voxel normalised."""
    return SwinTransformer.forward(network, images)


def mednext_pyramid(network: Any, images: Tensor) -> list[Tensor]:
    """The maps of the encoder of MONAI's ``MedNeXt`` (Roy et al. 2023), the last from its bottleneck.

    Where a single voxel would be left, which has no variance for a normalisation of each image, the image is filled up
    with zeros; what lies outside of it is cut off the maps.
    """
    sides, stride = _sides(images), 2 ** len(network.down_blocks)
    if max(sides) <= stride:
        images = F.pad(images, (0, stride + 1 - sides[-1]))
    maps, features = [], network.stem(images)
    for stage, down in zip(network.enc_stages, network.down_blocks, strict=True):
        maps.append(stage(features))
        features = down(maps[-1])
    maps.append(network.bottleneck(features))
    return [_inside(each, sides, 2**level) for level, each in enumerate(maps)]


def residual_pyramid(network: Any, images: Tensor) -> list[Tensor]:
    """The map of every stage of nnU-Net's ``ResidualEncoder``, which takes multiples of its stride.

    Other images are filled up with zeros, and with one stride more where a single voxel would be left, which has no
    variance for instance normalisation; what lies outside of the image is cut off the maps.
    """
    sides, strides = _sides(images), [max(stride) for stride in network.strides]
    places = [-(-side // prod(strides)) for side in sides]
    if max(places) == 1:
        places[-1] = 2
    missing = [prod(strides) * count - side for count, side in zip(places, sides, strict=True)]
    features = network.stem(F.pad(images, [amount for each in reversed(missing) for amount in (0, each)]))
    maps, stride = [], 1
    for stage, factor in zip(network.stages, strides, strict=True):
        features, stride = stage(features), stride * factor
        maps.append(_inside(features, sides, stride))
    return maps


def _sides(images: Tensor) -> list[int]:
    """Of images ``[B, C, *spatial]``; plain numbers also where TorchScript traces shapes."""
    return [int(side) for side in images.shape[2:]]


def _inside(feature_map: Tensor, sides: Sequence[int], stride: int) -> Tensor:
    """What lies in an image of these sides, which was filled up on the far side of each axis."""
    wanted: tuple[slice, ...] = (slice(None), slice(None), *(slice(-(-side // stride)) for side in sides))
    return feature_map[wanted]
