"""Procedural frontal chest radiographs: a patient, a pose, findings, an exposure and what else lies on the film."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medssl.errors import UserError

from .chest_anatomy import Chest, ChestAnatomy, draw_chest
from .chest_findings import CHEST_FINDINGS, paint, reshape
from .drawing import Array, soft_ellipse, soft_step
from .scanner import Scanner


def draw_radiograph(
    findings: Sequence[str],
    generator: np.random.Generator,
    size: int = 256,
    anatomy: ChestAnatomy | None = None,
    scanner: Scanner | None = None,
) -> Array:
    """Draw a frontal chest radiograph.

    Args:
        findings: names from `CHEST_FINDINGS`, in any order; empty for a normal chest.
        generator: source of all randomness. The same state with other findings gives the same patient, pose and
            exposure, so that two pictures differ by the finding alone.
        size: rows and columns.
        anatomy: the patient; drawn from `generator` when None.
        scanner: how the image is taken; any way when None.

    Returns:
        float32 `[size, size]` in 0..1, bright is dense (MONOCHROME2), head up, the patient's left at the image's right.

    Raises:
        UserError: for an unknown finding.
    """
    unknown = set(findings) - set(CHEST_FINDINGS)
    if unknown:
        raise UserError(f"Unknown chest findings {sorted(unknown)}; known are {', '.join(CHEST_FINDINGS)}.")
    patient = ChestAnatomy.random(generator)
    anatomy = patient if anatomy is None else anatomy
    scanner = scanner or Scanner()
    pose, course, things, exposure = generator.spawn(4)
    # The place and shape of a lesion belong to the patient, so that it is found again at the next visit, a little
    # stronger or weaker.
    lesions = np.random.default_rng([anatomy.seed, 1]).spawn(len(CHEST_FINDINGS) + 1)
    chest = draw_chest(*_pose(size, pose, scanner), reshape(anatomy, findings, lesions[-1]))
    strengths = course.uniform(0.8, 1.0, len(CHEST_FINDINGS)).tolist()
    for name, lesion, strength in zip(CHEST_FINDINGS, lesions[:-1], strengths, strict=True):
        if name in findings:
            paint(chest, name, lesion, strength)
    path = chest.tissue + chest.vessels * (1 - chest.fill) + chest.extra - chest.air * (1 - chest.fill)
    return _expose(path + _foreign_objects(chest, things), exposure, scanner)


def _pose(size: int, generator: np.random.Generator, scanner: Scanner) -> tuple[Array, Array, np.ndarray]:
    """Patient coordinates of every pixel, and the map back: a turn, a shift, a scale and a slight stretch."""
    angle, zoom, stretch = generator.normal(0, 0.06), generator.uniform(*scanner.zoom), generator.uniform(0.92, 1.08)
    shift = generator.uniform((-0.14, -0.16), (0.14, 0.16))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = zoom * np.diag([1.0, stretch])
    half = size / 2
    to_pixels = np.concatenate([half * turn @ scale, half * (1 + shift[:, None])], axis=1) - [[0, 0, 0.5]]
    inverse = np.linalg.inv(to_pixels[:, :2])
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    x, y = np.tensordot(inverse, np.stack([columns - to_pixels[0, 2], rows - to_pixels[1, 2]]), axes=1)
    return x.astype(np.float32), y.astype(np.float32), to_pixels


def _foreign_objects(chest: Chest, generator: np.random.Generator) -> Array:
    """Lines, electrodes and a pacemaker: drawn at random, whatever the findings."""
    extra = np.zeros_like(chest.x)
    draws, steps = generator.uniform(size=4), np.linspace(0, 1, 200)
    if draws[0] < 0.15:  # a central line or tube from above
        end = generator.uniform((-0.12, -0.2), (0.05, 0.3))
        start = generator.uniform((-0.35, -1.0), (0.2, -0.9))
        bend = generator.normal(0, 0.15) * np.sin(np.pi * steps)
        x, y = start[0] + (end[0] - start[0]) * steps**1.5 + bend, start[1] + (end[1] - start[1]) * steps
        extra += chest.polyline(x, y, np.full(200, 0.0035 * (end[1] - start[1]) / 200 * 2), 0.006)
    if draws[1] < 0.06:  # a pacemaker with its lead
        side = generator.choice((-1, 1))
        box = (side * generator.uniform(0.4, 0.55), generator.uniform(-0.5, -0.35))
        extra += 0.7 * soft_ellipse(chest.x, chest.y, box, (0.09, 0.07), generator.uniform(0, 3), 0.008, 3.0)
        x, y = box[0] * (1 - steps) + 0.15 * steps, box[1] + 0.8 * steps**2 - 0.2 * np.sin(np.pi * steps)
        extra += chest.polyline(x, y, np.full(200, 0.00006), 0.006)
    if draws[2] < 0.20:  # electrodes
        for _ in range(int(generator.integers(1, 5))):
            centre = (generator.uniform(-0.7, 0.7), generator.uniform(-0.7, 0.5))
            extra += 0.25 * soft_ellipse(chest.x, chest.y, centre, (0.022, 0.022), 0, 0.006)
    return extra


def _expose(path: Array, generator: np.random.Generator, scanner: Scanner) -> Array:
    """From path lengths to stored values: scatter, noise, sharpening, window, tone curve, collimation, side marker."""
    size = path.shape[0]
    scatter, blur = generator.uniform(*scanner.scatter), generator.uniform(*scanner.blur) * size
    path = (1 - scatter) * ndimage.gaussian_filter(path, blur) + scatter * ndimage.gaussian_filter(path, 0.08 * size)
    # Quantum noise grows where less light arrives, that is behind dense tissue; finer pixels hold fewer quanta.
    noise = generator.standard_normal(path.shape, dtype=np.float32) * np.exp(0.5 * path)
    path = path + generator.uniform(*scanner.noise) * (size / 128) ** 0.5 * noise
    (processing,) = generator.spawn(1)
    path = path + processing.uniform(*scanner.sharpening) * (path - ndimage.gaussian_filter(path, 0.02 * size))
    centre = path[size // 8 : -(size // 8), size // 8 : -(size // 8)]
    low, high = np.percentile(centre, (2, 99)) + generator.normal(0, 0.06, 2) * (1, 1)
    value = np.clip((path - low) / (high - low) * 0.9 + 0.05, 0, 1)
    value = value ** generator.uniform(*scanner.gamma)
    contrast, base = generator.uniform(*scanner.contrast), generator.uniform(*scanner.base)
    return _frame(base + contrast * value * (1 - base), generator, scanner).astype(np.float32)


def _frame(value: Array, generator: np.random.Generator, scanner: Scanner) -> Array:
    """Collimation borders and the side marker."""
    size = value.shape[0]
    rows, columns = np.mgrid[:size, :size] / np.float32(size)
    margins = generator.uniform(*scanner.margins, 4) * (generator.uniform(size=4) < scanner.collimated)
    edges = np.minimum.reduce(
        [rows - margins[0], 1 - margins[1] - rows, columns - margins[2], 1 - margins[3] - columns]
    )
    value = value * np.where(margins.any(), soft_step(edges, 0.006), 1)
    present, left = generator.uniform() < scanner.marked, generator.uniform() < 0.5
    # The letter stands beside the patient's own side, as in the clinic: R at the image's left.
    row, column = generator.uniform(*scanner.marker_row), generator.uniform(0.05, 0.12)
    column = 1 - column if left else column
    down, across = (rows - row) / 0.035, (columns - column) / 0.025
    stem = (np.abs(across + 0.7) < 0.3) & (np.abs(down) < 1)
    foot = (np.abs(down - 0.8) < 0.25) & (np.abs(across) < 1)
    loop = (np.abs(np.hypot(across, 1.6 * (down + 0.4)) - 0.75) < 0.3) | (
        (np.abs(across - down * 0.8) < 0.3) & (np.abs(down - 0.5) < 0.5)
    )
    letter = stem | (foot if left else loop)
    return np.clip(np.where(letter & present, 0.97, value), 0, 1)
