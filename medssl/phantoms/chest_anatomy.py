"""The normal chest of one patient, seen from the front: outline, lungs, heart, vessels and bones as path lengths.

Coordinates are the patient's: x grows towards the patient's left (right in the image), y towards the feet, and about
-1..1 spans the field of view. Densities are path lengths in tissue; they add up, as in a logarithmic detector.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from .drawing import Array, smooth_noise, soft_ellipse, soft_step, splat

RIGHT, LEFT = -1, 1  # the patient's sides, as the sign of x


def _between(low: float, high: float) -> Any:
    """A property of a patient that is drawn evenly from a range."""
    return field(metadata={"range": (low, high)})


@dataclass(frozen=True, kw_only=True)
class ChestAnatomy:
    """Everything that stays the same between two visits of a patient; lengths in half fields of view."""

    half_width: float = _between(0.64, 0.82)
    apex: float = _between(-0.78, -0.62)
    dome: float = _between(0.28, 0.60)
    dome_step: float = _between(0.0, 0.10)
    dome_bow: float = _between(0.12, 0.26)
    outer_tissue: float = _between(0.04, 0.24)
    cardiothoracic_ratio: float = _between(0.38, 0.49)
    heart_tilt: float = _between(0.2, 0.7)
    heart_height: float = _between(0.70, 0.95)
    heart_offset: float = _between(0.24, 0.36)
    mediastinum: float = _between(0.09, 0.16)
    aortic_knob: float = _between(0.05, 0.10)
    rib_spacing: float = _between(0.14, 0.185)
    rib_phase: float = _between(0.0, 1.0)
    rib_bow: float = _between(0.35, 0.75)
    rib_slope: float = _between(0.25, 0.6)
    rib_density: float = _between(0.06, 0.14)
    spine_bend: float = _between(-0.05, 0.05)
    breast: float
    lung_air: float = _between(0.55, 0.75)
    vessels: float = _between(0.7, 1.3)
    seed: int

    @classmethod
    def random(cls, generator: np.random.Generator) -> "ChestAnatomy":
        """Draw a patient; every draw of `generator` is used whatever the values, so the stream stays in step."""
        breast = generator.uniform(0.1, 0.3) * (generator.uniform() < 0.4)
        drawn = {each.name: generator.uniform(*each.metadata["range"]) for each in fields(cls) if each.metadata}
        return cls(**drawn, breast=breast, seed=int(generator.integers(2**62)))

    def lung_edges(self, height: Array | float) -> tuple[Array, Array]:
        """Distance of a lung's medial and lateral edge from the midline at `height` (0 at the apex, 1 at the base)."""
        rise = np.clip(height / 0.72, 0, 1)
        lateral = 0.24 + (self.half_width - 0.24) * (1 - (1 - rise) ** 2.4) ** 0.75
        medial = self.mediastinum * 0.8 + (0.24 - self.mediastinum * 0.8) * np.clip(1 - height / 0.22, 0, 1) ** 2
        return medial, lateral


@dataclass
class Lung:
    """One lung in the image: soft mask, signed distances to its edges and the fraction of its length from the apex."""

    mask: Array
    lateral: Array
    medial: Array
    diaphragm: Array
    height: Array


@dataclass
class Chest:
    """A drawn chest: coordinates, lungs, air (path length missing because of the lungs) and tissue (path length).

    Findings add to `fill` (share of the air replaced by fluid or tissue, 0..1; below 0 for more air) and to `extra`
    (path length on top of it).
    """

    x: Array
    y: Array
    pixel: float
    anatomy: ChestAnatomy
    lungs: dict[int, Lung]
    to_pixels: np.ndarray
    air: Array
    tissue: Array
    vessels: Array
    fill: Array
    extra: Array

    def opacify(self, amount: Array) -> None:
        """Replace a share (0..1) of what air is left."""
        self.fill = 1 - (1 - self.fill) * (1 - amount)

    def position(self, side: int, height: float, breadth: float) -> tuple[float, float]:
        """(x, y) in a lung at `height` (0 apex..1 dome) and `breadth` (0 medial..1 lateral edge)."""
        dome = self.anatomy.dome + (self.anatomy.dome_step if side == LEFT else 0)
        y = self.anatomy.apex + height * (dome - self.anatomy.apex)
        medial, lateral = self.anatomy.lung_edges(height)
        return side * float(medial + breadth * (lateral - medial)), y

    def polyline(self, x: Array, y: Array, weights: Array, width: float) -> Array:
        """Path length of thin lines through the points (patient coordinates), `width` wide."""
        columns = self.to_pixels[0, 0] * x + self.to_pixels[0, 1] * y + self.to_pixels[0, 2]
        rows = self.to_pixels[1, 0] * x + self.to_pixels[1, 1] * y + self.to_pixels[1, 2]
        return splat(rows, columns, weights / self.pixel**2, self.x.shape[0], max(0.6, width / self.pixel))


