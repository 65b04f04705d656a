"""Small changes that keep what a radiograph or a volume shows: the augmentation of fine-tuning."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from medssl.errors import UserError

from .affine import rotations, sample, sample_nearest
from .batch_augmentation import BatchAugmentation
from .intensity import jitter_intensity, value_range


class _Drawn(NamedTuple):
    """What was drawn for a batch: places as `sample` takes them, and numbers of `jitter_intensity`."""

    matrices: Tensor
    shifts: Tensor
    brightness: Tensor
    contrast: Tensor
    contrast_first: Tensor


class ClinicalAugmentation(BatchAugmentation):
    """Turn, shift, zoom and mirror each image of a batch a little, and change its brightness and contrast.

    The ranges are called as in MONAI's ``RandAffine``, and mean what they mean there, but for the shift, which is a
    share of the sides, and the zoom, which is the same along all axes. Each number is drawn evenly from within ± its
    range. Changes of intensity are those of `jitter_intensity`, on the image's own range of values.

    Args:
        strength: all ranges are multiplied by it; 0 leaves the images as they are.
        rotate_range: largest angle in radians; of a volume about each axis.
        translate_range: largest shift as a share of each side.
        scale_range: largest zoom, 0.1 for 0.9 to 1.1.
        intensity_range: largest change of brightness and contrast, 0.15 for factors of 0.85 to 1.15.
        mirror_axes: spatial axes along which half of the images are mirrored; None for the body's left-right axis,
            which is 1 in a radiograph [rows, columns] and 0 in a volume in RAS order.
        spacing: sides of a voxel along each axis, so that a turn keeps angles; None, or one that is not above 0, for
            equal sides.

    Raises:
        UserError: for numbers that mean nothing.
    """

    def __init__(
        self,
        strength: float = 1.0,
        rotate_range: float = math.radians(10),
        translate_range: float = 0.06,
        scale_range: float = 0.1,
        intensity_range: float = 0.15,
        mirror_axes: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
    ) -> None:
        ranges = {
            "rotate_range": rotate_range,
            "translate_range": translate_range,
            "scale_range": scale_range,
            "intensity_range": intensity_range,
        }
        for name, value in {"strength": strength, **ranges}.items():
            if not 0 <= value < math.inf:
                raise UserError(f"{name} of an augmentation must be a number from 0, got {value}.")
        if strength * scale_range >= 1 or strength * intensity_range > 1:
            raise UserError(
                f"An augmentation of strength {strength} leaves nothing of an image: strength × scale_range must be "
                "below 1, strength × intensity_range 1 at most."
            )
        self.strength = strength
        self.rotate_range, self.translate_range = rotate_range, translate_range
        self.scale_range, self.intensity_range = scale_range, intensity_range
        self.mirror_axes = mirror_axes
        self.spacing = None if spacing is None or min(spacing) <= 0 else tuple(spacing)

    def __call__(self, images: Tensor) -> Tensor:
        """The images, changed, see `BatchAugmentation`."""
        return self._changed(images, self._draw(images)) if self.strength else images

    def with_masks(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """The images, changed as by a call, and their masks, moved as they are, by the nearest voxel.

        Args:
            images: `[B, C, *spatial]`.
            masks: `[B, 1, *spatial]` of any type, such as the bits of `pack_bits`.
        """
        if not self.strength:
            return images, masks
        drawn = self._draw(images)
        return self._changed(images, drawn), sample_nearest(masks, drawn.matrices, drawn.shifts)

    def _draw(self, images: Tensor) -> "_Drawn":
        batch, dims, device = len(images), images.ndim - 2, images.device
        mirror_axes = ((1,) if dims == 2 else (0,)) if self.mirror_axes is None else self.mirror_axes
        if not all(0 <= axis < dims for axis in mirror_axes) or len(self.spacing or images.shape[2:]) != dims:
            raise UserError(
                f"mirror_axes {mirror_axes} and spacing {self.spacing} must be of the images' {dims} spatial axes."
            )
        turns = 1 if dims == 2 else 3
        drawn = self.strength * (2 * torch.rand(batch, turns + dims + 3, device=device) - 1)
        coins = torch.rand(batch, dims + 1, device=device) < 0.5
        mirrored = coins[:, :dims] & torch.tensor([axis in mirror_axes for axis in range(dims)], device=device)
        matrices, shifts = self._places(
            self.rotate_range * drawn[:, :turns],
            self.translate_range * drawn[:, turns : turns + dims],
            1 + self.scale_range * drawn[:, -3],
            mirrored,
            images.shape[2:],
        )
        brightness, contrast = (1 + self.intensity_range * drawn[:, place] for place in (-2, -1))
        return _Drawn(matrices, shifts, brightness, contrast, coins[:, dims])

    def _changed(self, images: Tensor, drawn: "_Drawn") -> Tensor:
        low, span = value_range(images)
        changed = (sample(images, drawn.matrices, drawn.shifts) - low) / torch.where(span > 0, span, 1)
        return jitter_intensity(changed, drawn.brightness, drawn.contrast, drawn.contrast_first) * span + low

    def _places(
        self, angles: Tensor, shifts: Tensor, zooms: Tensor, mirrored: Tensor, size: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Where the voxels of the result lie in the image, as `sample` takes it.

        Args:
            angles: in radians, `[B, 1]` or `[B, 3]`.
            shifts: of what is seen, as shares of the sides, `[B, d]`.
            zooms: how much larger it becomes, `[B]`.
            mirrored: along which axes, `[B, d]`.
            size: of the images.
        """
        sides = torch.tensor([float(side) for side in size], device=angles.device)
        sides = sides * torch.tensor(self.spacing or [1.0] * len(size), device=angles.device)
        turned = rotations(angles) * sides / sides[:, None]  # as it is in the image's own proportions
        back = torch.where(mirrored, -1.0, 1.0) / zooms[:, None]
        return turned * back[:, None], -2 * shifts
