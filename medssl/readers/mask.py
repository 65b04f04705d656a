"""Masks: files whose values are the numbers of classes, on the grid of an image."""

from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from PIL import Image

from medssl.errors import UnusableImageError

from .itk_formats import read_itk
from .nifti import read_nifti
from .pictures import several_frames
from .reading import Reading, decoding
from .suffixes import ITK_SUFFIXES, NIFTI_SUFFIXES, PICTURE_SUFFIXES

MASK_SUFFIXES = {2: PICTURE_SUFFIXES, 3: (*NIFTI_SUFFIXES, *ITK_SUFFIXES)}
WHOLE = 1e-3
"""So near to a whole number a value is one that a scale in the header has gone through."""
SAME_GRID = 0.25
"""Sides of a voxel by which those of a mask and of its image may lie apart, anywhere in the volume."""


def read_mask(path: Path, spatial_dims: int) -> Reading:
    """Read a mask.

    Args:
        path: of a picture (2), whose palette does not count, or of a volume (3) in any form but DICOM.
        spatial_dims: 2 or 3.

    Returns:
        Whole numbers, int32 [H, W] or [X, Y, Z], and of a volume the affine.

    Raises:
        UnusableImageError: it is damaged, coloured, no single image, or holds other values than whole numbers.
    """
    if spatial_dims == 2:
        reading = Reading(_picture(path))
    elif path.name.lower().endswith(NIFTI_SUFFIXES):
        reading = read_nifti(path, may_be_labels=True)
    else:
        reading = read_itk(path, may_be_labels=True)
    whole = np.rint(reading.values).astype(np.int32)
    off = np.abs(reading.values - whole) > WHOLE
    if off.any():
        value = reading.values[off].flat[0]
        sentence = f"{path} holds {value:g}, and the values of a mask are whole numbers: save it without smoothing."
        raise UnusableImageError("no whole numbers", sentence)
    return Reading(whole, reading.affine, reading.notes)


def on_grid(mask: Reading, image: Reading, name: str) -> np.ndarray:
    """The values of a mask along the axes of its image, which must have the same voxels in the same places.

    Args:
        mask: as `read_mask` gives it; its axes may run in another order and direction.
        image: as it was read, before anything is resampled.
        name: of the mask's file, for the sentence.

    Raises:
        UnusableImageError: ``other shape`` or ``other grid``.
    """
    values = mask.values
    if mask.affine is None or image.affine is None:
        if values.shape == image.values.shape:
            return values
    else:
        if _is_same(mask.affine, image.affine, values, image.values):
            return values
        turn = ornt_transform(io_orientation(mask.affine), io_orientation(image.affine))
        turned = np.ascontiguousarray(apply_orientation(values, turn))
        if _is_same(mask.affine @ inv_ornt_aff(turn, values.shape), image.affine, turned, image.values):
            return turned
        if values.shape == image.values.shape or turned.shape == image.values.shape:
            off = _distance(mask.affine, image.affine, values.shape)
            sentence = f"Voxels of {name} lie up to {off:.3g} mm away from its image's: bring it to the image's grid."
            raise UnusableImageError("other grid", sentence)
    own, its = (" × ".join(map(str, shape)) for shape in (values.shape, image.values.shape))
    kind = "pixels" if mask.affine is None else "voxels"
    raise UnusableImageError("other shape", f"{name} has {own} {kind} and its image {its}: draw it on those.")


def _is_same(affine: np.ndarray, other: np.ndarray, values: np.ndarray, image: np.ndarray) -> bool:
    least = np.linalg.norm(other[:3, :3], axis=0).min()
    return values.shape == image.shape and _distance(affine, other, values.shape) <= SAME_GRID * least


def _distance(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far apart two affines put a voxel at most, in mm; of linear maps that is at a corner."""
    corners = np.array(np.meshgrid(*((0, side - 1) for side in shape))).reshape(3, -1)
    return float(np.linalg.norm(nibabel.affines.apply_affine(affine - other, corners.T), axis=1).max())


def _picture(path: Path) -> np.ndarray:
    refusing = decoding(f"{path} cannot be read as a picture", "it is damaged; copy it again or save it as PNG")
    with refusing, Image.open(path) as picture:
        if getattr(picture, "n_frames", 1) > 1:
            raise several_frames(path, picture.n_frames)  # type: ignore[attr-defined]
        values = np.asarray(picture)  # of a palette its indices
    if values.ndim == 3:
        grey = values[..., 0]
        colours = values[..., : 3 if values.shape[2] > 2 else 1]
        is_opaque = values.shape[2] in (1, 3) or bool((values[..., -1] == values[..., -1].max()).all())
        if not is_opaque or not (colours == grey[..., None]).all():
            sentence = f"{path} is coloured, and a mask has a number a pixel: save it as grey, or with a palette."
            raise UnusableImageError("coloured mask", sentence)
        values = grey
    return values.astype(np.float32)
