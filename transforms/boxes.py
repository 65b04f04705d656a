"""Boxes anywhere in a batch of images, and masks of them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_boxes(
    batch_size: int, boxes: int, image_size: Sequence[int], shares: Sequence[float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Boxes of random sides, each wholly inside its image.

    Args:
        batch_size: number of images.
        boxes: number of boxes in each.
        image_size: spatial shape.
        shares: shortest and longest side of a box, as shares of the image's.
        device: of the result.

    Returns:
        Starts and sides in voxels, both ``[B, boxes, spatial_dims]``; sides are rounded, and at least 1.
    """
    full = torch.tensor(image_size, device=device)
    shape = (2, batch_size, boxes, len(image_size))
    random_side, random_start = torch.rand(shape, device=device)
    shortest, longest = (
        torch.tensor([max(1, round(share * side)) for side in image_size], device=device) for share in shares
    )
    sides = shortest + (random_side * (longest - shortest + 1)).long()
    starts = (random_start * (full - sides + 1)).long()
    return starts, sides


def box_masks(starts: Tensor, sides: Tensor, image_size: Sequence[int]) -> Tensor:
    """The union of each image's boxes: ``[B, 1, *image_size]``, True inside.

    Args:
        starts: ``[B, boxes, spatial_dims]``.
        sides: of the same shape.
        image_size: spatial shape.
    """
    within = []
    for axis, side in enumerate(image_size):
        voxel = torch.arange(side, device=starts.device)
        start = starts[..., axis, None]
        within.append(((voxel >= start) & (voxel < start + sides[..., axis, None])).float())
    places, *between, last = within
    for line in between:
        places = (places[..., None] * line[:, :, None]).flatten(2)
    # The product counts the boxes that hold a voxel: a fifth of the time of five masks and their union.
    return (places.transpose(1, 2) @ last > 0).view(len(starts), 1, *image_size)
