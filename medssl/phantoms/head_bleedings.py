"""Intracranial bleedings, each in its compartment and of its shape, and how they push the brain aside."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .drawing import Array, smooth_noise, soft_step
from .head_anatomy import EXTENT, Head


@dataclass(frozen=True)
class Bleeding:
    """A planned bleeding: its compartment, its place and how far it pushes the brain.

    `side` is +1 for the patient's right; `place` in millimetres for a bleeding in the brain, else a direction from the
    middle of the head; `size` and `push` in millimetres; `seed` fixes the rest of its shape.
    """

    name: str
    side: int
    place: tuple[float, float, float]
    size: float
    push: float
    seed: int

    @classmethod
    def random(cls, name: str, generator: np.random.Generator, growth: float = 1.0) -> "Bleeding":
        """Draw place and size for a bleeding of `HEAD_FINDINGS`, then multiply the size by `growth`."""
        side = int(generator.choice((-1, 1)))
        seed = int(generator.integers(2**62))
        if name == "Intraparenchymal":
            place, size = _parenchymal_place(side, generator), growth * generator.uniform(9, 23)
            return cls(name, side, place, size, 0.25 * (size - 8), seed)
        angle, lift = generator.uniform(-0.45, 0.45) * np.pi, generator.uniform(-0.15, 0.75)
        place = (side * np.cos(angle) * np.cos(lift), np.sin(angle) * np.cos(lift), np.sin(lift))
        thickest = {"Subdural": generator.uniform(6, 15), "Epidural": generator.uniform(14, 30)}
        size = growth * thickest.get(name, 0.0)
        return cls(name, side, place, size, 0.45 * max(size - 4, 0) * generator.uniform(0.3, 1.0), seed)

    def displacement(self, x: Array, y: Array, z: Array) -> Array:
        """Millimetres by which the brain at x, y, z moves to the right."""
        if not self.push:
            return np.zeros_like(x)
        scale = (1.0, 1.0, 1.0) if self.name == "Intraparenchymal" else (70.0, 80.0, 70.0)
        near_y, near_z = self.place[1] * scale[1], self.place[2] * scale[2]
        return -self.side * self.push * np.exp(-((x / 60) ** 2) - ((y - near_y) / 60) ** 2 - ((z - near_z) / 45) ** 2)

    def paint(self, head: Head) -> None:
        """Paint the blood into the head, in place."""
        PAINTERS[self.name](head, self, np.random.default_rng(self.seed))


def _parenchymal_place(side: int, generator: np.random.Generator) -> tuple[float, float, float]:
    """Deep nuclei, a lobe or the cerebellum, as often as hypertension and amyloid would have it."""
    kind = generator.uniform()
    if kind < 0.4:
        low, high = (16, -18, -4), (30, 16, 14)
    elif kind < 0.88:
        low, high = (22, -52, 6), (44, 48, 42)
    else:
        low, high = (6, -56, -42), (30, -38, -30)
    x, y, z = generator.uniform(low, high)
    return side * float(x), float(y), float(z)


def _blood(head: Head, generator: np.random.Generator, low: float = 58, high: float = 82) -> Array:
    """Clotted blood in HU, a little uneven."""
    return generator.uniform(low, high) + 3 * smooth_noise((head.x, head.y, head.z), 12, generator, EXTENT)


def _intraparenchymal(head: Head, bleeding: Bleeding, generator: np.random.Generator) -> None:
    offsets = [axis - middle for axis, middle in zip((head.x, head.y, head.z), bleeding.place, strict=True)]
    stretch = generator.uniform(0.75, 1.3, 3)
    rough = smooth_noise((head.x, head.y, head.z), 14, generator, EXTENT)
    distance = np.sqrt(sum((offset / s) ** 2 for offset, s in zip(offsets, stretch, strict=True)))
    border = bleeding.size * (1 + 0.16 * rough) - distance
    inside = head.cavity * soft_step(head.depth - 3, 2)
    head.blend(0.75 * inside * soft_step(border + generator.uniform(3, 9), 2.5), 20)
    head.bleed(inside * soft_step(border, head.edge), _blood(head, generator))


def _angle(head: Head, bleeding: Bleeding) -> Array:
    """Angle in radians between each voxel and the bleeding's direction, seen from the middle of the head."""
    place = np.asarray(bleeding.place) / np.linalg.norm(bleeding.place)
    cosine = sum(axis * p for axis, p in zip(head.direction, place, strict=True))
    return np.arccos(np.clip(cosine, -1, 1))


