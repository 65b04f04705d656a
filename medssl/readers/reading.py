"""What a reader gives: the values of an image, where they lie, and what the user should know of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Reading:
    """One image as it was read from its file or files.

    Attributes:
        values: [H, W] of a radiograph, [X, Y, Z] of a volume; float32, finite, bright is high.
        affine: [4, 4] from a volume's voxels to RAS mm; None of a radiograph.
        notes: what was put right or assumed, one sentence or part of one each.
        modality: as DICOM has it (``CR``, ``DX``, ``CT``, ``MR``, ``US``, …); empty where the file states none.
    """

    values: np.ndarray
    affine: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    modality: str = ""
