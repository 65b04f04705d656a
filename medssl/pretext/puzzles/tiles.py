"""Tiles (2D) or cubes (3D) of a batch: where they lie, copying only those that are asked for, and their features."""

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import UserError
from medssl.networks import Backbone


def cut_tiles(images: Tensor, starts: Tensor, tile_size: Sequence[int]) -> Tensor:
    """Cut ``m`` tiles of one size out of each image.

    Args:
        images: ``[B, C, *spatial]``.
        starts: ``[B, m, spatial_dims]``, the first row, column (and slice) of each tile, on the images' device.
        tile_size: the side lengths, ``spatial_dims`` numbers.

    Returns:
        ``[B, m, C, *tile_size]``.

    Raises:
        UserError: when a tile is larger than the image.
    """
    spatial = tuple(images.shape[2:])
    if any(tile > side for tile, side in zip(tile_size, spatial, strict=True)):
        raise UserError(f"Tiles of {list(tile_size)} do not fit into images of {list(spatial)}.")
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
    """Uniformly random places of a crop: ``[B, spatial_dims]``.

    Raises:
        UserError: when the crop is larger than the image.
    """
    free = [side - crop for side, crop in zip(image_size, crop_size, strict=True)]
    if min(free) < 0:
        raise UserError(f"A crop of {list(crop_size)} does not fit into images of {list(image_size)}.")
    return torch.stack([torch.randint(room + 1, (batch_size,), device=device) for room in free], dim=1)


def draw_cell_starts(
    batch_size: int, image_size: Sequence[int], grid: int, tile_size: Sequence[int], device: torch.device
) -> Tensor:
    """Divide each image into ``grid`` cells along every axis and place one tile at random inside each cell.

    Neighbouring tiles are thus kept apart by gaps of random width, so that no edge of one goes on in the next.

    Returns:
        ``[B, grid ** spatial_dims, spatial_dims]``; the last axis of the image runs fastest.

    Raises:
        UserError: when a tile is larger than a cell.
    """
    cell_size = [side // grid for side in image_size]
    if any(tile > cell for tile, cell in zip(tile_size, cell_size, strict=True)):
        raise UserError(f"Tiles of {list(tile_size)} do not fit into cells of {cell_size}.")
    cells = torch.tensor(list(product(range(grid), repeat=len(cell_size))), device=device)
    corners = cells * torch.tensor(cell_size, device=device)
    places = draw_crop_starts(batch_size * len(cells), cell_size, tile_size, device)
    return corners + places.unflatten(0, (batch_size, len(cells)))


def grid_starts(grid: Sequence[int], stride: Sequence[int]) -> Tensor:
    """The places of tiles that lie ``stride`` apart, so many along each axis as ``grid`` says.

    Returns:
        ``[tiles, spatial_dims]``, from 0; the last axis runs fastest.
    """
    return torch.tensor(list(product(*map(range, grid)))) * torch.tensor(stride)


def half_overlapping_starts(grid: int, stride: Sequence[int]) -> Tensor:
    """The places of ``grid`` tiles along every axis, ``stride`` apart; tiles of twice the stride overlap by half.

    Returns:
        ``[grid, …, grid, spatial_dims]``, from 0.
    """
    return grid_starts([grid] * len(stride), stride).view(*[grid] * len(stride), len(stride))


def normalise_tiles(tiles: Tensor) -> Tensor:
    """Each tile minus its mean, over its standard deviation: its brightness no longer tells where it comes from.

    Args:
        tiles: ``[B, m, C, *tile_size]`` of normalised images; a constant tile becomes zeros (1e-5 is added to each
            variance).
    """
    return F.layer_norm(tiles, tiles.shape[2:])


def tile_features(backbone: Backbone, tiles: Tensor) -> Tensor:
    """Pooled features ``[B, m, D]`` of tiles ``[B, m, C, *tile]`` (Zhu et al. 2020, Eq. 1).

    The tiles of all images go through the backbone as one batch, which is the Siamese network of the paper; batch
    normalisation therefore takes its statistics over all tiles of the mini-batch.
    """
    return backbone.pool(backbone(tiles.flatten(0, 1))).unflatten(0, tiles.shape[:2])
