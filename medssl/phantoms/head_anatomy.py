"""The head of one patient in Hounsfield units: scalp, skull, brain, cerebrospinal fluid, face and skull base.

Coordinates are millimetres from the middle of the skull's cavity, RAS: x grows to the patient's right, y forwards,
z upwards.
"""

from dataclasses import dataclass, field

import numpy as np

from .drawing import Array, smooth_noise, soft_step

AIR, FAT, FLUID, WHITE, GREY, MUSCLE, SPONGY_BONE, COMPACT_BONE = -1000, -90, 6, 28, 38, 50, 600, 1350
EXTENT = 150.0  # millimetres from the middle over which noise is defined


@dataclass(frozen=True)
class HeadAnatomy:
    """Everything that stays the same between two scans of a patient; lengths in millimetres."""

    radii: tuple[float, float, float]
    skull: float
    scalp: float
    subarachnoid: float
    sulci: float
    ventricles: float
    ventricle_asymmetry: float
    squareness: float
    calcified: tuple[bool, bool, bool]
    infarct: bool
    seed: int

    @classmethod
    def random(cls, generator: np.random.Generator) -> "HeadAnatomy":
        """Draw a patient. Age drives atrophy: wide sulci and wide ventricles go together."""
        uniform = generator.uniform
        age = uniform()
        return cls(
            radii=(uniform(60, 71), uniform(74, 90), uniform(64, 76)),
            skull=uniform(5.0, 9.5),
            scalp=uniform(4.0, 9.0),
            subarachnoid=uniform(0.5, 2.0) + 3.5 * age,
            sulci=uniform(0.8, 1.2) * (0.6 + 0.9 * age),
            ventricles=uniform(0.85, 1.2) * (0.85 + 0.75 * age**2),
            ventricle_asymmetry=float(generator.normal(0, 0.12)),
            squareness=uniform(2.0, 2.5),
            calcified=(uniform() < 0.6, uniform() < 0.5, uniform() < 0.15),
            infarct=uniform() < 0.15,
            seed=int(generator.integers(2**62)),
        )


@dataclass
class Head:
    """A drawn head.

    `depth` is the distance to the inner skull (positive inside), `cavity` what lies within it (0..1), `ventricles` and
    `cisterns` (sulci included) the fluid spaces (0..1), `skull` its bone and `blood` the bleedings (0..1), `hounsfield`
    the picture so far.
    """

    x: Array
    y: Array
    z: Array
    anatomy: HeadAnatomy
    edge: float
    depth: Array
    direction: tuple[Array, Array, Array]
    cavity: Array
    ventricles: Array = field(init=False)
    cisterns: Array = field(init=False)
    skull: Array = field(init=False)
    blood: Array = field(init=False)
    hounsfield: Array = field(init=False)

    def blend(self, amount: Array, value: Array | float) -> None:
        """Mix `value` (HU) into the picture with weight `amount` (0..1)."""
        self.hounsfield += amount * (value - self.hounsfield)

    def bleed(self, amount: Array, value: Array) -> None:
        """As `blend`, of blood, which is kept in mind."""
        self.blood = np.maximum(self.blood, amount)
        self.blend(amount, value)

    def ellipsoid(
        self, centre: tuple[float, float, float], radii: tuple[float, float, float], mirrored: bool = False
    ) -> Array:
        """Soft ellipsoid, on both sides when `mirrored`."""
        x = np.abs(self.x) if mirrored else self.x
        squared = ((x - centre[0]) / radii[0]) ** 2
        squared = squared + ((self.y - centre[1]) / radii[1]) ** 2 + ((self.z - centre[2]) / radii[2]) ** 2
        return soft_step((1 - np.sqrt(squared)) * min(radii), self.edge)


def draw_head_anatomy(x: Array, y: Array, z: Array, edge: float, anatomy: HeadAnatomy, shift: Array) -> Head:
    """Draw the normal head; `shift` [X, Y, Z] moves the brain to the right by so many millimetres (mass effect)."""
    a, b, c = anatomy.radii
    rng = np.random.default_rng(anatomy.seed)
    egg = 1 + 0.10 * np.clip(y / b, -1, 1)  # the head is widest behind the ears
    u, v, w = x * egg / a, y / b, z / c
    # Downwards the head goes on as a cylinder, into face and neck.
    below = np.where(z < 0, 0.35 * w, w)
    power = anatomy.squareness
    vault = (np.abs(u) ** power + np.abs(v) ** power + np.abs(below) ** power) ** (1 / power)
    depth = (1 - vault) * (a + b) / 2
    base = _skull_base(x, y)
    length = np.sqrt(u * u + v * v + w * w) + 1e-6
    cavity = soft_step(depth, edge) * soft_step(z - base, edge)
    head = Head(x, y, z, anatomy, edge, depth, (u / length, v / length, w / length), cavity)
    head.blood = np.zeros_like(x)
    _draw_shell(head, base, rng)
    _draw_brain(head, shift, rng)
    return head


