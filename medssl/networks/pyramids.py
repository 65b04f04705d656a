"""The feature maps of a network on its way from fine to coarse, as a decoder wants them: one function a family.

It needs torch alone, so that it can travel in a bundle.
"""

import copy
from typing import Any

import torch.nn.functional as F
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
