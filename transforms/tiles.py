"""Cutting tiles (2D) or cubes (3D) out of a batch: only those that are asked for are ever copied."""

from collections.abc import Sequence

import torch
from torch import Tensor


def cut_tiles(images: Tensor, starts: Tensor, tile_size: Sequence[int]) -> Tensor:
    """Cut ``m`` tiles of one size out of each image.

    Args:
        images: ``[B, C, *spatial]``.
        starts: ``[B, m, spatial_dims]``, the first row, column (and slice) of each tile, on the images' device.
        tile_size: the side lengths, ``spatial_dims`` numbers.

    Returns:
        ``[B, m, C, *tile_size]``.

    Raises:
        ValueError: when a tile is larger than the image.
    """
    spatial = tuple(images.shape[2:])
    if any(tile > side for tile, side in zip(tile_size, spatial, strict=True)):
        raise ValueError(f"Tiles of {list(tile_size)} do not fit into images of {list(spatial)}.")
    # unfold makes a view that holds every possible tile; indexing then copies the chosen ones in one call.
    every_tile = images
    for axis, tile in enumerate(tile_size):
        every_tile = every_tile.unfold(2 + axis, tile, 1)
    batch = torch.arange(len(images), device=images.device)[:, None]
    places: tuple[Tensor | slice, ...] = (batch, slice(None), *starts.unbind(dim=-1))
    return every_tile[places]


def draw_crop_starts(
    batch_size: int, image_size: Sequence[int], crop_size: Sequence[int], device: torch.device
) -> Tensor:
    """Uniformly random places of a crop: ``[B, spatial_dims]``, from torch's global generator.

    Raises:
        ValueError: when the crop is larger than the image.
    """
    free = [side - crop for side, crop in zip(image_size, crop_size, strict=True)]
    if min(free) < 0:
        raise ValueError(f"A crop of {list(crop_size)} does not fit into images of {list(image_size)}.")
    return torch.stack([torch.randint(room + 1, (batch_size,), device=device) for room in free], dim=1)
