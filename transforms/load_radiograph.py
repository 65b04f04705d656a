"""Radiographs from their files to grey tensors [1, H, W], and to the training size.

Why not MONAI's ``LoadImage``: its PydicomReader neither inverts MONOCHROME1 (white and black stay swapped), nor applies
the display window, nor turns colour to grey; its PILReader transposes rows and columns by default and leaves palette
indices and colour channels as they are; and every instance registers all of MONAI's readers, which warns about
nvImageCodec. After loading, MONAI's transforms serve: ``NormalizeIntensityd`` is Eq. 7 of Dong et al. 2024 (per image
(x − mean) / std), finite for a constant image as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Transform

from medssl.readers.radiograph import read_radiograph

from .apply_to_keys import ApplyToKeys
from .image_tensor import image_tensor


class LoadRadiograph(Transform):
    """Load one radiograph as a grey float32 MetaTensor [1, H, W]; rows stay rows.

    Values are those of the file, with bright as high: an 8-bit PNG gives 0..255, a DICOM its values after the modality
    LUT or rescale and, with ``voi_lut``, its first VOI LUT or window that shows something. MONOCHROME1 is inverted
    within the image's own range; padding and what cannot be seen are black. Scale them afterwards, as a rule with
    MONAI's ``NormalizeIntensityd``.

    Args:
        voi_lut: apply a DICOM's VOI LUT or window. On by default: it is what the radiologist saw and what the public
            PNG sets hold, and it keeps markers and collimator edges from ruling the image's mean and spread. Turn it
            off for detectors whose windows are wrong.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file is empty, truncated, no image, or holds several frames; the message names it.
    """

    def __init__(self, voi_lut: bool = True) -> None:
        self.voi_lut = voi_lut

    def __call__(self, path: str | Path) -> MetaTensor:
        """Load the file at ``path``."""
        return image_tensor(read_radiograph(path, self.voi_lut), path)


class LoadRadiographd(ApplyToKeys):
    """Dictionary form of `LoadRadiograph`: the paths under ``keys`` become tensors [1, H, W]."""

    def __init__(self, keys: KeysCollection, voi_lut: bool = True, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, LoadRadiograph(voi_lut), allow_missing_keys)


class ResizeRadiograph(Transform):
    """Resize [C, H, W] to ``size`` (rows, columns), bilinear with antialiasing.

    Why not MONAI's ``Resize(anti_aliasing=True)``: it takes 67 ms for 1024×1024 → 224×224 and 610 ms for 3000×2500 on
    one core, since it blurs the full image in three dimensions; this takes 1.0 ms and 6.6 ms. It blurs with a triangle
    as wide as the reduction, MONAI with a Gaussian, so values differ a little at edges.

    Args:
        size: rows and columns, or one side for both.
        nearest: take the nearest pixel, for masks.
    """

    def __init__(self, size: int | Sequence[int], nearest: bool = False) -> None:
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        # PyTorch's "nearest" is off by half a pixel, and kept for old models only.
        self._mode = {"mode": "nearest-exact"} if nearest else {"mode": "bilinear", "antialias": True}

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Resize one image; a MetaTensor keeps its metadata."""
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        resized = torch.nn.functional.interpolate(plain[None], self.size, **self._mode)[0]
        return MetaTensor(resized, meta=image.meta) if isinstance(image, MetaTensor) else resized


class ResizeRadiographd(ApplyToKeys):
    """Dictionary form of `ResizeRadiograph`."""

    def __init__(self, keys: KeysCollection, size: int | Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, ResizeRadiograph(size), allow_missing_keys)
