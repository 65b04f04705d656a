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
    # Counting the boxes that hold a voxel takes a fifth of the time of five masks and their union.
    return _weigh_boxes(starts, sides, image_size, torch.ones(1, device=starts.device)) > 0


MOST_BOXES = 52
"""Boxes that `last_boxes` can tell apart: as many as float64 has digits."""


def last_boxes(starts: Tensor, sides: Tensor, image_size: Sequence[int]) -> Tensor:
    """Which of an image's boxes lies on top at each voxel, when they are laid one upon another in their order.

    Args:
        starts: ``[B, boxes, spatial_dims]``, at most `MOST_BOXES` of them.
        sides: of the same shape; a box with a side of 0 holds no voxel.
        image_size: spatial shape.

    Returns:
        ``[B, 1, *image_size]``: 1 for the first box and so on; 0 where there is none.
    """
    # The sum of 2 to the box's number is dominated by the last one.
    powers = 2.0 ** torch.arange(starts.shape[1], dtype=torch.float64, device=starts.device)
    return torch.frexp(_weigh_boxes(starts, sides, image_size, powers)).exponent.long()


def _weigh_boxes(starts: Tensor, sides: Tensor, image_size: Sequence[int], weights: Tensor) -> Tensor:
    """The sum of the weights ``[boxes]`` of the boxes that hold a voxel, as one product of matrices."""
    within = []
    for axis, side in enumerate(image_size):
        voxel = torch.arange(side, device=starts.device)
        start = starts[..., axis, None]
        within.append(((voxel >= start) & (voxel < start + sides[..., axis, None])).to(weights.dtype))
    places, *between, last = within
    for line in between:
        places = (places[..., None] * line[:, :, None]).flatten(2)
    return (places.transpose(1, 2) @ (last * weights[:, None])).view(len(starts), 1, *image_size)