def draw_chest(x: Array, y: Array, to_pixels: np.ndarray, anatomy: ChestAnatomy) -> Chest:
    """Draw the normal chest at `x`, `y` ([size, size]); `to_pixels` [2, 3] maps (x, y, 1) to (column, row)."""
    generator = np.random.default_rng(anatomy.seed)
    pixel = 1 / float(np.hypot(*to_pixels[:, 0]))
    spine = anatomy.spine_bend * np.sin(2.5 * y)
    lungs = {side: _lung(side * (x - 0.5 * spine), y, side, anatomy) for side in (RIGHT, LEFT)}
    air = sum(
        lung.mask * (0.35 + 0.65 * np.sqrt(np.clip(np.minimum(lung.lateral, lung.medial + 0.05) / 0.25, 0, 1)))
        for lung in lungs.values()
    )
    chest = Chest(x, y, pixel, anatomy, lungs, to_pixels, anatomy.lung_air * air, *np.zeros((4, *x.shape), x.dtype))
    heart = _heart(x - spine, y, anatomy)
    mediastinum = _mediastinum(x - spine, y, anatomy)
    chest.air = chest.air * (1 - 0.75 * np.maximum(heart, mediastinum))
    chest.vessels = _vessels(chest, generator) * (chest.air / anatomy.lung_air) ** 0.5
    chest.tissue = _body(x, y, anatomy, generator) + 0.12 * heart + 0.10 * mediastinum
    chest.tissue += _ribs(x, y, anatomy, lungs) + _spine(x - spine, y, anatomy) + _shoulders(x, y, anatomy, generator)
    chest.tissue -= _stomach(x, y, anatomy, generator)
    return chest


def _lung(outward: Array, y: Array, side: int, anatomy: ChestAnatomy) -> Lung:
    dome = anatomy.dome + (anatomy.dome_step if side == LEFT else 0)
    height = (y - anatomy.apex) / (dome - anatomy.apex)
    medial, lateral = anatomy.lung_edges(np.clip(height, 0, None))
    crest = 0.5 * anatomy.half_width
    diaphragm = dome + anatomy.dome_bow * np.abs((outward - crest) / (anatomy.half_width - crest)) ** 2.2 - y
    mask = soft_step(lateral - outward, 0.015) * soft_step(outward - medial, 0.02)
    mask *= soft_step(diaphragm, 0.015) * soft_step(y - anatomy.apex, 0.015)
    return Lung(mask, lateral - outward, outward - medial, diaphragm, height)


def _heart(x: Array, y: Array, anatomy: ChestAnatomy) -> Array:
    width = anatomy.cardiothoracic_ratio * anatomy.half_width
    offset = anatomy.heart_offset * width
    low = anatomy.dome + anatomy.dome_step
    height = anatomy.heart_height * (0.58 * width + 0.16)
    ventricle = soft_ellipse(x, y, (offset, low - 0.42 * height), (width, height), anatomy.heart_tilt, 0.025)
    atrium = soft_ellipse(x, y, (0.2 * offset - 0.25 * width, low - 0.5 * height), (0.55 * width, 0.85 * height))
    # The outflow tract makes the left border a slope instead of a ball.
    outflow = soft_ellipse(x, y, (0.35 * offset, low - 1.05 * height), (0.62 * width, 0.9 * height), 0.5, 0.025)
    return np.maximum.reduce([ventricle, atrium, outflow])


