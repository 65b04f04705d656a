"""Where bfloat16 is wrong on a processor: weight gradients of convolutions drawn at random, beside those in 32 bits.

Each is computed from the same rounded input and output gradient in both precisions; wrong is what is not finite or has
a cosine below 0.95. They run in processes of `CHUNK`, for some end the process (glibc fills freed memory, so that what
is left unwritten shows). `python benchmarks/bfloat16_convolutions.py` writes `results/bfloat16_convolutions.json`; a
minute on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from environment import environment

CHUNK = 50
LEAST_COSINE = 0.95
RESULT = Path(__file__).parent / "results" / "bfloat16_convolutions.json"


def is_wrong(seed: int, spans: bool) -> bool:
    """Draw a convolution whose kernel (of more than 1) is as long as its map along an axis, or along none; compare."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, *shape: int) -> list[int]:
        return torch.randint(low, high + 1, shape, generator=generator).tolist()

    while True:
        (axes,), channels, (stride,) = draw(2, 3, 1), draw(1, 64, 2), draw(1, 2, 1)
        sides, kernel = draw(1, 12, axes), [2 * half + 1 for half in draw(0, 3, axes)]
        if any(k >= max(side, 2) for k, side in zip(kernel, sides, strict=True)) is spans:
            break
    images = torch.randn(4, channels[0], *sides, generator=generator).bfloat16()
    weight = torch.randn(channels[1], channels[0], *kernel, generator=generator).bfloat16()
    convolve = F.conv2d if axes == 2 else F.conv3d
    padding = [k // 2 for k in kernel]
    gradients, arrived = [], None
    for dtype in (torch.bfloat16, torch.float32):
        leaf = weight.to(dtype).requires_grad_()
        output = convolve(images.to(dtype), leaf, stride=stride, padding=padding)
        if arrived is None:
            arrived = torch.randn(output.shape, generator=generator).bfloat16()
        gradients.append(torch.autograd.grad(output, leaf, arrived.to(dtype))[0].flatten().double())
    half, full = gradients
    return not bool(half @ full / (half.norm() * full.norm()) > LEAST_COSINE)  # NaN, too


def count(spans: bool, draws: int) -> dict[str, Any]:
    """How many of so many draws are wrong, and how many chunks ended their process."""
    found: dict[str, Any] = {"convolutions": 0, "wrong": 0, "processes that ended": 0}
    for first in range(0, draws, CHUNK):
        words = [sys.executable, __file__, "--chunk", str(first), *(["--spans"] if spans else [])]
        environ = {**os.environ, "MALLOC_PERTURB_": "165"}
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
        told = done.stdout.split()
        found["convolutions"] += len(told)
        found["wrong"] += told.count("wrong")
        found["processes that ended"] += done.returncode < 0
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--chunk", type=int)
    parser.add_argument("--spans", action="store_true")
    options = parser.parse_args()
    if options.chunk is not None:
        for seed in range(options.chunk, options.chunk + CHUNK):
            print("wrong" if is_wrong(seed, options.spans) else "right", flush=True)
        return
    kinds = {"kernel as long as its map along an axis": True, "every kernel shorter than its map": False}
    found = {name: count(spans, options.draws) for name, spans in kinds.items()}
    content = {**environment(), "isa": os.environ.get("ONEDNN_MAX_CPU_ISA", "default"), "found": found}
    RESULT.write_text(json.dumps(content, indent=2) + "\n")
    print(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
