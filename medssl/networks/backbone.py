"""Backbones: classification networks and encoders seen as feature extractors, in 2D and 3D, by name."""

from pathlib import Path

from monai.networks.nets import ViT
from torch import Tensor, nn

from medssl.errors import UserError

from .architectures import build_network, find_architecture
from .public_weights import load_init
from .tokens import embed_patches, encode_tokens


def build_classifier(
    name: str, spatial_dims: int, in_channels: int, num_classes: int, init: str | Path = ""
) -> nn.Module:
    """The plain network (the library's own class) with ``num_classes`` logits, for fine-tuning.

    Args:
        name: a key of ``ARCHITECTURES``.
        spatial_dims: 2 or 3.
        in_channels: channels of the images.
        num_classes: number of logits.
        init: weights to begin with, see `load_init`; "" for random ones. The head is random in any case.

    Raises:
        UserError: for an unknown name, ``spatial_dims`` other than 2 and 3, or weights that do not fit.
        MissingFileError: there are no such weights.
    """
    network = build_network(name, spatial_dims, in_channels, num_classes)
    return load_init(network, init, find_architecture(name).head) if init else network


class Backbone(nn.Module):
    """A network without its classification head: images in, the last feature map out.

    ``backbone.network`` is the wrapped network, so ``backbone.network.state_dict()`` holds the names that its library
    uses.
    Images with fewer channels than ``in_channels`` are seen several times: a backbone for RVRM, which has three times
    the channels of an image, takes a single image as three copies of it (Dong et al. 2024, Sec. 5.3.2).

    Args:
        name: a key of ``ARCHITECTURES``.
        spatial_dims: 2 or 3.
        in_channels: input channels of the first convolution.

    Attributes:
        name, spatial_dims, in_channels: as given.
        channels: of the maps of :meth:`pyramid`, from fine to coarse.
        strides: input voxels per voxel of each of them, along every axis.
        out_channels, stride: those of the last map.
        smallest_side: the shortest side of an image that leaves a feature map.

    Raises:
        UserError: for an unknown name, or ``spatial_dims`` other than 2 and 3.
    """

    def __init__(self, name: str, spatial_dims: int, in_channels: int) -> None:
        super().__init__()
        architecture = find_architecture(name, spatial_dims)
        self.name = name
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.channels, self.strides = architecture.channels, architecture.strides
        self.out_channels, self.stride = self.channels[-1], self.strides[-1]
        self.smallest_side = architecture.smallest_side
        self.network = build_network(name, spatial_dims, in_channels, num_classes=1)
        # Left in, an unused head would carry weights without a gradient, which DDP refuses, into the checkpoint.
        delattr(self.network, architecture.head)
        self._pyramid = architecture.pyramid

    def forward(self, images: Tensor) -> Tensor:
        """The feature map ``[B, out_channels, *(about spatial / stride)]`` of ``[B, C, *spatial]``.

        Raises:
            UserError: when ``in_channels`` is no multiple of ``C``.
        """
        return self.pyramid(images)[-1]

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """The feature maps of ``[B, C, *spatial]`` from fine to coarse; the last is that of :meth:`forward`.

        Raises:
            UserError: when ``in_channels`` is no multiple of ``C``.
        """
        return self._pyramid(self.network, self._in_copies(images))

    def _in_copies(self, images: Tensor) -> Tensor:
        copies, rest = divmod(self.in_channels, images.shape[1])
        if rest or not copies:
            raise UserError(
                f"The backbone takes {self.in_channels} channels; images with {images.shape[1]} do not fit."
            )
        return images.repeat(1, copies, *[1] * self.spatial_dims) if copies > 1 else images

    def pool(self, feature_map: Tensor) -> Tensor:
        """Global average pooling: ``[B, C, *spatial]`` → ``[B, C]``."""
        return feature_map.flatten(2).mean(dim=2)

    def embed(self, images: Tensor) -> Tensor:
        """What a vision transformer makes of ``[B, C, *spatial]`` before its layers, and :meth:`encode` takes.

        Returns:
            ``[B, N, out_channels]``: each patch of ``stride`` voxels a side, and where it lies, row by row. Along each
            axis there are ``stride`` times fewer than voxels, rounded up.

        Raises:
            UserError: the network is no vision transformer, or the channels do not fit.
        """
        return embed_patches(self._transformer(), self._in_copies(images))

    def encode(self, tokens: Tensor) -> Tensor:
        """The answers ``[B, N, out_channels]`` to tokens of :meth:`embed`: all of an image, or the visible ones alone.

        Raises:
            UserError: the network is no vision transformer.
        """
        return encode_tokens(self._transformer(), tokens)[-1]

    def _transformer(self) -> nn.Module:
        if not isinstance(self.network, ViT):
            raise UserError(f"{self.name} has no tokens: take a vision transformer, such as vit_tiny.")
        return self.network


def build_backbone(name: str, spatial_dims: int, in_channels: int = 1, init: str | Path = "") -> Backbone:
    """A `Backbone` by name: a key of ``ARCHITECTURES``.

    Args:
        name, spatial_dims, in_channels: see `Backbone`.
        init: weights to begin with, see `load_init`; "" for random ones.

    Raises:
        UserError: see `Backbone`; or the weights do not fit.
        MissingFileError: there are no such weights.
    """
    backbone = Backbone(name, spatial_dims, in_channels)
    if init:
        load_init(backbone.network, init)
    return backbone