def _mediastinum(x: Array, y: Array, anatomy: ChestAnatomy) -> Array:
    spread = anatomy.mediastinum * (1 + 0.6 * np.clip((y + 0.1) / 0.5, 0, 1))
    band = soft_step(spread - np.abs(x - 0.01), 0.025)
    knob = soft_ellipse(x, y, (0.65 * anatomy.mediastinum, 0.45 * anatomy.apex), (1.2 * anatomy.aortic_knob,) * 2)
    trachea = soft_step(0.032 - np.abs(x), 0.012) * soft_step(0.35 * anatomy.apex - y, 0.04)
    return np.clip(np.maximum(band, knob) - 0.35 * trachea, 0, 1)


def _body(x: Array, y: Array, anatomy: ChestAnatomy, generator: np.random.Generator) -> Array:
    chest_edge = anatomy.half_width + 0.03 + anatomy.outer_tissue
    slope = np.clip((y - anatomy.apex + 0.30) / 0.48, 0, 1)
    neck = 0.16 + 0.3 * anatomy.outer_tissue
    shoulder = neck + (1.10 + anatomy.outer_tissue - neck) * np.sin(np.pi / 2 * slope) ** 1.8
    arm_gap = soft_step(np.abs(x) - chest_edge, 0.02) * soft_step(y - anatomy.apex - 0.75 + anatomy.outer_tissue, 0.06)
    outline = soft_step(shoulder - np.abs(x), 0.03) * (1 - arm_gap)
    depth = np.sqrt(np.clip(1 - (x / (1.25 * chest_edge)) ** 2, 0.06, 1))
    folds = 1 + 0.03 * smooth_noise((x, y), 0.4, generator, 2.0)
    breasts = sum(
        soft_ellipse(x, y, (s * 0.55 * anatomy.half_width, 0.25 + 0.3 * anatomy.breast), (0.3, 0.26), softness=0.05)
        for s in (RIGHT, LEFT)
    )
    abdomen = 0.10 * soft_step(y - anatomy.dome, 0.1)
    return outline * (0.95 * depth * folds + anatomy.breast * 0.6 * breasts + abdomen)


def _ribs(x: Array, y: Array, anatomy: ChestAnatomy, lungs: dict[int, Lung]) -> Array:
    out = np.abs(x)
    cage = np.minimum(lungs[RIGHT].lateral, lungs[LEFT].lateral) + 0.03
    wall = soft_step(cage, 0.012) * soft_step(y - anatomy.apex + 0.06, 0.03)
    warped = y + 0.10 * y**2
    bow = anatomy.rib_bow * (1.15 - 0.5 * y)
    posterior = (warped - bow * out**2 + 0.16 * out) / anatomy.rib_spacing + anatomy.rib_phase
    reach = np.clip(anatomy.half_width - out, 0, None)
    anterior = (warped - anatomy.rib_slope * (reach + 1.2 * reach**2)) / anatomy.rib_spacing + anatomy.rib_phase + 0.4
    behind = _rib_profile(posterior, 0.22) * soft_step(out - 0.07, 0.03)
    front = _rib_profile(anterior, 0.30) * soft_step(reach / anatomy.half_width - 0.02, 0.02)
    front *= soft_step(out - 0.42 * anatomy.half_width, 0.05) * soft_step(y - anatomy.apex - 0.2, 0.08)
    # Towards the lateral wall the rays run along the ribs, which makes them whiter there.
    edge = 1 + 0.8 * np.exp(-np.clip(cage, 0, None) / 0.06)
    return anatomy.rib_density * wall * (behind * edge + 0.45 * front) * soft_step(anatomy.dome + 0.2 - y, 0.1)


def _rib_profile(phase: Array, half_width: float) -> Array:
    offset = np.abs(phase - np.rint(phase))
    body = soft_step(half_width - offset, 0.06)
    cortex = np.exp(-(((offset - half_width + 0.05) / 0.06) ** 2))
    return 0.75 * body + 0.45 * cortex