def _skull_base(x: Array, y: Array) -> Array:
    """Height of the floor of the anterior, middle and posterior fossa."""
    orbits = 7 * np.exp(-(((np.abs(x) - 30) / 16) ** 2)) * soft_step(y - 30, 8)
    return -34 + 10 * soft_step(y - 26, 8) + orbits - 26 * soft_step(-18 - y, 8)


def _draw_shell(head: Head, base: Array, rng: np.random.Generator) -> None:
    """Air, scalp, face, neck and bone, from the outside in."""
    anatomy, y, z, depth, edge = head.anatomy, head.y, head.z, head.depth, head.edge
    coarse = smooth_noise((head.x, y, z), 25, rng, EXTENT)
    fine = smooth_noise((head.x, y, z), 7, rng, EXTENT)
    skull = anatomy.skull * (1 + 0.12 * coarse)
    outside = depth + skull + anatomy.scalp
    neck = soft_step(-62 - z, 4) * soft_step(np.hypot(head.x, y + 15) - 58, 4)
    body = soft_step(outside, edge) * (1 - neck)
    head.hounsfield = np.full_like(head.x, AIR)
    head.blend(body, FAT + 70 * soft_step(coarse, 0.5) * (depth < -skull - 2))
    face = soft_step(base - 4 - z, edge) * soft_step(depth + skull, edge) * (1 - neck)
    head.blend(face, MUSCLE + 15 * fine - 90 * soft_step(coarse - 0.5, 0.3))
    head.blend(face * soft_step(fine - 1.5, 0.2) * soft_step(y - 15, 10), 450)
    for centre, radii in (((0, 58, -50), (9, 26, 24)), ((28, 48, -56), (12, 16, 14)), ((8, 70, -12), (9, 6, 9))):
        head.blend(head.ellipsoid(centre, radii, mirrored=True), AIR)
    head.blend(head.ellipsoid((32, 58, -30), (18, 26, 16), mirrored=True), FAT)
    head.blend(head.ellipsoid((32, 68, -30), (12, 12, 12), mirrored=True), 15)
    shell = np.minimum(depth + skull, -depth)
    vault = soft_step(shell, edge * 0.8) * soft_step(z - base + 8, edge)
    diploe = soft_step(shell - 0.28 * skull, 1.0)
    head.blend(vault, COMPACT_BONE - (COMPACT_BONE - SPONGY_BONE) * diploe + 90 * fine)
    floor = soft_step(2.2 - np.abs(z - base + 3), edge * 0.7) * soft_step(depth + skull, edge)
    head.blend(floor * soft_step(fine + 1.6, 0.4), 750 + 150 * fine)
    # The foramen magnum leaves the way for the cord.
    foramen = head.ellipsoid((0, -32, -64), (14, 16, 20))
    head.skull = np.maximum(vault, floor) * (1 - foramen)
    head.blend(foramen, 30)
    head.blend(head.ellipsoid((42, -16, -38), (26, 10, 10), mirrored=True), 1100 + 250 * fine)
    head.blend(head.ellipsoid((58, -28, -42), (9, 11, 13), mirrored=True) * soft_step(fine, 0.3), -700)


