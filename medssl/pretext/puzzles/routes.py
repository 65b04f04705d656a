"""Sampling routes: the shortest ways between corners of a 3 × 3 (× 3) grid (Zhu et al. 2020, Sec. 2.1, 2.3)."""

from itertools import permutations, product

import torch
from torch import Tensor

from medssl.errors import UserError

GRID_SIDE = 3
"""Tiles along each axis of the grid."""


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