def _subdural(head: Head, bleeding: Bleeding, generator: np.random.Generator) -> None:
    """A crescent: wide along the skull, thin, and never across the midline."""
    reach = generator.uniform(0.7, 1.25)
    taper = np.sqrt(np.clip(1 - (_angle(head, bleeding) / reach) ** 2, 0, 1))
    own_side = soft_step(bleeding.side * head.x - 2, head.edge)
    layer = soft_step(bleeding.size * taper - head.depth, head.edge) * (taper > 0) * own_side * head.cavity
    blood = _blood(head, generator, 52, 75)
    if generator.uniform() < 0.25:  # older blood: its upper (forward) part is already fluid
        blood = blood - 22 * soft_step(head.y - generator.uniform(-20, 30), 5)
    head.bleed(layer, blood)


def _epidural(head: Head, bleeding: Bleeding, generator: np.random.Generator) -> None:
    """A lens: short along the skull (sutures hold it), thick, bulging into the brain."""
    reach = generator.uniform(0.36, 0.55)
    bulge = 1 - (_angle(head, bleeding) / reach) ** 2
    lens = soft_step(bleeding.size * bulge - head.depth, head.edge) * (bulge > -0.1) * head.cavity
    head.bleed(lens, _blood(head, generator, 60, 85))


def _subarachnoid(head: Head, bleeding: Bleeding, generator: np.random.Generator) -> None:
    """Blood instead of fluid in the cisterns, from a ruptured aneurysm, or in some sulci, after an injury."""
    if generator.uniform() < 0.4:
        middle, radii = np.array([bleeding.side * generator.uniform(0, 22), 8, -14]), generator.uniform(40, 60, 3)
    else:
        middle = 0.85 * np.multiply(bleeding.place, head.anatomy.radii)
        radii = generator.uniform(30, 48, 3)
    offsets = zip((head.x, head.y, head.z), middle, radii, strict=True)
    reached = np.exp(-(sum(((axis - m) / r) ** 2 for axis, m, r in offsets) ** 2))
    filled = np.clip(1.8 * reached * head.cisterns, 0, 1) * soft_step(head.depth - 1.5, 1.5)
    head.bleed(filled, _blood(head, generator, 58, 76))


def _intraventricular(head: Head, bleeding: Bleeding, generator: np.random.Generator) -> None:
    """Blood that has sunk to the back of the ventricles, or a cast of one of them."""
    if generator.uniform() < 0.55:
        part = soft_step(generator.uniform(-40, -22) - head.y, head.edge)
    else:
        front = generator.uniform(-35, 10)
        part = soft_step(head.x * bleeding.side + 5, 2) * soft_step(head.y - front, 3)
        part = part * soft_step(front + generator.uniform(25, 50) - head.y, 3)
    head.bleed(head.ventricles * part, _blood(head, generator, 58, 80))


PAINTERS: dict[str, Callable[[Head, Bleeding, np.random.Generator], None]] = {
    "Intraparenchymal": _intraparenchymal,
    "Subdural": _subdural,
    "Epidural": _epidural,
    "Subarachnoid": _subarachnoid,
    "Intraventricular": _intraventricular,
}
HEAD_FINDINGS = tuple(PAINTERS)  # the compartments of the RSNA intracranial haemorrhage challenge
