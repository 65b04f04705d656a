"""From what a reader gives to MONAI's tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import SpaceKeys

from medssl.readers.reading import Reading


def image_tensor(reading: Reading, file: str | Path) -> MetaTensor:
    """An image as a MetaTensor [1, *spatial]; a volume with its affine (voxel to RAS, mm).

    The metadata say where it comes from (``filename_or_obj``) and what was put right (``notes``: joined to one string,
    so that items of a batch collate).
    """
    meta = {
        "filename_or_obj": str(file),
        "spatial_shape": np.array(reading.values.shape),
        "original_channel_dim": 0,
        "notes": "; ".join(reading.notes),
    }
    values = torch.from_numpy(reading.values)[None]
    if reading.affine is None:
        return MetaTensor(values, meta=meta)
    of_volume = {"original_affine": reading.affine, "space": SpaceKeys.RAS}
    return MetaTensor(values, affine=torch.from_numpy(reading.affine), meta=meta | of_volume)
