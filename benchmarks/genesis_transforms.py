"""Models Genesis' grey value curves and local shuffling, beside a plain numpy generator after the paper.

The generator (Zhou et al. 2019, Sec. 2.2 and 3) works on one volume: a Bézier curve of 100 000 points through which
`np.interp` sends every voxel; 10 000 windows of random size and place, one after the other, each of which permutes the
original's voxels and overwrites what was there. The curves are compared voxel by voxel with the same control points.
The shuffles draw from the same distribution, which shows in where they move voxels: the share that stays in place, how
far they come, and the share of values that are left. `python benchmarks/genesis_transforms.py` writes
`results/genesis_transforms.json` and `.md`; three minutes on two cores.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import comb
from typing import Any

import numpy as np
import torch
from measuring import DEVICE, Result, compare, parser, ratio_cell, take_turns
from torch import Tensor

from medssl.phantoms.batch import draw_batch
from medssl.transforms import LocalShuffle
from medssl.transforms.intensity import apply_tables, bezier_tables, to_unit_range

SIZES = ((64, 64, 32), (64, 64, 64), (96, 96, 96))
IMAGE_SIZE = (224, 224)  # the shuffling works in 2D too
BATCH = 4
POINTS, WINDOWS = 100_000, 10_000
BAR, SAME, SAMPLING = 9.0, 1e-3, 6.0


def bezier_curve(control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Abscissae and ordinates of the cubic curve from (0, 0) to (1, 1) with two control points ``[2, 2]``."""
    corners = np.array([[0.0, 0.0], *control, [1.0, 1.0]])
    t = np.linspace(0, 1, POINTS)
    weights = np.array([comb(3, k) * t**k * (1 - t) ** (3 - k) for k in range(4)])
    x, y = corners.T @ weights
    return x, y


def numpy_bezier(volume: np.ndarray, control: np.ndarray, falling: bool) -> np.ndarray:
    """Grey values in 0..1 through the curve."""
    x, y = bezier_curve(control)
    return np.interp(volume, x, 1 - y if falling else y)


