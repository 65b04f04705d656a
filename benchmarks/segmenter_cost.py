"""What does a step of a network for segmentation cost, over the bare backbone's on the same images?

Forward and backward pass, without the optimiser, in the memory layout of the bundles, with the default decoder and with
others. The network and the bare backbone take turns. `python benchmarks/segmenter_cost.py` writes
`results/segmenter_cost.json` and `.md` beside this file.
"""

from collections.abc import Callable
from typing import Any

import torch
from measuring import DEVICE, Result, compare, parser, ratio_cell, take_turns
from torch import Tensor, nn

from medssl.networks import build_backbone, build_segmenter, fast_layout
from medssl.phantoms.batch import draw_batch

SIZES = {(192, 192): (2, 32), (64, 64, 64): (1, 4)}
"""Images a step, on the CPU and on CUDA."""
DECODERS: dict[str, dict[str, Any]] = {
    "default": {},
    "half of the channels": {"decoder_channels": (128, 64, 32, 16, 8)},
    "two coarser outputs": {"deep_supervision": 2},
}


def step(network: nn.Module, images: Tensor) -> Callable[[], None]:
    """Forward and backward."""

    def run() -> None:
        network.zero_grad()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda"):
            outputs = network(images)
            loss = sum(each.mean() for each in (outputs if isinstance(outputs, list) else [outputs]))
        assert isinstance(loss, Tensor)
        loss.backward()

    return run


def main() -> None:
    options = parser(__doc__, 5)
    options.add_argument("--architectures", nargs="+", default=["resnet18", "densenet121"])
    chosen = options.parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "backbone": lambda row: row["architecture"],
        "images": lambda row: row["images"],
        "decoder": lambda row: row["decoder"],
        "channels, coarse to fine": lambda row: ", ".join(map(str, row["channels"])),
        "weights, over the backbone's": lambda row: f"{row['weights']:.2f}",
        "step, ms": lambda row: f"{row['milliseconds']:.0f}",
        "ratio to the bare backbone": ratio_cell,
    }
    text = f"Forward and backward, three classes; {chosen.repeats} turns, medians, quartiles of the ratio in brackets."
    title = "The cost of a step of a network for segmentation"
    result = Result(chosen, "segmenter_cost", title, text, columns)
    for name in chosen.architectures:
        for size, counts in SIZES.items():
            images = draw_batch(size, counts[DEVICE.type == "cuda"]).to(DEVICE)
            where: dict[str, Any] = {"device": DEVICE, "memory_format": fast_layout(name, len(size))}
            backbone = build_backbone(name, len(size)).to(**where)
            for decoder, values in DECODERS.items():
                segmenter = build_segmenter(name, len(size), 1, 3, **values).to(**where)
                runs = {"segmenter": step(segmenter, images), "bare": step(backbone, images)}
                times = take_turns(runs, chosen.repeats)
                heavy, light = (sum(w.numel() for w in each.parameters()) for each in (segmenter, backbone))
                result.add(
                    architecture=name,
                    images=f"{len(images)} of {' × '.join(map(str, size))}",
                    decoder=decoder,
                    channels=list(segmenter.decoder.decoder_channels),
                    weights=heavy / light,
                    **compare(times["segmenter"], times["bare"]),
                )
    result.write()


if __name__ == "__main__":
    main()
