"""Masks for a batch of images: cells of a grid."""

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_grid_masks(
    batch_size: int,
    image_size: Sequence[int],
    grid: int,
    cells: int,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Divide each image into ``grid`` cells along every axis and mark ``cells`` of them, drawn without replacement.

    Returns:
        ``[B, 1, *image_size]``, True in the marked cells. Sides that ``grid`` does not divide give cells that differ by
        one voxel.
    """
    dims = len(image_size)
    order = torch.rand(batch_size, grid**dims, device=device, generator=generator).argsort(dim=1)
    # The ranks of random numbers are a random permutation: exactly ``cells`` of them are below ``cells``.
    marked = (order < cells).view(batch_size, 1, *[grid] * dims)
    for axis, side in enumerate(image_size):
        cell_of_voxel = torch.arange(side, device=device) * grid // side
        marked = marked.index_select(2 + axis, cell_of_voxel)
    return marked
