"""Volumes from their files or DICOM slices to tensors [1, X, Y, Z] with their affine.

Why not MONAI's ``LoadImage`` on a DICOM folder: its PydicomReader orders slices by InstanceNumber, leaves out those
without one, and stacks tilted, uneven or mixed slices as if they were an even box. Orientation, spacing and window are
MONAI's afterwards, ``ResampleVolume`` for the first two with the checks that they lack, ``ScaleIntensityRanged``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Orientation, Spacing, Transform

from medssl.errors import UnusableImageError
from medssl.readers.volume import read_volume, volume_files

from .apply_to_keys import ApplyToKeys
from .image_tensor import image_tensor

LARGEST_VOLUME = 2**30
"""Voxels of a volume after resampling; more come from a wrong spacing."""
LARGEST_SKEW = 100.0
"""Condition number of a volume's unit axes; 1 when they are perpendicular, 57 at an angle of 2° between two."""


class LoadVolume(Transform):
    """Load a volume as a float32 MetaTensor [1, X, Y, Z] with its affine (voxel to RAS, mm).

    DICOM slices are stacked by position along their normal, with the rescale to HU applied; NIfTI files are read by
    nibabel, NRRD, MetaImage and others (see `medssl.readers.suffixes`) by SimpleITK. Axes follow the file, so use
    `ResampleVolume` next. Under ``notes`` the metadata says what was put right, such as a gantry tilt, and what was
    assumed, such as a unit.

    Raises:
        MissingFileError: there is no such file or folder.
        UnusableImageError: the file is damaged, not 3D or not finite; or the slices form no volume, or several, or some
            of them are damaged. The message names path and reason.
    """

    def __call__(self, path: str | Path | Sequence[str | Path]) -> MetaTensor:
        """Load the file or folder at ``path``, or the slices that it names."""
        return image_tensor(read_volume(path), volume_files(path)[0])


class LoadVolumed(ApplyToKeys):
    """Dictionary form of `LoadVolume`: the paths under ``keys`` become tensors [1, X, Y, Z]."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, LoadVolume(), allow_missing_keys)


class ResampleVolume(Transform):
    """Turn a volume [1, X, Y, Z] to the right, front and head, and bring it to a spacing.

    MONAI's ``Orientation("RAS")`` and ``Spacing(spacing, mode="bilinear")``, which need hours or all the memory for a
    voxel size that cannot be, and raise errors of torch for axes that span no space.

    Args:
        spacing: sides of a voxel along X, Y, Z in mm; -1 keeps the image's own.
        mode: ``bilinear``; ``nearest`` for masks.

    Raises:
        UnusableImageError: ``wrong affine``, ``too large`` or ``too small``; the sentence names the file where the
            metadata do (``filename_or_obj``).
    """

    def __init__(self, spacing: Sequence[float], mode: str = "bilinear") -> None:
        self.spacing = [float(side) for side in spacing]
        self._turn = Orientation("RAS", labels=None)
        self._resample = Spacing(self.spacing, mode=mode)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """Turn and resample one volume."""
        name = Path(str(image.meta.get("filename_or_obj", "the volume"))).name
        axes = image.affine.numpy()[:3, :3]
        sides = np.linalg.norm(axes, axis=0)
        if not sides.all() or np.linalg.cond(axes / sides) > LARGEST_SKEW:
            raise UnusableImageError(
                "wrong affine", f"The axes of {name} do not span a space: convert it again from the original."
            )
        turned = cast(MetaTensor, self._turn(image))
        own = np.linalg.norm(turned.affine.numpy()[:3, :3], axis=0)
        new = np.where(np.array(self.spacing) > 0, self.spacing, own)
        shape = np.array(turned.shape[1:]) * own / new
        if np.prod(shape) > LARGEST_VOLUME:
            raise UnusableImageError(
                "too large", f"{self._at(name, shape)}: correct the spacing in the file, or name a coarser one."
            )
        resampled = cast(MetaTensor, self._resample(turned))
        if min(resampled.shape[1:]) < 2:
            raise UnusableImageError(
                "too small",
                f"{self._at(name, resampled.shape[1:])}, and a volume needs several along each axis: correct the "
                "spacing in the file, or name a finer one.",
            )
        return resampled

    def _at(self, name: str, shape: Sequence[float] | np.ndarray) -> str:
        spacing, sides = _product(self.spacing), _product(np.round(shape))
        return f"At a spacing of {spacing} mm {name} has {sides} voxels"


def _product(sides: Sequence[float] | np.ndarray) -> str:
    return " × ".join(f"{side:.9g}" for side in sides)


class ResampleVolumed(ApplyToKeys):
    """Dictionary form of `ResampleVolume`."""

    def __init__(self, keys: KeysCollection, spacing: Sequence[float], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, ResampleVolume(spacing), allow_missing_keys)
