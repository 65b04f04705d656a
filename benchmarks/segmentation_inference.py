"""What does a whole volume cost at inference: time beside MONAI's sliding windows, and memory at the largest size?

The same network, windows, overlap and Gaussian weights: `MaskInferer`, which decides slab by slab, and MONAI's
`SlidingWindowInferer` with a sigmoid and a threshold behind it, as MONAI's own examples have it, take turns. Memory is
the peak beyond the volume itself, each in a fresh process, with a network that has no weights to speak of.
`python benchmarks/segmentation_inference.py` writes `results/segmentation_inference.json` and `.md` beside this file.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measuring import DEVICE, Result, compare, in_fresh_process, parser, peak_megabytes, ratio_cell, take_turns
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from medssl.evaluation import MaskInferer
from medssl.evaluation.masks.mask_inferer import ORIGINAL, SEEN
from medssl.networks import build_segmenter
from medssl.transforms import Grid

WINDOW, OVERLAP, AT_ONCE = (96, 96, 32), 0.5, 4
SPEED, CLASSES = (160, 160, 80), 4
MEMORY = {(256, 256, 150): (4, 10, 60), (512, 512, 600): (10,)}
"""Volume → numbers of classes."""


def ours(classes: int) -> MaskInferer:
    return MaskInferer(WINDOW, classes, overlap=OVERLAP, at_once=AT_ONCE)


def monais() -> Callable[[Tensor, Any], Tensor]:
    windows = SlidingWindowInferer(WINDOW, AT_ONCE, OVERLAP, mode="gaussian")
    return lambda volume, network: windows(volume, network).sigmoid() > 0.5


def memory(size: tuple[int, ...], classes: int, whose: str) -> float:
    """Peak in MB beyond the volume."""
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)  # whose number does not matter here, and several wait for each other on a busy machine
    volume = torch.zeros(1, 1, *size, device=DEVICE)
    network = nn.Conv3d(1, classes, 1).to(DEVICE)
    inferer = ours(classes) if whose == "ours" else monais()
    # As from a file that has this very grid; of one that has another, masks are made there slab by slab, too.
    grid = Grid(size, np.eye(4))
    grids = {ORIGINAL: grid, SEEN: grid} if whose == "ours" else {}
    return peak_megabytes(lambda: inferer(volume, network, **grids))


def main() -> None:
    options = parser(__doc__, 3)
    options.add_argument("--architecture", default="resnet10_quarter")
    options.add_argument("--most", type=float, default=12, help="GB that MONAI's way may take; else it is left out")
    chosen = options.parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "volume": lambda row: row["volume"],
        "classes": lambda row: str(row["classes"]),
        "time, ms": lambda row: f"{row['milliseconds']:.0f}" if "ratio" in row else "",
        "ratio to MONAI's": lambda row: ratio_cell(row) if "ratio" in row else "",
        "memory, GB": lambda row: f"{row['gigabytes']:.2f}" if "gigabytes" in row else "",
        "MONAI's, GB": lambda row: f"{row['monai']:.2f}" if "monai" in row else "",
    }
    text = f"Windows of {' × '.join(map(str, WINDOW))}, overlap {OVERLAP}, {AT_ONCE} at once; {chosen.repeats} turns."
    result = Result(chosen, "segmentation_inference", "Masks of whole volumes", text, columns)
    with torch.no_grad():
        network = build_segmenter(chosen.architecture, 3, 1, CLASSES).to(DEVICE).eval()
        volume = torch.randn(1, 1, *SPEED, device=DEVICE)
        mine, theirs = ours(CLASSES), monais()
        bits = sum(
            each.to(torch.int64) << number for number, each in enumerate(theirs(volume, network)[0])
        )  # the same answer
        same = (mine(volume, network)[0].to(torch.int64) == bits).float().mean().item()
        runs = {"ours": lambda: mine(volume, network), "monai": lambda: theirs(volume, network)}
        times = take_turns(runs, chosen.repeats)
    result.add(volume=" × ".join(map(str, SPEED)), classes=CLASSES, **compare(times["ours"], times["monai"]))
    result.notes.append(f"Both give the same masks in {100 * same:.4f} % of the voxels.")
    for size, counts in MEMORY.items():
        for classes in counts:
            row = {"gigabytes": in_fresh_process(memory, size, classes, "ours") / 1000}
            if 3 * classes * 4 * torch.Size(size).numel() < chosen.most * 1e9:
                row["monai"] = in_fresh_process(memory, size, classes, "monai") / 1000
            result.add(volume=" × ".join(map(str, size)), classes=classes, **row)
    result.write()


if __name__ == "__main__":
    main()
