"""How the slices of one stack lie in space, and how crooked ones are put onto an even, straight grid.

Two faults can be put right: uneven distances with small gaps, between which is interpolated; and slices shifted evenly
within their planes (gantry tilt), which are resampled by SimpleITK. Nothing is extrapolated; what is worse is refused,
which SimpleITK's own reader would stack in silence.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK

from medssl.errors import UnusableImageError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
COSINE_TOLERANCE = 1e-3
SAME_PLACE = 0.01  # mm; closer slices lie in one place
SPACING_TOLERANCE = 0.05  # of a step; scanners round positions to 0.01 mm or so
LARGEST_GAP = 2.5  # median steps: one missing slice, or irregular ones
SHIFT_TOLERANCE = 0.5  # of a pixel, over the whole stack
LARGEST_TILT = 45.0  # degrees; gantries tilt by 30 at most, so more is no tilt
ROUNDING = 1e-3  # of a pixel, by which a box need not be larger


@dataclass(frozen=True, eq=False)
class Geometry:
    """What it takes to turn N slices into an even box of M, with slices, rows and columns as its axes.

    Attributes:
        order: [N] which slice comes first, second, … along the normal.
        places: [N] where the ordered slices lie along the normal, in mm.
        grid: [M] where those of the box lie.
        shear: [2] rows and columns by which each slice on the grid is moved further into the box than the one before.
        shape: rows and columns of the box.
        affine: [4, 4] from the box's voxel (column, row, slice) to RAS mm.
        notes: what is put right, in words.
    """

    order: np.ndarray
    places: np.ndarray
    grid: np.ndarray
    shear: np.ndarray
    shape: tuple[int, int]
    affine: np.ndarray
    notes: tuple[str, ...]


def places_along_normal(corners: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """Where slices [N] lie along their normal, in mm, from their corners [N, 3] and their direction cosines [6]."""
    return corners @ np.cross(cosines[:3], cosines[3:])


def arrange(corners: np.ndarray, cosines: np.ndarray, spacing: np.ndarray, shape: tuple[int, int]) -> Geometry:
    """Find the even, straight box for slices of one orientation.

    Args:
        corners: [N, 3] each slice's ImagePositionPatient.
        cosines: [6] their ImageOrientationPatient.
        spacing: [2] their PixelSpacing (rows, columns).
        shape: their rows and columns.

    Raises:
        UnusableImageError: a single slice, slices at the same place, a large gap, shifts that are no tilt, or rows and
            columns that are not perpendicular.
    """
    along_rows, down_columns = cosines[:3], cosines[3:]
    lengths = np.linalg.norm([along_rows, down_columns], axis=1)
    if np.abs([*(lengths - 1), along_rows @ down_columns]).max() > COSINE_TOLERANCE:
        raise UnusableImageError("skewed axes", "Its rows and columns are not perpendicular: convert it to NIfTI.")
    if len(corners) < 2:
        raise UnusableImageError("single slice", "It is the only slice of its kind, and a volume needs several.")
    places = places_along_normal(corners, cosines)
    order = np.argsort(places, kind="stable")
    places, corners = places[order], corners[order]
    grid, notes = _even_grid(places)
    shifts = (corners - corners[0]) @ np.stack([down_columns, along_rows], axis=1) / spacing
    slope, tilt_notes = _tilt(places, shifts, spacing)
    shear = slope * (grid[-1] - grid[0]) / (len(grid) - 1)
    first_offset, most_offset = _first_offset(shear, len(grid)), np.abs(shear) * (len(grid) - 1)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_rows * spacing[1], down_columns * spacing[0]
    affine[:3, 2] = np.cross(along_rows, down_columns) * (grid[-1] - grid[0]) / (len(grid) - 1)
    affine[:3, 3] = corners[0] + affine[:3, :2] @ -first_offset[::-1]
    rows, columns = np.ceil(most_offset - ROUNDING).astype(int) + shape
    return Geometry(order, places, grid, shear, (int(rows), int(columns)), LPS_TO_RAS @ affine, tilt_notes + notes)


def put_right(slices: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Slices [N, rows, columns], ordered as ``geometry`` says → the even, straight box [M, rows, columns].

    Both ways linear; what no slice covers gets the lowest value of all.
    """
    even = _on_grid(slices, geometry)
    return _straightened(even, geometry) if geometry.shear.any() else even


