"""From a file to a tensor, and from a batch of images to a puzzle."""

from .accounted import Accounted
from .boxes import box_masks, draw_boxes
from .contrastive_view import ContrastiveView
from .genesis import BezierIntensity, LocalShuffle, Painting
from .image_tensor import image_tensor
from .intensity import apply_tables, bezier_tables, blur, jitter_intensity, to_unit_range, value_range
from .load_radiograph import LoadRadiograph, LoadRadiographd, ResizeRadiograph, ResizeRadiographd
from .load_volume import LoadVolume, LoadVolumed, ResampleVolume, ResampleVolumed
from .per_image import RandPerImage, RandPerImaged
from .resized_crop import draw_resized_crops, resize_crops
from .stored import (
    LoadStored,
    LoadStoredd,
    MiddleStoredCrop,
    MiddleStoredCropd,
    RandStoredCropsd,
    StoredImage,
    write_stored,
)
from .view import WINDOWS, View

__all__ = [
    "WINDOWS",
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
    "RandPerImage",
    "RandPerImaged",
    "RandStoredCropsd",
    "ResampleVolume",
    "ResampleVolumed",
    "ResizeRadiograph",
    "ResizeRadiographd",
    "StoredImage",
    "View",
    "apply_tables",
    "bezier_tables",
    "blur",
    "box_masks",
    "draw_boxes",
    "draw_resized_crops",
    "image_tensor",
    "jitter_intensity",
    "resize_crops",
    "to_unit_range",
    "value_range",
    "write_stored",
]