def _spine(x: Array, y: Array, anatomy: ChestAnatomy) -> Array:
    spacing = anatomy.rib_spacing * 1.02
    phase = (y + 0.08 * y**2) / spacing + anatomy.rib_phase
    disc = np.exp(-(((phase - np.rint(phase)) / 0.12) ** 2))
    column = soft_step(0.075 - np.abs(x), 0.012)
    pedicle_phase = phase - np.floor(phase) - 0.4
    pedicles = np.exp(-((pedicle_phase / 0.14) ** 2) - ((np.abs(x) - 0.045) / 0.014) ** 2)
    return 0.10 * column * (1 - 0.35 * disc) + 0.05 * pedicles


def _shoulders(x: Array, y: Array, anatomy: ChestAnatomy, generator: np.random.Generator) -> Array:
    out = np.abs(x)
    lift, bend = generator.uniform(-0.05, 0.09), generator.uniform(0.02, 0.06)
    along = (out - 0.07) / 0.62
    line = anatomy.apex + 0.16 - lift - 0.10 * along - bend * np.sin(2 * np.pi * along)
    across = np.abs(y - line)
    clavicle = (0.7 * soft_step(0.026 - across, 0.008) + 0.5 * np.exp(-(((across - 0.022) / 0.008) ** 2))) * soft_step(
        np.minimum(along, 1 - along), 0.04
    )
    inward = generator.uniform(-0.10, 0.06)
    blade_edge = anatomy.half_width + inward - 0.22 * (y - anatomy.apex - 0.2)
    blade = soft_step(out - blade_edge, 0.02) * soft_step(blade_edge + 0.22 - out, 0.05)
    blade *= soft_step(y - anatomy.apex - 0.12, 0.04) * soft_step(anatomy.apex + 0.75 - y, 0.08)
    head = soft_ellipse(out, y, (anatomy.half_width + 0.22, anatomy.apex + 0.22), (0.12, 0.13), softness=0.03)
    return 1.6 * anatomy.rib_density * clavicle + 0.05 * blade + 0.22 * head


def _stomach(x: Array, y: Array, anatomy: ChestAnatomy, generator: np.random.Generator) -> Array:
    present, width = generator.uniform() < 0.6, generator.uniform(0.08, 0.18)
    low = anatomy.dome + anatomy.dome_step + 0.06 + 0.5 * width
    bubble = soft_ellipse(x, y, (0.45 * anatomy.half_width, low), (width, 0.5 * width), softness=0.02)
    return 0.22 * present * bubble


def _vessels(chest: Chest, generator: np.random.Generator) -> Array:
    """Branches that leave each hilum, bend and taper; drawn in three widths."""
    branches, steps = 34, 40
    total = np.zeros_like(chest.x)
    for side in (RIGHT, LEFT):
        hilum_x, hilum_y = side * (chest.anatomy.mediastinum + 0.05), 0.15 * chest.anatomy.apex + 0.04 * (side == RIGHT)
        angle = generator.uniform(-1.35, 1.5, (branches, 1)) + generator.normal(0, 0.035, (branches, steps)).cumsum(1)
        length = generator.uniform(0.25, 0.75, (branches, 1)) / steps
        start_x = hilum_x + generator.normal(0, 0.015, (branches, 1))
        start_y = hilum_y + 0.09 * angle[:, :1] + generator.normal(0, 0.02, (branches, 1))
        x = start_x + side * np.cumsum(np.cos(angle) * length, 1)
        y = start_y + np.cumsum(np.sin(angle) * length, 1)
        calibre = 0.018 * np.linspace(1, 0.15, steps) * generator.uniform(0.5, 1.2, (branches, 1))
        for width, chosen in ((0.012, slice(0, 14)), (0.008, slice(14, 26)), (0.004, slice(26, 40))):
            weights = (0.55 * calibre**1.5 * 3 * length)[:, chosen].ravel()
            total += chest.polyline(x[:, chosen].ravel(), y[:, chosen].ravel(), weights, width)
        hilum = soft_ellipse(chest.x, chest.y, (hilum_x, hilum_y + 0.05), (0.045, 0.12), side * -0.25, 0.03)
        total += 0.10 * hilum
    # Where many branches overlap they lie behind one another, not all in the ray.
    return chest.anatomy.vessels * 0.22 * np.tanh(total / 0.22)
