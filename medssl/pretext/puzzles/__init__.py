"""From a batch of images to a puzzle: the draws and cuts that pretext tasks share, batched, on the images' device."""

from .grid_masks import draw_grid_masks
from .mixing import draw_coefficients, draw_partners, mix
from .permutations import distant_permutations
from .route_puzzle import RoutePuzzle
from .routes import route_pool, shortest_routes
from .tile_features import tile_features
from .tile_puzzle import TilePuzzle
from .tiles import cut_tiles, draw_cell_starts, draw_crop_starts, half_overlapping_starts, normalise_tiles
from .turns import HALF_TURN_PLANES, QuarterTurns, half_turns, rotate, shape_preserving_rotations
from .view_pairs import build_view, describe_view, draw_view_pairs, matching_metrics, view_features, view_pictures

__all__ = [
    "HALF_TURN_PLANES",
    "QuarterTurns",
    "RoutePuzzle",
    "TilePuzzle",
    "build_view",
    "cut_tiles",
    "describe_view",
    "distant_permutations",
    "draw_cell_starts",
    "draw_coefficients",
    "draw_crop_starts",
    "draw_grid_masks",
    "draw_partners",
    "draw_view_pairs",
    "half_overlapping_starts",
    "half_turns",
    "matching_metrics",
    "mix",
    "normalise_tiles",
    "rotate",
    "route_pool",
    "shape_preserving_rotations",
    "shortest_routes",
    "tile_features",
    "view_features",
    "view_pictures",
]
