"""From a file to a tensor, and from a batch of images to a puzzle."""

from .accounted import Accounted
from .genesis import BezierIntensity, LocalShuffle, Painting
from .image_tensor import image_tensor
from .intensity import apply_tables, bezier_tables, blur, jitter_intensity, to_unit_range, value_range
from .load_radiograph import LoadRadiograph, LoadRadiographd, ResizeRadiograph, ResizeRadiographd
from .load_volume import LoadVolume, LoadVolumed, ResampleVolume, ResampleVolumed
from .masks import box_masks, draw_boxes, draw_grid_masks
from .mixing import draw_coefficients, draw_partners, mix
from .per_image import RandPerImage, RandPerImaged
from .permutations import distant_permutations
from .resized_crop import draw_resized_crops, resize_crops
from .rotation import HALF_TURN_PLANES, QuarterTurns, half_turns, rotate, shape_preserving_rotations
from .routes import route_pool, shortest_routes
from .stored import (
    LoadStored,
    LoadStoredd,
    MiddleStoredCrop,
    MiddleStoredCropd,
    RandStoredCropsd,
    StoredImage,
    write_stored,
)
from .tiles import cut_tiles, draw_cell_starts, draw_crop_starts, half_overlapping_starts, normalise_tiles
from .views import ContrastiveView

__all__ = [
    "HALF_TURN_PLANES",
    "Accounted",
    "BezierIntensity",
    "ContrastiveView",
    "LoadRadiograph",
    "LoadRadiographd",
    "LoadStored",
    "LoadStoredd",
    "LoadVolume",
    "LoadVolumed",
    "LocalShuffle",
    "MiddleStoredCrop",
    "MiddleStoredCropd",
    "Painting",
    "QuarterTurns",
    "RandPerImage",
    "RandPerImaged",
    "RandStoredCropsd",
    "ResampleVolume",
    "ResampleVolumed",
    "ResizeRadiograph",
    "ResizeRadiographd",
    "StoredImage",
    "apply_tables",
    "bezier_tables",
    "blur",
    "box_masks",
    "cut_tiles",
    "distant_permutations",
    "draw_boxes",
    "draw_cell_starts",
    "draw_coefficients",
    "draw_crop_starts",
    "draw_grid_masks",
    "draw_partners",
    "draw_resized_crops",
    "half_overlapping_starts",
    "half_turns",
    "image_tensor",
    "jitter_intensity",
    "mix",
    "normalise_tiles",
    "resize_crops",
    "rotate",
    "route_pool",
    "shape_preserving_rotations",
    "shortest_routes",
    "to_unit_range",
    "value_range",
    "write_stored",
]
