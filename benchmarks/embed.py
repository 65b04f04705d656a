"""What `medssl embed` adds to the bare network: images a second, beside the network on images that lie in memory.

A ResNet-18 sees drawn radiographs of two hospitals. The bare network gets them in mini-batches that are ready in
memory, once as torch lays out weights and once in the layout that training and `medssl embed` give them. The command
reads them from the store, writes table, arrays and picture, and fits the probe of the hospital. They take turns, each
in a process of its own; wall time is what a user waits for, and the time on the processors, of all processes, what it
costs where others want them, too. The features of all are compared.
`python benchmarks/embed.py` writes `results/embed.json` and `.md`; ten minutes on two cores.
"""

import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing import set_start_method
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import DEVICE, Result, compare, in_fresh_process, parser, ratio_cell

from medssl.data import Datalist, Source
from medssl.data.prepare import prepare
from medssl.networks import build_backbone, fast_layout, load_backbone, read_description, save_backbone
from medssl.phantoms import write_phantoms
from medssl.studies.embedding import embed
from medssl.transforms import View

BATCH = 64
SPLITS = ("training", "validation", "test", "unlabeled")


def prepared(folder: Path, count: int, side: int) -> None:
    """A run with a backbone, and images for it."""
    sources = []
    for number, name in enumerate(("north", "south")):
        table = write_phantoms(
            folder / name, "chest", count // 2, seed=number, size=side, progress=False, first_patient=number * count
        )
        sources.append(Source(images=folder / name / "images", csv=table))
    prepare(sources, folder / "data", size=(side, side))
    torch.manual_seed(0)
    save_backbone(build_backbone("resnet18", 2), folder / "run" / "backbone.pt", image_size=[side, side])


def measured(run: Callable[[], Any]) -> tuple[float, float]:
    """Seconds on the clock and on the processors, children that have ended included."""
    before, started = sum(os.times()[:4]), time.perf_counter()
    run()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, sum(os.times()[:4]) - before


def bare(folder: Path, fast: bool) -> tuple[tuple[float, float], np.ndarray]:
    """The network alone, in torch's layout or the fast one: what it took, and the features."""
    datalist, backbone = Datalist.read(folder / "data"), load_backbone(folder / "run").to(DEVICE).eval()
    if fast:
        backbone = backbone.to(memory_format=fast_layout(backbone.name, 2))
    load = View.from_dict(read_description(folder / "run" / "backbone.pt")).stored()
    images = torch.stack([load(item)["image"] for split in SPLITS for item in datalist.items(split)])
    features: list[torch.Tensor] = []

    def run() -> None:
        with torch.no_grad(), torch.autocast(DEVICE.type, enabled=DEVICE.type == "cuda"):
            for batch in images.split(BATCH):
                features.append(backbone.pool(backbone(batch.to(DEVICE))).float().cpu())

    with torch.no_grad():
        backbone(images[:BATCH].to(DEVICE))  # warm
    taken = measured(run)
    return taken, torch.cat(features).numpy()


def whole(folder: Path) -> tuple[tuple[float, float], np.ndarray]:
    """The command: what it took, and the features."""
    set_start_method("fork", force=True)  # as in a command; a process that was spawned would spawn its loaders, too
    taken = measured(lambda: embed(folder / "run", folder / "data", folder / "out", batch_size=BATCH))
    return taken, np.load(folder / "out" / "features.npz")["features"]


def main() -> None:
    options = parser(__doc__, 3)
    options.add_argument("--count", type=int, default=2000, help="images (default: 2000)")
    options.add_argument("--side", type=int, default=128, help="of them, in pixels (default: 128)")
    given = options.parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "what": lambda row: row["what"],
        "images a second": lambda row: f"{row['rate']:.0f}",
        "time over the bare network's (quartiles)": ratio_cell,
        "time on the processors over its (quartiles)": lambda row: ratio_cell(row["processors"]),
        "throughput over its": lambda row: f"{1 / row['ratio']:.2f}",
    }
    what = f"{given.count} radiographs of {given.side} × {given.side}, ResNet-18, mini-batches of {BATCH}"
    text = f"{what}, {given.repeats} turns, medians."
    result = Result(given, "embed", "What medssl embed adds to the bare network", text, columns)
    alone = "the bare network"
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared(folder, given.count, given.side)
        calls = {
            alone: (bare, folder, False),
            "the bare network in the layout of training": (bare, folder, True),
            "medssl embed": (whole, folder),
        }
        for _ in range(given.repeats):
            features: dict[str, np.ndarray] = {}
            for what, call in calls.items():
                taken, features[what] = in_fresh_process(*call)
                times.setdefault(what, []).append(taken)
                close = {"rtol": 1e-3, "atol": 2e-2 if DEVICE.type == "cuda" else 1e-4}
                np.testing.assert_allclose(features[what], features[alone], **close)
    busy = "; ".join(f"{load:.1f}" for load in os.getloadavg())
    result.notes.append(
        f"Load of the machine at the end, over 1, 5 and 15 minutes: {busy} (others used it where above 2)."
    )
    base = np.array(times[alone])
    for what, pairs in times.items():
        wall, processors = (compare(np.array(pairs)[:, place], base[:, place]) for place in (0, 1))
        result.add(what=what, **wall, processors=processors, rate=1000 * given.count / wall["milliseconds"])


if __name__ == "__main__":
    main()
