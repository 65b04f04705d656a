"""Procedural head CT volumes in Hounsfield units: a patient, a position in the gantry, bleedings and a scanner."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medssl.errors import UserError

from .drawing import Array, soft_step
from .head_anatomy import AIR, Head, HeadAnatomy, draw_head_anatomy
from .head_bleedings import HEAD_FINDINGS, Bleeding

HEAD_CLASSES = ("skull", "brain", "ventricles", "bleeding")
"""What `draw_head_masks` outlines: the bone of vault and base; what lies within but for the ventricles; these, with
blood in them; all bleedings."""


def draw_head(
    findings: Sequence[str],
    generator: np.random.Generator,
    size: tuple[int, int, int] = (64, 64, 32),
    spacing: tuple[float, float, float] = (3.5, 3.5, 5.0),
    anatomy: HeadAnatomy | None = None,
) -> NDArray[np.int16]:
    """Draw a head CT.

    Args:
        findings: bleedings from `HEAD_FINDINGS`, in any order; empty for none.
        generator: source of all randomness. The same state with other findings gives the same patient, position and
            scanner noise.
        size: voxels along x, y and z.
        spacing: voxel size in millimetres along x, y and z.
        anatomy: the patient; drawn from `generator` when None.

    Returns:
        int16 `[X, Y, Z]` in HU, RAS: the first axis grows to the patient's right, the second forwards, the third up.

    Raises:
        UserError: for an unknown finding.
    """
    return _draw(findings, generator, size, spacing, anatomy)[0]


def draw_head_masks(
    findings: Sequence[str],
    generator: np.random.Generator,
    size: tuple[int, int, int] = (64, 64, 32),
    spacing: tuple[float, float, float] = (3.5, 3.5, 5.0),
    anatomy: HeadAnatomy | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """The same head CT as `draw_head` draws, and where the classes `HEAD_CLASSES` are in it, `[4, X, Y, Z]`.

    A voxel is of a class that fills at least half of it. Classes overlap: blood may lie in brain and ventricles.
    """
    image, head = _draw(findings, generator, size, spacing, anatomy)
    shares = (head.skull, head.cavity - head.ventricles, head.ventricles, head.blood)
    return image, np.stack([share >= 0.5 for share in shares])


def _draw(
    findings: Sequence[str],
    generator: np.random.Generator,
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    anatomy: HeadAnatomy | None,
) -> tuple[NDArray[np.int16], Head]:
    unknown = set(findings) - set(HEAD_FINDINGS)
    if unknown:
        raise UserError(f"Unknown head findings {sorted(unknown)}; known are {', '.join(HEAD_FINDINGS)}.")
    patient = HeadAnatomy.random(generator)
    anatomy = patient if anatomy is None else anatomy
    pose, course, scanner = generator.spawn(3)
    x, y, z = _pose(size, spacing, pose)
    # Place and shape of a bleeding belong to the patient, so that it is found again in the next scan, grown or
    # shrunk a little.
    streams = np.random.default_rng([anatomy.seed, 1]).spawn(len(HEAD_FINDINGS))
    growth = course.uniform(0.85, 1.15, len(HEAD_FINDINGS)).tolist()
    plans = zip(HEAD_FINDINGS, streams, growth, strict=True)
    bleedings = [Bleeding.random(name, stream, factor) for name, stream, factor in plans if name in findings]
    shift = sum((bleeding.displacement(x, y, z) for bleeding in bleedings), np.zeros_like(x))
    # Edges are about half a voxel wide: the partial volume effect.
    head = draw_head_anatomy(x, y, z, 0.5 * float(np.prod(spacing)) ** (1 / 3), anatomy, shift)
    for bleeding in bleedings:
        bleeding.paint(head)
    return _scan(head.hounsfield, x, y, anatomy, spacing, scanner), head


def _pose(
    size: tuple[int, int, int], spacing: tuple[float, float, float], generator: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Head coordinates (mm) of every voxel: turned, tilted and shifted as patients lie."""
    angles = generator.normal(0, (8, 7, 9))  # pitch, roll, turn in degrees
    shift = generator.uniform((-14, -14, -8), (14, 14, 16))
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix().astype(np.float32)
    axes = [(np.arange(n) - (n - 1) / 2) * s - t for n, s, t in zip(size, spacing, shift, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    x, y, z = np.tensordot(turn, grid, axes=1)
    return x, y, z


def _scan(
    hounsfield: Array,
    x: Array,
    y: Array,
    anatomy: HeadAnatomy,
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
) -> NDArray[np.int16]:
    """What the scanner adds: the table, blur, streaks between the petrous bones, drift and noise."""
    has_table, gap = generator.uniform() < 0.7, generator.uniform(2, 14)
    ground = anatomy.radii[1] + anatomy.skull + anatomy.scalp + gap
    rest = np.exp(-(((y + ground - 0.004 * x**2) / 3) ** 2)) * (np.abs(x) < 85)
    image = np.maximum(hounsfield, AIR + has_table * 850 * rest)
    blur = generator.uniform(0.8, 1.6) / np.asarray(spacing)
    image = ndimage.gaussian_filter(image, blur)
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0.5, 0.5, 0.0)) * 2.0
    image += generator.uniform(1.0, 3.5) * noise + generator.normal(0, 2.0)
    cupping = generator.uniform(0, 5) * soft_step(np.hypot(x, y) - 50, 12)
    image += cupping * (image > 0)
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16)
