"""Whether a volume's shape, values and voxels can be right, whatever format they come from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medssl.errors import UnusableImageError

from .reading import Reading

SMALLEST_SIDE, LARGEST_SIDE = 0.01, 50.0  # mm; of a voxel of any scanner


def check_shape(path: Path, shape: Sequence[int], components: int = 1) -> None:
    """Refuse what is no single grey volume; axes of one voxel behind the third do not count.

    Raises:
        UnusableImageError: ``not a volume``.
    """
    if components > 1:
        sentence = f"{path} holds {components} values a voxel, as colours or vectors, and a volume is grey: convert it."
        raise UnusableImageError("not a volume", sentence)
    if len(shape) < 3 or any(side != 1 for side in shape[3:]) or 0 in shape:
        sentence = f"{path} has the shape {tuple(shape)}, and a volume has three axes: save one volume a file."
        raise UnusableImageError("not a volume", sentence)


def volume_reading(
    path: Path, values: np.ndarray, affine: np.ndarray, notes: Sequence[str] = (), modality: str = ""
) -> Reading:
    """A volume whose values and affine were looked at.

    Args:
        path: of its file.
        values: [X, Y, Z].
        affine: [4, 4] from voxels to RAS mm.
        notes: on what was put right; odd sizes of voxels are added.
        modality: see `Reading`.

    Raises:
        UnusableImageError: ``not finite``; or ``wrong affine``: one that maps to no space.
    """
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        sentence = f"{path} holds {count} voxels that are NaN or infinite: replace them (air is −1024 HU)."
        raise UnusableImageError("not finite", sentence)
    if not spans_space(affine):
        sentence = f"{path} has an affine that maps to no space: convert it again from the original."
        raise UnusableImageError("wrong affine", sentence)
    if not are_possible(sides := sides_of(affine)):
        notes = (*notes, f"voxels of {product(sides)} mm: too small or too large to be right")
    return Reading(np.ascontiguousarray(values, dtype=np.float32), affine, tuple(notes), modality)


def spans_space(affine: np.ndarray) -> bool:
    """Whether an affine [4, 4] is finite and can be inverted."""
    return bool(np.isfinite(affine).all() and np.linalg.det(affine[:3, :3]) != 0)


def sides_of(affine: np.ndarray) -> np.ndarray:
    """The sides of its voxels, [3]."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def are_possible(sides: np.ndarray) -> bool:
    """Whether voxels may have these sides in mm."""
    return bool(((sides >= SMALLEST_SIDE) & (sides <= LARGEST_SIDE)).all())


def product(sides: Sequence[float] | np.ndarray) -> str:
    """``0.7 × 0.7 × 5``."""
    return " × ".join(f"{side:.4g}" for side in sides)


def in_mm(affine: np.ndarray, unit: str, mm: float | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """An affine in mm, and what was done to it.

    Args:
        affine: [4, 4] in the file's unit.
        unit: its name; empty where the file states none.
        mm: how many mm it has; None of an unknown one.
    """
    if mm == 1:
        return affine, ()
    if mm is None:
        return affine, (f"unit of length {unit or 'not stated'}: mm assumed",)
    scaled = np.diag([mm, mm, mm, 1.0]) @ affine
    if are_possible(sides_of(affine)) and not are_possible(sides_of(scaled)):
        return affine, (f"voxels of {product(sides_of(affine))} {unit} cannot be: mm assumed",)
    return scaled, (f"voxels of {product(sides_of(affine))} {unit} converted to mm",)
