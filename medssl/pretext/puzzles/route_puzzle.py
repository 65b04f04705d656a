"""The puzzle that SRC, MCPC and SC-ASSL share: tiles along a route through each image (Zhu et al. 2020, Sec. 2)."""

from collections.abc import Sequence
from itertools import permutations, product

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone

from ..task import check_image_size
from .tiles import cut_tiles, draw_crop_starts

GRID_SIDE = 3
"""Tiles along each axis of the grid that routes lead over."""


class RoutePuzzle(nn.Module):
    """Crop each image at random, lay 3 × 3 (× 3) tiles with 50 % overlap over the crop, and visit them along a route.

    The crop has twice the side of a tile; tiles start at 0, ½ and 1 tile. Sides need not be equal. The pool of routes
    is a buffer, so a checkpoint keeps the numbering of its classes.

    Args:
        backbone: that will see the tiles.
        image_size: spatial shape of the images.
        tile_size: sides of a tile; by default 7/16 of the image's, so that the crop covers 7/8 of it along each axis,
            or what the backbone needs at least, up to half the image.
        routes_per_corner: six, as the paper: 24 routes in 2D (all there are), 48 in 3D.
        pool_seed: of the draw of routes in 3D.

    Raises:
        UserError: when tiles do not fit into half the image or are too small for the backbone.
    """

    routes: Tensor

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        tile_size: Sequence[int] | None = None,
        routes_per_corner: int = 6,
        pool_seed: int = 0,
    ) -> None:
        super().__init__()
        if tile_size is None:
            tile_size = [max(side * 7 // 16, min(backbone.smallest_side, side // 2)) for side in image_size]
        check_image_size(tile_size, backbone, what="tiles")
        if len(image_size) != len(tile_size) or any(
            2 * tile > side for tile, side in zip(tile_size, image_size, strict=True)
        ):
            raise UserError(
                f"tiles of {list(tile_size)} need images of at least {[2 * tile for tile in tile_size]}, "
                f"image_size is {list(image_size)}. Lower tile_size or raise image_size."
            )
        self.tile_size = tuple(tile_size)
        self.register_buffer("routes", route_pool(backbone.spatial_dims, routes_per_corner, pool_seed))

    @property
    def route_length(self) -> int:
        """m, the tiles on a route: 5 in 2D, 7 in 3D."""
        return self.routes.shape[1]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles ``[B, m, C, *tile_size]`` in the order of the route, and the route's number ``[B]``."""
        device = images.device
        route = torch.randint(len(self.routes), (len(images),), device=device)
        crop_size = [2 * tile for tile in self.tile_size]
        crop_starts = draw_crop_starts(len(images), images.shape[2:], crop_size, device)
        offsets = torch.tensor([[0, tile // 2, tile] for tile in self.tile_size], device=device)
        grid = self.routes[route]
        starts = torch.stack([offsets[axis][grid[..., axis]] for axis in range(grid.shape[-1])], dim=-1)
        return cut_tiles(images, crop_starts[:, None] + starts, self.tile_size), route


def shortest_routes(spatial_dims: int) -> Tensor:
    """Every shortest route between opposite corners of the grid.

    A route starts in a corner and takes two steps along each axis, in any order: 6 routes a corner in 2D (24 in all),
    90 a corner in 3D (720 in all).

    Args:
        spatial_dims: 2 or 3.

    Returns:
        Grid positions ``[routes, 2 * spatial_dims + 1, spatial_dims]`` (int64, 0..2), grouped by their first corner.

    Raises:
        UserError: when ``spatial_dims`` is neither 2 nor 3.
    """
    if spatial_dims not in (2, 3):
        raise UserError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    steps_per_axis = GRID_SIDE - 1
    orders = sorted(set(permutations([axis for axis in range(spatial_dims) for _ in range(steps_per_axis)])))
    steps = torch.nn.functional.one_hot(torch.tensor(orders), spatial_dims)
    from_origin = torch.cat([torch.zeros_like(steps[:, :1]), steps.cumsum(dim=1)], dim=1)
    corners = torch.tensor(list(product((0, steps_per_axis), repeat=spatial_dims)))
    # Mirroring an axis moves the start from corner 0 to corner 2 of that axis.
    return (corners[:, None, None] - from_origin).abs().flatten(0, 1)


def route_pool(spatial_dims: int, routes_per_corner: int = 6, seed: int = 0) -> Tensor:
    """The routes that a task tells apart: ``routes_per_corner`` drawn for each corner (Sec. 2.3).

    In 2D six a corner are all there are, which gives the paper's 24; in 3D six of 90 are drawn, which gives its 48.

    Args:
        spatial_dims: 2 or 3.
        routes_per_corner: 1 to 6 in 2D, 1 to 90 in 3D.
        seed: of the draw, which leaves torch's global generator alone.

    Returns:
        Grid positions ``[corners * routes_per_corner, 2 * spatial_dims + 1, spatial_dims]``.

    Raises:
        UserError: when there are not as many routes.
    """
    by_corner = shortest_routes(spatial_dims).unflatten(0, (2**spatial_dims, -1))
    available = by_corner.shape[1]
    if not 1 <= routes_per_corner <= available:
        raise UserError(
            f"routes_per_corner must lie between 1 and {available} in {spatial_dims}D, got {routes_per_corner}."
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = [routes[torch.randperm(available, generator=generator)[:routes_per_corner]] for routes in by_corner]
    return torch.cat(drawn)
