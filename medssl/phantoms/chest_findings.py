"""The eleven findings of Dong 6.1 on a drawn chest, each as what a radiologist sees.

A finding either changes the anatomy before it is drawn (`reshape`: a large heart, flat diaphragms, lost volume) or is
painted into the lungs afterwards (`PAINTERS`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .chest_anatomy import LEFT, RIGHT, Chest, ChestAnatomy
from .drawing import ball_depth, smooth_noise, soft_ellipse, soft_step


def reshape(anatomy: ChestAnatomy, findings: Sequence[str], generator: np.random.Generator) -> ChestAnatomy:
    """Return the anatomy as the findings have changed it: heart size, height and flatness of the diaphragm."""
    heart, inflation, flatness, loss = generator.uniform((0.54, 0.06, 0.25, 0.02), (0.68, 0.18, 0.55, 0.10))
    if "Cardiomegaly" in findings:
        anatomy = replace(anatomy, cardiothoracic_ratio=heart, heart_offset=anatomy.heart_offset * 0.8)
    if "Fibrosis" in findings:
        anatomy = replace(anatomy, dome=anatomy.dome - loss)
    if "Emphysema" in findings:
        anatomy = replace(
            anatomy,
            dome=min(anatomy.dome + inflation, 0.68),
            dome_bow=anatomy.dome_bow * flatness,
            cardiothoracic_ratio=anatomy.cardiothoracic_ratio * 0.85,
            rib_spacing=anatomy.rib_spacing * 1.08,
            rib_bow=anatomy.rib_bow * 0.7,
            lung_air=anatomy.lung_air * 1.2,
            vessels=anatomy.vessels * 0.55,
        )
    return anatomy


def paint(chest: Chest, name: str, generator: np.random.Generator, strength: float = 1.0) -> None:
    """Paint one finding of `CHEST_FINDINGS` into `chest`, in place; `strength` (0..1) scales its contrast."""
    if painter := PAINTERS[name]:
        fill, extra = chest.fill.copy(), chest.extra.copy()
        painter(chest, generator)
        chest.fill = fill + strength * (chest.fill - fill)
        chest.extra = extra + strength * (chest.extra - extra)


def _sides(generator: np.random.Generator, both: float) -> list[int]:
    """One side at random, or both with the given probability."""
    first = int(generator.choice((RIGHT, LEFT)))
    return [first, -first] if generator.uniform() < both else [first]


def _spot(chest: Chest, generator: np.random.Generator, low: float = 0.15, high: float = 0.92) -> tuple[float, float]:
    side = int(generator.choice((RIGHT, LEFT)))
    return chest.position(side, generator.uniform(low, high), generator.uniform(0.25, 0.85))


def _infiltration(chest: Chest, generator: np.random.Generator) -> None:
    texture = smooth_noise((chest.x, chest.y), 0.07, generator, 2.0)
    texture += 0.6 * smooth_noise((chest.x, chest.y), 0.03, generator, 2.0)
    patches = soft_step(texture - 0.1, 0.8)
    for _ in range(int(generator.integers(2, 5))):
        radii = (generator.uniform(0.14, 0.26), generator.uniform(0.14, 0.26))
        cloud = soft_ellipse(chest.x, chest.y, _spot(chest, generator), radii, generator.uniform(0, 3), 0.12)
        chest.opacify(generator.uniform(0.35, 0.6) * cloud * patches)


def _effusion(chest: Chest, generator: np.random.Generator) -> None:
    for side in _sides(generator, 0.35):
        lung = chest.lungs[side]
        amount = generator.uniform(0.0, 0.3) if generator.uniform() < 0.75 else generator.uniform(0.3, 0.7)
        # The meniscus: fluid climbs the lateral wall, and a little the mediastinum.
        level = chest.position(side, 1 - amount, 0.5)[1]
        climb = generator.uniform(0.10, 0.20)
        meniscus = climb * (
            np.exp(-np.clip(lung.lateral, 0, None) / 0.09) + 0.3 * np.exp(-np.clip(lung.medial, 0, None) / 0.06)
        )
        fluid = soft_step(chest.y - level + meniscus, 0.03)
        chest.opacify(0.95 * fluid * soft_step(lung.mask - 0.02, 0.02))


def _atelectasis(chest: Chest, generator: np.random.Generator) -> None:
    for side in _sides(generator, 0.25):
        lung = chest.lungs[side]
        for _ in range(int(generator.integers(1, 4))):
            # Plates: nearly horizontal lines in the lower half.
            centre = chest.position(side, generator.uniform(0.6, 0.97), generator.uniform(0.35, 0.7))
            half = (generator.uniform(0.12, 0.24), generator.uniform(0.012, 0.025))
            plate = soft_ellipse(chest.x, chest.y, centre, half, generator.normal(0, 0.3), 0.012, 4.0)
            chest.opacify(generator.uniform(0.55, 0.85) * plate * lung.mask)
        if generator.uniform() < 0.5:
            # A collapsed lobe: a wedge behind the heart or beside it, with a straight border.
            tip = chest.position(side, generator.uniform(0.35, 0.6), 0.0)
            edge = side * (chest.x - tip[0]) - generator.uniform(0.3, 0.7) * (chest.y - tip[1])
            wedge = soft_step(-edge, 0.015) * soft_step(chest.y - tip[1], 0.02)
            chest.opacify(generator.uniform(0.5, 0.8) * wedge * lung.mask)


def _nodule(chest: Chest, generator: np.random.Generator) -> None:
    for _ in range(int(generator.integers(1, 4))):
        radius = generator.uniform(0.05, 0.08)
        disc = ball_depth(chest.x, chest.y, _spot(chest, generator), radius)
        chest.opacify(generator.uniform(0.75, 0.95) * disc**0.5)


def _mass(chest: Chest, generator: np.random.Generator) -> None:
    centre, radius = _spot(chest, generator), generator.uniform(0.13, 0.24)
    lobes = np.zeros_like(chest.x)
    for angle in generator.uniform(0, 2 * np.pi, 4):
        lobe = (centre[0] + 0.4 * radius * np.cos(angle), centre[1] + 0.4 * radius * np.sin(angle))
        lobes = np.maximum(lobes, ball_depth(chest.x, chest.y, lobe, generator.uniform(0.6, 0.85) * radius))
    chest.opacify(generator.uniform(0.8, 0.98) * lobes**0.4)


def _consolidation(chest: Chest, generator: np.random.Generator) -> None:
    side = int(generator.choice((RIGHT, LEFT)))
    lung = chest.lungs[side]
    top = generator.uniform(0.05, 0.65)
    bottom = top + generator.uniform(0.22, 0.4)
    tilt = generator.normal(0, 0.4)
    level = lung.height + tilt * (lung.lateral - 0.25)
    ragged = 0.05 * smooth_noise((chest.x, chest.y), 0.12, generator, 2.0)
    # One border is a fissure (sharp), the other fades.
    sharp_below = generator.uniform() < 0.5
    softness = (0.15, 0.015) if sharp_below else (0.015, 0.15)
    lobe = soft_step(level - top + ragged * (not sharp_below), softness[0])
    lobe *= soft_step(bottom + ragged * sharp_below - level, softness[1])
    lobe *= soft_step(lung.medial - generator.uniform(-0.1, 0.08), 0.04) * lung.mask
    bronchi = np.clip(chest.vessels / 0.08, 0, 1)
    chest.opacify(generator.uniform(0.7, 0.9) * lobe * (1 - 0.55 * bronchi))


def _pneumothorax(chest: Chest, generator: np.random.Generator) -> None:
    side = int(generator.choice((RIGHT, LEFT)))
    lung = chest.lungs[side]
    width, apical = generator.uniform(0.06, 0.2), generator.uniform(0.4, 1.4)
    lowest = generator.uniform(0.5, 1.2)
    # Air gathers at the apex and along the lateral wall; the lung edge is a thin white line.
    gap = width * (1 + apical * np.exp(-np.clip(lung.height, 0, None) / 0.25))
    gap = gap * soft_step(lowest - lung.height, 0.2)
    from_edge = np.minimum(lung.lateral, 0.8 * (chest.y - chest.anatomy.apex))
    beyond = soft_step(gap - from_edge, 0.012) * lung.mask * (1 - chest.fill)
    line = np.exp(-(((from_edge - gap) / 0.010) ** 2)) * lung.mask * soft_step(gap - 0.03, 0.02)
    chest.extra += -0.16 * beyond - 0.95 * chest.vessels * beyond + 0.12 * line
    # The lung that is left has less air.
    chest.opacify(generator.uniform(0.03, 0.12) * lung.mask * (1 - beyond))


def _fibrosis(chest: Chest, generator: np.random.Generator) -> None:
    scale = generator.uniform(0.04, 0.07)
    # The zero crossings of smooth noise form a net, like thickened septa.
    net = np.exp(-((smooth_noise((chest.x, chest.y), scale, generator, 2.0, order=3) / 0.3) ** 2))
    upper = generator.uniform() < 0.25
    for side in _sides(generator, 0.8):
        lung = chest.lungs[side]
        zone = soft_step((0.45 - lung.height) if upper else (lung.height - generator.uniform(0.35, 0.6)), 0.2)
        rim = np.exp(-np.clip(lung.lateral, 0, None) / generator.uniform(0.15, 0.35))
        chest.opacify(generator.uniform(0.6, 0.85) * net * zone * (0.4 + 0.6 * rim) * lung.mask)


def _pleural_thickening(chest: Chest, generator: np.random.Generator) -> None:
    for side in _sides(generator, 0.3):
        lung = chest.lungs[side]
        bumps = 1 + 0.3 * smooth_noise((chest.x, chest.y), 0.15, generator, 2.0)
        width = generator.uniform(0.05, 0.11) * bumps
        if generator.uniform() < 0.4:
            width = width * soft_step(0.28 - lung.height, 0.1)
        else:
            low = generator.uniform(0.1, 0.5)
            width = width * soft_step(lung.height - low, 0.05)
            width = width * soft_step(low + generator.uniform(0.3, 0.6) - lung.height, 0.05)
        from_edge = np.minimum(lung.lateral, 0.9 * (chest.y - chest.anatomy.apex))
        rind = soft_step(width - from_edge, 0.012) * soft_step(width - 0.008, 0.006) * lung.mask
        chest.opacify(0.85 * rind)
        chest.extra += 0.14 * rind


def _emphysema(chest: Chest, generator: np.random.Generator) -> None:
    for _ in range(int(generator.integers(2, 7))):
        centre, radius = _spot(chest, generator, 0.05, 0.7), generator.uniform(0.07, 0.16)
        distance = np.hypot(chest.x - centre[0], chest.y - centre[1]) - radius
        inside = soft_step(-distance, 0.03) * chest.air / chest.anatomy.lung_air
        wall = np.exp(-((distance / 0.010) ** 2)) * chest.air / chest.anatomy.lung_air
        chest.extra += -0.09 * inside - 0.7 * chest.vessels * inside + 0.04 * wall


PAINTERS: dict[str, Callable[[Chest, np.random.Generator], None] | None] = {
    "Infiltration": _infiltration,
    "Effusion": _effusion,
    "Atelectasis": _atelectasis,
    "Nodule": _nodule,
    "Consolidation": _consolidation,
    "Pneumothorax": _pneumothorax,
    "Cardiomegaly": None,  # an anatomy of its own, see `reshape`
    "Fibrosis": _fibrosis,
    "Pleural_Thickening": _pleural_thickening,
    "Mass": _mass,
    "Emphysema": _emphysema,
}
CHEST_FINDINGS = tuple(PAINTERS)  # names, spelling and order of ChestX-ray14
