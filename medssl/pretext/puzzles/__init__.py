"""The draws and cuts that several pretext tasks share, batched, on the images' device; draws follow the one rule.

That rule stands in `medssl.transforms`. What a single task draws is in the task's file.
"""

from .route_puzzle import RoutePuzzle, route_pool, shortest_routes
from .tile_puzzle import TilePuzzle, distant_permutations
from .tiles import (
    cut_tiles,
    draw_cell_starts,
    draw_crop_starts,
    grid_starts,
    half_overlapping_starts,
    normalise_tiles,
    tile_features,
)

__all__ = [
    "RoutePuzzle",
    "TilePuzzle",
    "cut_tiles",
    "distant_permutations",
    "draw_cell_starts",
    "draw_crop_starts",
    "grid_starts",
    "half_overlapping_starts",
    "normalise_tiles",
    "route_pool",
    "shortest_routes",
    "tile_features",
]
