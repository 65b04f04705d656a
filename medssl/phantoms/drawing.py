"""Soft shapes, smooth noise and splatted lines: the few strokes from which the phantoms are drawn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.floating]


def soft_step(distance: Array, softness: float) -> Array:
    """Rise from 0 to 1 where `distance` (any shape) crosses zero; `softness` is the width of the edge, same unit."""
    return 0.5 * (1 + np.tanh(distance / softness))


def soft_ellipse(
    x: Array,
    y: Array,
    centre: tuple[float, float],
    radii: tuple[float, float],
    angle: float = 0.0,
    softness: float = 0.02,
    power: float = 2.0,
) -> Array:
    """Ellipse (super-ellipse for `power` > 2) turned by `angle` radians: 1 inside, 0 outside, soft in between."""
    across, down = x - centre[0], y - centre[1]
    along = (np.cos(angle) * across + np.sin(angle) * down) / radii[0]
    beside = (np.cos(angle) * down - np.sin(angle) * across) / radii[1]
    radius = (np.abs(along) ** power + np.abs(beside) ** power) ** (1 / power)
    return soft_step((1 - radius) * min(radii), softness)


def ball_depth(x: Array, y: Array, centre: tuple[float, float], radius: float) -> Array:
    """Path length of a ray through a ball, relative to its diameter (0..1): how a nodule looks on a radiograph."""
    squared = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2
    return np.sqrt(np.clip(1 - squared, 0, None))


def smooth_noise(
    coordinates: Sequence[Array], scale: float, generator: np.random.Generator, extent: float, order: int = 1
) -> Array:
    """Gaussian noise of correlation length `scale` at the given coordinates, about zero mean and unit variance.

    The noise lives in the coordinates' own unit over -`extent`..`extent`, so one seed gives the same pattern at every
    resolution and pose.
    """
    cells = max(4, int(np.ceil(2 * extent / scale)) + 1)
    grid = generator.standard_normal((cells,) * len(coordinates)).astype(np.float32)
    positions = [(axis + extent) * ((cells - 1) / (2 * extent)) for axis in coordinates]
    values = ndimage.map_coordinates(grid, positions, order=order, mode="mirror", prefilter=order > 1)
    # Linear interpolation between independent values loses variance, by 2/3 along each axis on average.
    return values * (1.5 ** (len(coordinates) / 2) if order == 1 else 1.2)


def splat(rows: Array, columns: Array, weights: Array, size: int, sigma: float) -> Array:
    """Sum points at (row, column), in pixels, into a `[size, size]` image and blur it by `sigma` pixels."""
    inside = (rows > -0.5) & (rows < size - 0.5) & (columns > -0.5) & (columns < size - 0.5)
    index = np.rint(rows[inside]).astype(np.int64) * size + np.rint(columns[inside]).astype(np.int64)
    image = np.bincount(index, weights[inside], minlength=size * size).reshape(size, size).astype(np.float32)
    return ndimage.gaussian_filter(image, sigma, mode="constant")
