"""From a file to a tensor, and from a batch of images to a puzzle."""

from .mixing import draw_coefficients, draw_partners, mix
from .radiograph import LoadRadiograph, LoadRadiographd, ResizeRadiograph, ResizeRadiographd
from .rotation import QuarterTurns, rotate, shape_preserving_rotations
from .routes import route_pool, shortest_routes
from .tiles import cut_tiles, draw_crop_starts
from .volume import LoadVolume, LoadVolumed

__all__ = [
    "LoadRadiograph",
    "LoadRadiographd",
    "LoadVolume",
    "LoadVolumed",
    "QuarterTurns",
    "ResizeRadiograph",
    "ResizeRadiographd",
    "cut_tiles",
    "draw_coefficients",
    "draw_crop_starts",
    "draw_partners",
    "mix",
    "rotate",
    "route_pool",
    "shape_preserving_rotations",
    "shortest_routes",
]
