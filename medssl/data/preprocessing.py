"""From a prepared image to what a network sees of it when nothing is random, as the bundles' configs have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monai.transforms import Compose


def stored_preprocessing(image_size: Sequence[int], window: Sequence[float] | None = None) -> Compose:
    """The transform of an item of the datalist whose ``image`` becomes a tensor [1, *image_size].

    Args:
        image_size: of the whole radiograph, or of the box about the middle of a volume.
        window: HU of a volume that become -1 and 1; None for radiographs, which get mean 0 and standard deviation 1.
    """
    # Not above, for the command line must answer before MONAI is imported.
    from monai.transforms import Compose, EnsureTyped, NormalizeIntensityd, ScaleIntensityRanged

    from medssl.transforms import LoadStoredd, MiddleStoredCropd

    plain = EnsureTyped("image", track_meta=False)
    if window is None:
        return Compose([LoadStoredd("image", image_size), NormalizeIntensityd("image"), plain])
    low, high = window
    crop = MiddleStoredCropd("image", image_size, fill=low)
    return Compose([crop, ScaleIntensityRanged("image", low, high, -1.0, 1.0, clip=True), plain])
