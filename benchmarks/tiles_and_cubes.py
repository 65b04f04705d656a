"""Only the tiles or cubes that a route visits are copied: beside cutting all of them and choosing afterwards.

A route visits 5 of 9 tiles in 2D and 7 of 27 cubes in 3D (Zhu et al. 2020, Sec. 2). Bytes are what was allocated on
the way, by torch's profiler. Both ways give the same cubes, bit for bit. `python benchmarks/tiles_and_cubes.py` writes
`results/tiles_and_cubes.json` and `.md`; half a minute on two cores.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from measuring import DEVICE, Result, compare, parser, ratio_cell, take_turns
from torch import Tensor
from torch.profiler import profile

from medssl.phantoms.batch import draw_batch
from medssl.pretext.puzzles import cut_tiles, draw_crop_starts, half_overlapping_starts, route_pool

SHAPES = (((224, 224), 16), ((96, 96, 96), 4), ((30, 128, 128), 8))
GRID = 3


def cut_all(images: Tensor, corners: Tensor, tile_size: Sequence[int], visited: Tensor) -> Tensor:
    """Every tile of the grid, of which the visited ones are chosen: ``[B, m, C, *tile_size]``."""
    stride = [side // 2 for side in tile_size]
    places = half_overlapping_starts(GRID, stride).flatten(0, -2).to(images.device)
    tiles = []
    for image, corner in zip(images, corners, strict=True):
        for start in (corner + places).tolist():
            box = [slice(first, first + side) for first, side in zip(start, tile_size, strict=True)]
            tiles.append(image[(slice(None), *box)])
    every = torch.stack(tiles).unflatten(0, (len(images), -1))
    return every[torch.arange(len(images), device=images.device)[:, None], visited]


def cut_visited(images: Tensor, corners: Tensor, tile_size: Sequence[int], visited: Tensor) -> Tensor:
    """The visited ones only, as the tasks do it."""
    stride = [side // 2 for side in tile_size]
    places = half_overlapping_starts(GRID, stride).flatten(0, -2).to(images.device)
    return cut_tiles(images, corners[:, None] + places[visited], tile_size)


def allocated(run: Callable[[], Any]) -> float:
    """MB that a call allocates on the device, freed ones included."""
    with profile(profile_memory=True) as profiled:
        run()
    name = "self_device_memory_usage" if DEVICE.type == "cuda" else "self_cpu_memory_usage"
    return sum(max(0, getattr(event, name)) for event in profiled.events()) / 1e6


def main() -> None:
    options = parser(__doc__, 15).parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "images": lambda row: row["shape"],
        "way": lambda row: row["way"],
        "ms": lambda row: f"{row['milliseconds']:.1f}",
        "times ours (quartiles)": ratio_cell,
        "MB allocated": lambda row: f"{row['megabytes']:.1f}",
    }
    text = (
        f"{options.repeats} turns, medians. Tiles of 7/16 of an image's side, overlapping by half. Bar: ours is faster."
    )
    result = Result(options, "tiles_and_cubes", "Cutting the visited tiles, or all", text, columns)
    for size, batch in SHAPES:
        images = draw_batch(size, batch).to(DEVICE)
        tile_size = [side * 7 // 16 // 2 * 2 for side in size]
        torch.manual_seed(0)
        routes = route_pool(len(size))
        powers = torch.tensor([GRID**axis for axis in reversed(range(len(size)))])
        visited = (routes[torch.randint(len(routes), (batch,))] * powers).sum(dim=-1).to(DEVICE)
        corners = draw_crop_starts(batch, size, [2 * tile for tile in tile_size], DEVICE)
        arguments = (images, corners, tile_size, visited)
        ways = {"only the visited": partial(cut_visited, *arguments), "all": partial(cut_all, *arguments)}
        assert torch.equal(*(way() for way in ways.values()))
        times = take_turns(ways, options.repeats)
        shape = f"{batch} of {'×'.join(map(str, size))}, {visited.shape[1]} of {GRID ** len(size)}"
        for name, way in ways.items():
            ratios = compare(times[name], times["only the visited"])
            result.add(shape=shape, way=name, **ratios, megabytes=allocated(way))


if __name__ == "__main__":
    main()
