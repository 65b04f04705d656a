"""MONAI transforms: from a file to what a network sees, and augmentations. Nothing else is here.

What works on an item has an array form and a dictionary form (`…d`). What changes images at random works on a whole
batch, on its device (`BatchAugmentation`), and `RandPerImage` makes MONAI's two forms of it. The functions on batches
that they are made of are in ``boxes``, ``contrastive_view``, ``intensity``, ``mask_bits`` and ``shuffling``.

Random numbers follow one rule, here and in `medssl.pretext`. A transform of an item is MONAI's `Randomizable`, and
draws from its own `R`. What works on a batch draws from torch's global generator of the batch's device: no function
takes a generator. Where its numbers have to depend on a seed, the global generators are seeded around the call and put
back, as `RandPerImage` does.
"""

from .accounted import Accounted
from .batch_augmentation import BatchAugmentation, RandPerImage, RandPerImaged
from .clinical_augmentation import ClinicalAugmentation
from .contrastive_view import ContrastiveView
from .covering import CoveringBoxes, CoveringBoxesd, box_starts
from .crops_about import CropsAbout, CropsAboutd, PlacesInWorldd, crop_about, move_places
from .genesis import BezierIntensity, LocalShuffle, Painting, RandomFlips
from .image_tensor import image_tensor
from .load_radiograph import LoadRadiograph, LoadRadiographd, ResizeRadiograph, ResizeRadiographd
from .load_volume import LoadVolume, LoadVolumed, ResampleVolume, ResampleVolumed
from .mask_bits import bits_dtype, bits_torch_dtype, known_targets, pack_bits
from .original_grid import Grid, KeepGridd, grid_of, to_original
from .stored import (
    LoadStored,
    LoadStoredd,
    MiddleStoredCrop,
    MiddleStoredCropd,
    RandStoredCrops,
    RandStoredCropsd,
    ReorderBitsd,
    StoredBoxes,
    StoredBoxesd,
    StoredImage,
    write_stored,
    write_stored_mask,
)
from .view import WINDOWS, View

__all__ = [
    "WINDOWS",
    "Accounted",
    "BatchAugmentation",
    "BezierIntensity",
    "ClinicalAugmentation",
    "ContrastiveView",
    "CoveringBoxes",
    "CoveringBoxesd",
    "CropsAbout",
    "CropsAboutd",
    "Grid",
    "KeepGridd",
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
    "PlacesInWorldd",
    "RandPerImage",
    "RandPerImaged",
    "RandStoredCrops",
    "RandStoredCropsd",
    "RandomFlips",
    "ReorderBitsd",
    "ResampleVolume",
    "ResampleVolumed",
    "ResizeRadiograph",
    "ResizeRadiographd",
    "StoredBoxes",
    "StoredBoxesd",
    "StoredImage",
    "View",
    "bits_dtype",
    "bits_torch_dtype",
    "box_starts",
    "crop_about",
    "grid_of",
    "image_tensor",
    "known_targets",
    "move_places",
    "pack_bits",
    "to_original",
    "write_stored",
    "write_stored_mask",
]