def _on_grid(slices: np.ndarray, geometry: Geometry) -> np.ndarray:
    if np.array_equal(geometry.grid, geometry.places):
        return slices
    below = np.clip(np.searchsorted(geometry.places, geometry.grid, side="right") - 1, 0, len(slices) - 2)
    steps = np.diff(geometry.places)[below]
    parts = (geometry.grid - geometry.places[below]) / steps
    # A slice that lies as good as on the grid stays as it is, unblurred.
    tolerance = SPACING_TOLERANCE * (geometry.grid[1] - geometry.grid[0]) / steps
    parts = np.where(np.abs(parts - parts.round()) <= tolerance, parts.round(), parts)[:, None, None]
    box = slices[below + 1] - slices[below]
    box *= parts.astype(np.float32)
    box += slices[below]
    return box


def _straightened(slices: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Sheared slices [M, rows, columns] in the straight box: one resampling of an image whose third axis leans.

    In pixels and slices, so that SimpleITK's world is the box.
    """
    (down, right), count = geometry.shear, len(slices)
    length = float(np.hypot(np.hypot(down, right), 1))
    first_down, first_right = _first_offset(geometry.shear, count)
    leaning = SimpleITK.GetImageFromArray(slices)
    leaning.SetOrigin((first_right, first_down, 0))
    leaning.SetSpacing((1, 1, length))
    leaning.SetDirection((1, 0, right / length, 0, 1, down / length, 0, 0, 1 / length))
    resample = SimpleITK.ResampleImageFilter()
    resample.SetSize((geometry.shape[1], geometry.shape[0], count))
    resample.SetDefaultPixelValue(float(slices.min()))
    return SimpleITK.GetArrayFromImage(resample.Execute(leaning))


def _first_offset(shear: np.ndarray, count: int) -> np.ndarray:
    """Rows and columns [2] by which the first of so many slices is moved into the box, so that none goes below zero."""
    return np.maximum(-shear * (count - 1), 0)


def is_even(places: np.ndarray) -> bool:
    """Whether sorted places keep to an even grid as well as scanners do."""
    even, step = np.linspace(places[0], places[-1], len(places), retstep=True)
    return len(places) < 3 or bool(np.abs(places - even).max() <= SPACING_TOLERANCE * step)


def _even_grid(places: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    steps = np.diff(places)
    if steps.min() < SAME_PLACE:
        detail = "Slices with different pixels lie at the same place, and no tag tells the volumes apart."
        raise UnusableImageError("slices that overlap", detail)
    if is_even(places):
        return places, ()
    median = float(np.median(steps))
    if steps.max() > LARGEST_GAP * median:
        detail = f"It has a gap of {steps.max():.1f} mm where slices are {median:.2f} mm apart: complete the series."
        raise UnusableImageError("uneven slices", detail)
    extent = places[-1] - places[0]
    grid = np.linspace(places[0], places[-1], round(extent / median) + 1)
    multiples = steps / median
    gaps = np.flatnonzero(multiples.round() > 1)
    if np.abs(multiples - multiples.round()).max() > 2 * SPACING_TOLERANCE or len(gaps) > max(2, len(places) / 10):
        note = f"slices {steps.min():.2f} to {steps.max():.2f} mm apart resampled to {grid[1] - grid[0]:.2f} mm"
        return grid, (note,)
    where = ", ".join(str(gap + 1) for gap in gaps)
    note = f"{len(gaps)} missing {'slice' if len(gaps) == 1 else 'slices'} interpolated"
    return grid, (f"{note} (after number {where} of {len(places)})",)


def _tilt(places: np.ndarray, shifts: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels a mm [2] by which slices [N] are to be moved, against the shifts [N, 2] that they have, and the note."""
    shifted = np.ptp(shifts, axis=0) > SHIFT_TOLERANCE
    if not shifted.any():
        return np.zeros(2), ()
    moves = np.where(shifted, shifts, 0.0)
    slope, start = np.polyfit(places - places[0], moves, 1)
    residual = np.abs(moves - np.outer(places - places[0], slope) - start).max()
    angle = np.degrees(np.arctan(np.linalg.norm(slope * spacing)))
    if residual > SHIFT_TOLERANCE or angle > LARGEST_TILT:
        most = np.linalg.norm(np.ptp(shifts, axis=0) * spacing)
        detail = (
            f"Its slices are shifted against each other by up to {most:.1f} mm, and not evenly as by a gantry tilt."
        )
        raise UnusableImageError("shifted slices", detail)
    return slope, (f"gantry tilt of {angle:.1f}° straightened",)
