"""Models Genesis' grey value curves and local shuffling, beside a plain numpy generator after the paper.

The generator (Zhou et al. 2019, Sec. 2.2 and 3) works on one volume: a Bézier curve of 100 000 points through which
`np.interp` sends every voxel; 10 000 windows of random size and place, one after the other, whose voxels are permuted.
The curves are compared voxel by voxel with the same control points. The shuffles are compared by where they move
voxels: the share that stays in place, and how far the others go. `python benchmarks/genesis_transforms.py` writes
`results/genesis_transforms.json` and `.md`; one minute on two cores.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import comb
from typing import Any

import numpy as np
import torch
from measuring import DEVICE, Result, compare, parser, ratio_cell, take_turns
from torch import Tensor

from medssl.data.phantoms.batch import draw_batch
from medssl.transforms import LocalShuffle, apply_tables, bezier_tables, to_unit_range

SIZES = ((64, 64, 32), (64, 64, 64), (96, 96, 96))
BATCH = 4
POINTS, WINDOWS = 100_000, 10_000
BAR, SAME = 9.0, 1e-3


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
    """Windows of 1 voxel to a tenth of the side along each axis, permuted in turn."""
    shuffled = volume.copy()
    for _ in range(WINDOWS):
        sides = [int(random.integers(1, side // 10 + 1)) for side in volume.shape]
        starts = [int(random.integers(0, whole - side)) for whole, side in zip(volume.shape, sides, strict=True)]
        box = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
        shuffled[box] = random.permutation(shuffled[box].ravel()).reshape(sides)
    return shuffled


def torch_bezier(unit: Tensor, control: Tensor, falling: Tensor) -> Tensor:
    """A batch through its curves."""
    return apply_tables(unit, bezier_tables(control, falling))


def moved(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Where the voxels went, whose values are their numbers: the share in place, and how far along an axis (rms)."""
    assert np.array_equal(np.sort(after.ravel()), before.ravel())  # a permutation
    places = np.stack(np.unravel_index(after.astype(np.int64), before.shape)) - np.indices(before.shape)
    return {"in_place": float((after == before).mean()), "distance": float(np.sqrt((places**2).mean()))}


def spread(size: Sequence[int], shuffle: Callable[[np.ndarray], np.ndarray], draws: int = 4) -> dict[str, float]:
    """The mean of :func:`moved` over a few draws."""
    numbers = np.arange(np.prod(size), dtype=np.float64).reshape(size)
    found = [moved(numbers, shuffle(numbers)) for _ in range(draws)]
    return {key: float(np.mean([each[key] for each in found])) for key in found[0]}


def measure_curves(result: Result, size: Sequence[int], images: Tensor) -> None:
    control = torch.rand(len(images), 2, 2, device=DEVICE)
    falling = torch.rand(len(images), device=DEVICE) < 0.5
    unit = to_unit_range(images)[0]
    on_cpu = [part.double().cpu().numpy() for part in (unit[:, 0], control)]
    volumes = list(zip(*on_cpu, falling.tolist(), strict=True))
    ours = torch_bezier(unit, control, falling)[:, 0].cpu().numpy()
    difference = max(
        float(np.abs(numpy_bezier(*volume) - mine).max()) for volume, mine in zip(volumes, ours, strict=True)
    )
    steps = {
        "medssl": partial(torch_bezier, unit, control, falling),
        "numpy": lambda: [numpy_bezier(*volume) for volume in volumes],
    }
    add_rows(result, "Bézier curve", size, steps, note=f"largest difference {difference:.1e}")
    result.facts.setdefault("differences", []).append(difference)
    assert difference < SAME, difference


def measure_shuffles(result: Result, size: Sequence[int], images: Tensor) -> None:
    volumes, random, ours = images[:, 0].cpu().numpy(), np.random.default_rng(0), LocalShuffle(1.0)
    steps = {
        "medssl": partial(ours, images),
        "numpy": lambda: [numpy_shuffle(volume, random) for volume in volumes],
    }
    spreads = {
        "medssl": spread(size, lambda numbers: ours(torch.from_numpy(numbers)[None, None])[0, 0].numpy(), 40),
        "numpy": spread(size, lambda numbers: numpy_shuffle(numbers, random)),
    }
    notes = {
        name: f"{found['in_place']:.2f} in place, {found['distance']:.2f} voxels" for name, found in spreads.items()
    }
    add_rows(result, "local shuffling", size, steps, **notes)


def add_rows(result: Result, what: str, size: Sequence[int], steps: dict[str, Callable], **notes: str) -> None:
    times = take_turns(steps, result.options.repeats)
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
        "place, and how far the voxels go along an axis (root mean square)."
    )
    result = Result(options, "genesis_transforms", "Models Genesis' distortions beside numpy", text, columns)
    torch.manual_seed(0)
    for size in SIZES:
        images = draw_batch(size, BATCH).to(DEVICE)
        measure_curves(result, size, images)
        measure_shuffles(result, size, images)


if __name__ == "__main__":
    main()
