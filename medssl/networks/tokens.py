"""A vision transformer as tokens and as maps: MONAI's ``ViT`` (Dosovitskiy et al. 2021), images of any size.

It needs torch and MONAI alone, so that it can travel in a bundle.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.utils import pixelshuffle
from torch import Tensor

UNFOLDED = (4, 2, 1)
"""Places along each axis of a token that the maps of a pyramid have, which are taken at equal parts of the depth."""


def token_grid(network: Any, image_size: Sequence[int]) -> tuple[int, ...]:
    """Tokens along each axis of images of this size; a patch that reaches over the edge counts."""
    patch: tuple[int, ...] = network.patch_embedding.patch_embeddings.stride
    return tuple(-(-side // length) for side, length in zip(image_size, patch, strict=True))


def embed_patches(network: Any, images: Tensor) -> Tensor:
    """Each patch of images ``[B, C, *spatial]`` and where it lies as a token, row by row: ``[B, N, D]``.

    Sides are filled up with zeros to multiples of the patch. Positions are those of the network's own grid, spread over
    the image (Dosovitskiy et al. 2021, Sec. 3.2).
    """
    embedding = network.patch_embedding
    patch = embedding.patch_embeddings.stride
    missing = [-side % length for side, length in zip(_sides(images), patch, strict=True)]
    if any(missing):
        images = F.pad(images, [amount for side in reversed(missing) for amount in (0, side)])
    patches = embedding.patch_embeddings(images)
    positions = _positions(embedding.position_embeddings, _sides(patches))
    return embedding.dropout(patches.flatten(2).transpose(1, 2) + positions)


def _sides(images: Tensor) -> list[int]:
    """Of images ``[B, C, *spatial]``; plain numbers also where TorchScript traces shapes."""
    return [int(side) for side in images.shape[2:]]


def _positions(known: Tensor, grid: Sequence[int]) -> Tensor:
    """Position embeddings ``[1, N, D]`` of a grid from those of the network's own, which has equal sides."""
    side = round(int(known.shape[1]) ** (1 / len(grid)))
    if list(grid) == [side] * len(grid):
        return known
    own = known.transpose(1, 2).unflatten(2, [side] * len(grid))
    mode = "bicubic" if len(grid) == 2 else "trilinear"
    return F.interpolate(own, size=tuple(grid), mode=mode, align_corners=False).flatten(2).transpose(1, 2)


def encode_tokens(network: Any, tokens: Tensor) -> list[Tensor]:
    """Tokens ``[B, N, D]``, all of an image or the visible ones alone, after each layer; the last are normalised.

    The class token takes part, as the weights of others want it, and is left out of what comes back.
    """
    features = torch.cat([network.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
    layers = []
    for block in network.blocks:
        features = block(features)
        layers.append(features[:, 1:])
    return [*layers[:-1], network.norm(features)[:, 1:]]


def vit_pyramid(network: Any, images: Tensor) -> list[Tensor]:
    """The last tokens as a map of ``D`` channels, and before it finer ones, to which layers on the way unfold.

    A token has no finer places, so its channels are shared out among them (a pixel shuffle): at a third of the depth
    4 × 4 (× 4) places, at two thirds 2 × 2 (× 2). So a decoder has skip connections, as in UNETR (Hatamizadeh et al.
    2022), and the backbone no weights for them.
    """
    patch, sides = network.patch_embedding.patch_embeddings.stride, _sides(images)
    layers = encode_tokens(network, embed_patches(network, images))
    maps = []
    for part, factor in enumerate(UNFOLDED, start=1):
        tokens = layers[len(layers) * part // len(UNFOLDED) - 1]
        coarse = tokens.transpose(1, 2).unflatten(2, token_grid(network, sides))
        fine = pixelshuffle(coarse, len(sides), factor)
        # Of a patch that reaches over the edge, what lies in the image.
        inside = [slice(-(-side * factor // length)) for side, length in zip(sides, patch, strict=True)]
        maps.append(fine[(slice(None), slice(None), *inside)])
    return maps
