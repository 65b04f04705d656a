"""What does a step of a training for segmentation cost, over the bare network's?

The step of `bundles/segment` (augmentation of images and masks, targets from bits, Dice and cross-entropy over what is
known, clipped gradients, AdamW) and the network's own (forward and backward pass of the same images, the mean for a
loss, and AdamW) take turns. `python benchmarks/segmentation_step.py` writes `results/segmentation_step.json` and `.md`
beside this file.
"""

from collections.abc import Callable
from typing import Any

import torch
from measuring import DEVICE, Result, compare, parser, ratio_cell, take_turns
from torch import Tensor, nn

from medssl.losses import SegmentationLoss
from medssl.networks import build_segmenter, fast_layout
from medssl.phantoms.batch import draw_batch
from medssl.training import PrepareSegmented, build_optimizer
from medssl.transforms import ClinicalAugmentation

SIZES = {(192, 192): (4, 32), (64, 64, 64): (1, 4)}
"""Images a step, on the CPU and on CUDA."""
CLASSES = ["one", "two", "both", "other"]


def step(
    network: nn.Module, images: Callable[[], tuple[Tensor, Any]], loss: Callable[..., Tensor], clip: float
) -> None:
    """One step, as MONAI's trainer makes it; the optimizer's state is kept with the network."""
    inputs, targets = images()
    optimizer = network.optimizer
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda"):
        outputs = network(inputs)
    loss(outputs, targets).backward()
    if clip:
        nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()


def main() -> None:
    options = parser(__doc__, 5)
    options.add_argument("--architectures", nargs="+", default=["resnet18"])
    chosen = options.parse_args()
    columns: dict[str, Callable[[Any], str]] = {
        "backbone": lambda row: row["architecture"],
        "images": lambda row: row["images"],
        "step, ms": lambda row: f"{row['milliseconds']:.0f}",
        "ratio to the bare network": ratio_cell,
    }
    text = (
        f"Four classes, of which one contains two; {chosen.repeats} turns, medians, quartiles of the ratio in brackets."
    )
    result = Result(chosen, "segmentation_step", "The cost of a training step for segmentation", text, columns)
    for name in chosen.architectures:
        for size, counts in SIZES.items():
            images = draw_batch(size, counts[DEVICE.type == "cuda"]).to(DEVICE)
            bits = torch.randint(0, 16, images.shape, dtype=torch.uint8, device=DEVICE)
            outlined = torch.tensor([[1.0, 1, 0, 0]] * len(images), device=DEVICE)
            prepare = PrepareSegmented(CLASSES, {"both": ["one", "two"]}, ClinicalAugmentation())
            batch = {"image": images, "mask": bits, "outlined": outlined}
            network = build_segmenter(name, len(size), 1, len(CLASSES))
            network = network.to(DEVICE, memory_format=fast_layout(name, len(size)))
            network.optimizer = build_optimizer(network, "adamw", 1e-5, 1e-4, backbone_rate=1.0)
            runs = {
                "training": lambda network=network, prepare=prepare, batch=batch: step(
                    network, lambda: prepare(batch, DEVICE), SegmentationLoss(), 1.0
                ),
                "bare": lambda network=network, images=images: step(
                    network, lambda: (images, None), lambda outputs, _: outputs.float().mean(), 0.0
                ),
            }
            times = take_turns(runs, chosen.repeats)
            sides = f"{len(images)} of {' × '.join(map(str, size))}"
            result.add(architecture=name, images=sides, **compare(times["training"], times["bare"]))
    result.write()


if __name__ == "__main__":
    main()
