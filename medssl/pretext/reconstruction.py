"""What the tasks that give back an image have in common: the decoder by name, and how good the answer is."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.losses.precision import at_least_single
from medssl.networks import Backbone, LightDecoder, PyramidDecoder, TransposedDecoder
from medssl.networks.decoder import LinearDecoder

from .task import Pictures, PretextOutput, PretextTask, check_image_size

DECODERS: dict[str, type[nn.Module]] = {
    "transposed": TransposedDecoder,
    "light": LightDecoder,
    "linear": LinearDecoder,
    "pyramid": PyramidDecoder,
}
DecoderName = Literal["transposed", "light", "linear", "pyramid"]


class Reconstruction(PretextTask):
    """Base of the tasks that give back an image, by a decoder.

    ``light``, ``linear`` and ``transposed`` see the last feature map and are thrown away. ``pyramid`` has skip
    connections from the backbone's finer maps, as the original Models Genesis; it sees of an image what the backbone
    sees of it, the puzzle, and stays beside the backbone for a segmentation to begin with.

    Args:
        backbone: sees the images of the puzzle.
        image_size: spatial shape of the images.
        decoder: a key of ``DECODERS``, or a decoder itself.
        image_channels: channels of an image.
        out_channels: of the answer; None for as many.

    Raises:
        UserError: for an unknown decoder, or sizes that backbone or decoder cannot take.
    """

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        decoder: str | nn.Module,
        image_channels: int,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        check_image_size(image_size, backbone)
        self.image_channels = image_channels
        if isinstance(decoder, nn.Module):
            self.head = decoder
            return
        if decoder not in DECODERS:
            raise UserError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}.")
        seen = (image_channels,) if decoder == "pyramid" else ()
        self.head = DECODERS[decoder](backbone, image_size, out_channels or image_channels, *seen)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Measure the answer, for every voxel of ``images``, by :meth:`measure`.

        Raises:
            UserError: when images do not have the channels that the decoder gives.
        """
        if images.shape[1] != self.image_channels:
            raise UserError(
                f"{type(self).__name__}: images have {images.shape[1]} channels, not {self.image_channels}. "
                "Set image_channels."
            )
        inputs, target = self.puzzle(images)
        return self.measure(images, inputs, target, self.answer(backbone, inputs, target).to(images.dtype))

    def answer(self, backbone: Backbone, inputs: Tensor, target: Tensor) -> Tensor:
        """The decoder's image of a puzzle's inputs, of the same size."""
        if isinstance(self.head, PyramidDecoder):
            return self.head(inputs, backbone.pyramid(inputs))
        return self.head(backbone(inputs))

    @abstractmethod
    def measure(self, images: Tensor, inputs: Tensor, target: Tensor, answer: Tensor) -> PretextOutput:
        """Loss, metrics and pictures of an answer to the puzzle ``(inputs, target)`` that was made from ``images``."""


def reconstruction_metrics(images: Tensor, answer: Tensor, hidden: Tensor | None = None) -> dict[str, Tensor]:
    """``error``, the mean squared error, and ``baseline``, that of answering with each image's mean everywhere.

    Args:
        images: what should be given back, ``[B, C, *spatial]``.
        answer: of the same shape.
        hidden: ``[B, 1, *spatial]`` (bool); with it, ``hidden_error`` and ``hidden_baseline`` are those in there alone.
    """
    images, answer = images.detach(), answer.detach()
    means = images.flatten(2).mean(dim=2).view(*images.shape[:2], *[1] * (images.ndim - 2)).expand_as(images)
    metrics = {"error": F.mse_loss(answer, images), "baseline": F.mse_loss(means, images)}
    if hidden is not None:
        metrics["hidden_error"] = masked_mse(answer, images, hidden)
        metrics["hidden_baseline"] = masked_mse(means, images, hidden)
    return metrics


def masked_mse(answer: Tensor, images: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the marked voxels ``[B, 1, *spatial]`` of all channels."""
    return _masked_mean((answer - images).square(), mask)


def masked_l1(answer: Tensor, images: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error over the marked voxels ``[B, 1, *spatial]`` of all channels."""
    return _masked_mean((answer - images).abs(), mask)


def _masked_mean(errors: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, errors, 0).sum() / (mask.sum() * errors.shape[1])


def spread_cells(cells: Tensor, image_size: Sequence[int], patch: int = 0) -> Tensor:
    """``[B, C, *grid]`` → ``[B, C, *image_size]``: every voxel gets what is said of its cell.

    Args:
        cells: what is said.
        image_size: spatial shape.
        patch: side of a cell in voxels, of which the last ones may be cut off; 0 for cells that differ by one voxel.
    """
    for axis, side in enumerate(image_size, 2):
        cells = cells.index_select(axis, _cell_of_voxel(side, cells.shape[axis], patch, cells.device))
    return cells


def _cell_of_voxel(side: int, cells: int, patch: int, device: torch.device) -> Tensor:
    voxels = torch.arange(side, device=device)
    return voxels // patch if patch else voxels * cells // side


def normalise_patches(images: Tensor, grid: Sequence[int], patch: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Each patch minus its mean, over its standard deviation: the better target of He et al. 2022 (Sec. 3).

    Args:
        images: ``[B, C, *spatial]``; the channels of a patch are normalised together.
        grid: patches along each axis.
        patch: how they are cut, see `spread_cells`.

    Returns:
        Normalised images ``[B, C, *spatial]``, and for every voxel mean and deviation of its patch
        ``[B, 1, *spatial]``. As in the authors' code, deviations are unbiased, with 1e-6 added to the variance.
    """
    with torch.autocast(images.device.type, enabled=False):
        images = at_least_single(images)

        def sums(of: Tensor) -> Tensor:
            return spread_cells(_patch_sums(of, grid, patch), images.shape[2:], patch)

        counts = sums(torch.ones_like(images[:1]))
        means = sums(images) / counts
        deviations = (sums((images - means).square()) / (counts - 1).clamp(min=1) + 1e-6).sqrt()
        return (images - means) / deviations, means, deviations


def _patch_sums(images: Tensor, grid: Sequence[int], patch: int) -> Tensor:
    """Sums over the voxels and channels of each patch, ``[B, 1, *grid]``, as one product of matrices an axis."""
    sums = images.sum(dim=1, keepdim=True)
    for axis, cells in enumerate(grid, 2):
        members = F.one_hot(_cell_of_voxel(sums.shape[axis], cells, patch, sums.device), cells).to(sums.dtype)
        sums = (sums.movedim(axis, -1) @ members).movedim(-1, axis)
    return sums


def reconstruction_pictures(inputs: Tensor, images: Tensor, answer: Tensor) -> Pictures:
    """The first channel of what goes in, of what should come out, and of what did."""
    return Pictures(inputs.detach()[:, :1], images.detach()[:, 0], answer.detach()[:, 0])