def numpy_shuffle(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Windows of 1 voxel to a tenth of the side along each axis: each permutes the original, the last one is seen."""
    shuffled = volume.copy()
    for _ in range(WINDOWS):
        sides = [int(random.integers(1, side // 10 + 1)) for side in volume.shape]
        starts = [int(random.integers(0, whole - side + 1)) for whole, side in zip(volume.shape, sides, strict=True)]
        box = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
        shuffled[box] = random.permutation(volume[box].ravel()).reshape(sides)
    return shuffled


def torch_bezier(unit: Tensor, control: Tensor, falling: Tensor) -> Tensor:
    """A batch through its curves."""
    return apply_tables(unit, bezier_tables(control, falling))


def moved(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Where the voxels went, whose values are their numbers.

    Returns:
        The share that stays in place, how far the others came along an axis (rms), and the share that is still there:
        overlapping windows repeat some voxels and lose others.
    """
    places = np.stack(np.unravel_index(after.astype(np.int64), before.shape)) - np.indices(before.shape)
    return {
        "in_place": float((after == before).mean()),
        "distance": float(np.sqrt((places**2).mean())),
        "left": len(np.unique(after)) / before.size,
    }


def spread(
    size: Sequence[int], shuffle: Callable[[np.ndarray], np.ndarray], draws: int = 8
) -> dict[str, tuple[float, float]]:
    """Mean of each number of :func:`moved` over a few draws, and its standard error."""
    numbers = np.arange(np.prod(size), dtype=np.float64).reshape(size)
    found = [moved(numbers, shuffle(numbers)) for _ in range(draws)]
    values = {key: np.array([each[key] for each in found]) for key in found[0]}
    return {key: (float(each.mean()), float(each.std(ddof=1) / draws**0.5)) for key, each in values.items()}


def check_same_distribution(spreads: Mapping[str, Mapping[str, tuple[float, float]]]) -> float:
    """How many standard errors the two sides differ by, the worst of all numbers; fails beyond sampling error."""
    ours, theirs = spreads["medssl"], spreads["numpy"]
    worst = max(abs(ours[key][0] - theirs[key][0]) / float(np.hypot(ours[key][1], theirs[key][1])) for key in ours)
    assert worst < SAMPLING, (worst, spreads)
    return worst


def measure_curves(result: Result, size: Sequence[int], images: Tensor) -> None:
    control = torch.rand(len(images), 2, 2, device=DEVICE)
    falling = torch.rand(len(images), device=DEVICE) < 0.5
    unit = to_unit_range(images)[0]
    on_cpu = [part.double().cpu().numpy() for part in (unit[:, 0], control)]
    volumes = list(zip(*on_cpu, falling.tolist(), strict=True))
    ours = torch_bezier(unit, control, falling)[:, 0].cpu().numpy()
    differences = np.stack([np.abs(numpy_bezier(*one) - mine) for one, mine in zip(volumes, ours, strict=True)])
    beyond = float((differences > SAME).mean())  # where a curve is all but vertical
    steps = {
        "medssl": partial(torch_bezier, unit, control, falling),
        "numpy": lambda: [numpy_bezier(*volume) for volume in volumes],
    }
    note = f"largest difference {differences.max():.1e}; beyond {SAME:g}: {beyond:.2%} of the values"
    add_rows(result, "Bézier curve", size, steps, note=note)
    assert beyond < SAME, beyond


def measure_shuffles(result: Result, size: Sequence[int], images: Tensor) -> None:
    volumes, random, ours = images[:, 0].cpu().numpy(), np.random.default_rng(0), LocalShuffle(1.0)
    steps = {
        "medssl": partial(ours, images),
        "numpy": lambda: [numpy_shuffle(volume, random) for volume in volumes],
    }
    spreads = {
        "medssl": spread(
            size, lambda numbers: ours(torch.from_numpy(numbers).to(DEVICE)[None, None])[0, 0].cpu().numpy()
        ),
        "numpy": spread(size, lambda numbers: numpy_shuffle(numbers, random)),
    }
    result.facts.setdefault("standard_errors", []).append(check_same_distribution(spreads))
    notes = {
        name: f"{found['in_place'][0]:.4f} in place, {found['distance'][0]:.3f} voxels, {found['left'][0]:.4f} left"
        for name, found in spreads.items()
    }
    add_rows(result, "local shuffling", size, steps, **notes)


def add_rows(result: Result, what: str, size: Sequence[int], steps: dict[str, Callable], **notes: str) -> None:
    times = take_turns(steps, result.options.repeats, at_least=0.5)  # long enough for all threads to wake
    for name in steps:
        row = compare(times[name], times["medssl"])
        row["milliseconds"] /= BATCH
        result.add(what=what, size="×".join(map(str, size)), by=name, **row, note=notes.get("note", notes.get(name)))


def main() -> None:
    options = parser(__doc__, 7).parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "what": lambda row: row["what"],
        "volume": lambda row: row["size"],
        "by": lambda row: row["by"],
        "ms a volume": lambda row: f"{row['milliseconds']:.1f}",
        "times ours (quartiles)": ratio_cell,
        "the same?": lambda row: row["note"],
    }
    text = (
        f"Batches of {BATCH} volumes; {options.repeats} turns, medians; numpy works on one core. Bars: curves "
        f"{BAR:.0f} times as fast, shuffling faster at every size. For the shuffling: the share of voxels that stay in "
        "place, how far they come along an axis (root mean square), and the share of values that are left; these "
        f"agree within {SAMPLING:.0f} standard errors."
    )
    result = Result(options, "genesis_transforms", "Models Genesis' distortions beside numpy", text, columns)
    torch.manual_seed(0)
    for size in SIZES:
        images = draw_batch(size, BATCH).to(DEVICE)
        measure_curves(result, size, images)
        measure_shuffles(result, size, images)
    measure_shuffles(result, IMAGE_SIZE, draw_batch(IMAGE_SIZE, BATCH).to(DEVICE))


if __name__ == "__main__":
    main()
