"""Volumes from their files or DICOM slices to tensors [1, X, Y, Z] with their affine.

Why not MONAI's ``LoadImage`` on a DICOM folder: its PydicomReader orders slices by InstanceNumber, leaves out those
without one, and stacks tilted, uneven or mixed slices as if they were an even box. Orientation, spacing and window are
MONAI's afterwards: ``Orientationd``, ``Spacingd``, ``ScaleIntensityRanged``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import SpaceKeys

from medssl.readers.volume import read_volume, volume_files

from .apply_to_keys import ApplyToKeys


class LoadVolume(Transform):
    """Load a volume as a float32 MetaTensor [1, X, Y, Z] with its affine (voxel to RAS, mm).

    A NIfTI file (.nii, .nii.gz) keeps its own axes; DICOM slices are stacked by position along their normal, with the
    rescale to HU applied. Axes follow the file, so use ``Orientationd`` next. Under ``notes`` the metadata says what
    was put right, such as a gantry tilt.

    Raises:
        MissingFileError: there is no such file or folder.
        UnusableImageError: the file is damaged, not 3D or not finite; or the slices form no volume, or several, or some
            of them are damaged. The message names path and reason.
    """

    def __call__(self, path: str | Path | Sequence[str | Path]) -> MetaTensor:
        """Load the file or folder at ``path``, or the slices that it names."""
        reading = read_volume(path)
        volume, affine, notes = reading.values, reading.affine, reading.notes
        meta = {
            "filename_or_obj": str(volume_files(path)[0]),
            "original_affine": affine,
            "spatial_shape": np.array(volume.shape),
            "space": SpaceKeys.RAS,
            "original_channel_dim": 0,
            "notes": "; ".join(notes),  # one string, so that items of a batch collate
        }
        return MetaTensor(torch.from_numpy(volume)[None], affine=torch.from_numpy(affine), meta=meta)


class LoadVolumed(ApplyToKeys):
    """Dictionary form of `LoadVolume`: the paths under ``keys`` become tensors [1, X, Y, Z]."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, LoadVolume(), allow_missing_keys)