def _draw_brain(head: Head, shift: Array, rng: np.random.Generator) -> None:
    """White and grey matter, ventricles, sulci, cisterns, membranes and calcifications inside the cavity."""
    anatomy, edge, cavity = head.anatomy, head.edge, head.cavity
    x, y, z = head.x - shift, head.y, head.z
    folds = smooth_noise((x, y, z), 11, rng, EXTENT)
    blotches = smooth_noise((x, y, z), 30, rng, EXTENT)
    shallow = soft_step(20 - head.depth, 5)
    sulci = np.exp(-((folds / (0.28 * anatomy.sulci)) ** 2)) * shallow
    ribbon = np.maximum(np.exp(-((folds / 0.75) ** 2)) * shallow, soft_step(anatomy.subarachnoid + 4 - head.depth, 2))
    brain = Head(x, y, z, anatomy, edge, head.depth, head.direction, cavity)
    nuclei = np.maximum(
        brain.ellipsoid((13, -8, 2), (9, 14, 9), mirrored=True),
        brain.ellipsoid((25, 8, 2), (7, 15, 10), mirrored=True),
    )
    cerebellum = soft_step(-22 - z, 3) * soft_step(-10 - y, 3)
    grey = np.clip(np.maximum(np.maximum(ribbon, nuclei), 0.6 * cerebellum), 0, 1)
    head.blend(cavity, WHITE + (GREY - WHITE) * grey + 1.0 * blotches)
    if anatomy.infarct:
        at = tuple(rng.uniform((-50, -60, 0), (50, 50, 40)))
        head.blend(0.8 * cavity * head.ellipsoid(at, tuple(rng.uniform(9, 20, 3))), 16)
    midline = np.exp(-((x / (1.2 + 0.5 * edge)) ** 2)) * (z > -10)
    fissure = midline * soft_step(26 - head.depth, 6)
    sylvian = _capsule(brain, (33, 20, -8), (58, -18, 8), 1.8 + 2.2 * anatomy.sulci)
    basal = np.maximum(brain.ellipsoid((0, 8, -24), (11, 9, 6)), brain.ellipsoid((0, -30, -4), (11, 5, 6)))
    # The suprasellar star: arms forwards along the midline, and sideways into the Sylvian fissures.
    basal = np.maximum(basal, _capsule(brain, (6, 10, -24), (33, 20, -10), 2.0 + 1.2 * anatomy.sulci))
    ambient = np.maximum(
        _capsule(brain, (14, 4, -22), (17, -24, -12), 2.5), brain.ellipsoid((0, -22, -48), (12, 5, 10))
    )
    surface = soft_step(anatomy.subarachnoid - head.depth, edge)
    spaces = np.maximum.reduce([sulci, 0.8 * fissure, sylvian, basal, 0.8 * ambient])
    head.cisterns = np.maximum(spaces, surface) * cavity
    head.ventricles = _ventricles(brain) * cavity
    head.blend(np.maximum(head.cisterns, head.ventricles), FLUID)
    falx = np.exp(-((x / (0.8 + 0.4 * edge)) ** 2)) * soft_step(34 - head.depth, 4) * (z > -5) * cavity
    tentorium = np.exp(-(((z + 12 + 0.45 * np.abs(x) - 0.15 * y) / (1 + 0.4 * edge)) ** 2)) * soft_step(-26 - y, 3)
    sinus = head.ellipsoid((0, -anatomy.radii[1] + 2, 5), (5, 5, 30))
    head.blend(np.clip(0.5 * falx + 0.35 * tentorium * (np.abs(x) > 8) + 0.7 * sinus, 0, 1) * cavity, 52)
    pineal, choroid, pallidum = anatomy.calcified
    head.blend(0.7 * pineal * brain.ellipsoid((0, -27, 6), (3, 3.5, 3)), 220)
    head.blend(0.6 * choroid * brain.ellipsoid((22, -32, 13), (3, 5, 3.5), mirrored=True), 180)
    head.blend(0.6 * pallidum * brain.ellipsoid((19, 3, 2), (4, 7, 5), mirrored=True), 110)


def _capsule(head: Head, start: tuple[float, float, float], end: tuple[float, float, float], radius: float) -> Array:
    """Soft rod between two points, on both sides."""
    x = np.abs(head.x)
    axis = np.subtract(end, start)
    along = ((x - start[0]) * axis[0] + (head.y - start[1]) * axis[1] + (head.z - start[2]) * axis[2]) / (axis @ axis)
    along = np.clip(along, 0, 1)
    squared = (x - start[0] - along * axis[0]) ** 2 + (head.y - start[1] - along * axis[1]) ** 2
    distance = np.sqrt(squared + (head.z - start[2] - along * axis[2]) ** 2)
    return soft_step(radius - distance, head.edge)


def _ventricles(head: Head) -> Array:
    """Lateral ventricles with their three horns, third and fourth ventricle."""
    wide = head.anatomy.ventricles
    out = 4.5 + 3.5 * wide
    horns = (
        ((out + 2, 34, 4), (out, 8, 18), 4.6),
        ((out, 8, 18), (out + 5, -22, 20), 5.0),
        ((out + 5, -22, 20), (24, -36, 10), 5.6),
        ((24, -36, 10), (22, -56, 4), 3.6),
        ((25, -32, 8), (32, -2, -18), 2.4),
    )
    lateral = np.maximum.reduce([_capsule(head, start, end, radius * wide) for start, end, radius in horns])
    lateral = np.clip(lateral * (1 + head.anatomy.ventricle_asymmetry * np.sign(head.x)), 0, 1)
    third = head.ellipsoid((0, 2, 2), (1.5 + 2.0 * wide, 17, 10))
    fourth = head.ellipsoid((0, -38, -36), (7 * wide**0.5, 6, 9))
    septum = 1 - 0.7 * np.exp(-((head.x / 1.5) ** 2))
    return np.maximum.reduce([lateral * septum, third, fourth])
