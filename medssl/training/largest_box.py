"""The largest box of a volume with which a training step fits into the memory of a GPU, found by trial steps.

Such a step is one of the training that is wanted: its network, losses, optimizer, mini-batch and precision.
"""

import gc
import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.transforms import StoredImage

from .mixed_precision import MixedPrecision
from .optimizing import build_optimizer

logger = logging.getLogger(__name__)

LARGEST = "largest"
"""What `image_size` is for this."""
PARTS = 8
"""Sizes are tried in so many steps from one to its double."""
UNIT = 16
"""Sides are multiples of it, for maps of whole voxels."""
SPARE = 0.9
"""Share of the free memory that a step may take: the sizes of a training's tensors are not always the same."""
Size = tuple[int, ...]


class TrialStep:
    """Whether a training step with boxes of a size fits into the memory of a GPU.

    Args:
        build: gives the network for boxes of a size.
        loss: of what the network gives.
        batch_size: boxes of a mini-batch.
        device: to try it on.
        amp: whether the training computes in 16 bits.
        optimizer_name: of the training, see `build_optimizer`.
    """

    def __init__(
        self,
        build: Callable[[Size], nn.Module],
        loss: Callable[[Any], Tensor],
        batch_size: int,
        device: torch.device | str,
        amp: bool = False,
        optimizer_name: str = "adamw",
    ) -> None:
        self.build, self.loss, self.batch_size = build, loss, batch_size
        self.device, self.amp, self.optimizer_name = torch.device(device), amp, optimizer_name

    def __call__(self, size: Size) -> bool:
        """Whether a step with boxes ``[batch_size, 1, *size]`` fits; what it takes is given back, random numbers too.

        Raises:
            UserError: the device is no GPU, or one of several.
        """
        if self.device.type != "cuda":
            raise UserError(
                f"--image_size {LARGEST} tries how large a box fits into the memory of a GPU, and this run is on "
                f"{self.device}: name its sides, such as --image_size 96,96,96, or leave it out."
            )
        if idist.get_world_size() > 1:
            raise UserError(
                f"--image_size {LARGEST} is found on one GPU: begin the run on one, and give the others what it says."
            )
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        before, (free, _) = torch.cuda.memory_reserved(self.device), torch.cuda.mem_get_info(self.device)
        try:
            with torch.random.fork_rng(devices=[self.device]):
                self.step(size)
            return torch.cuda.max_memory_reserved(self.device) - before <= SPARE * free
        except torch.OutOfMemoryError:
            return False
        finally:
            gc.collect()
            torch.cuda.empty_cache()

    def step(self, size: Size) -> None:
        """Make the step, on whichever device."""
        network = self.build(size).to(self.device).train()
        optimizer = build_optimizer(network, self.optimizer_name)
        images = torch.randn(self.batch_size, 1, *size, device=self.device)
        self.loss(MixedPrecision(self.amp)(images, network)).backward()
        optimizer.step()


def mean_square(logits: Tensor | Sequence[Tensor]) -> Tensor:
    """A loss of logits, or of those of several levels, that costs about as much memory as one with targets."""
    levels = [logits] if isinstance(logits, Tensor) else logits
    return torch.stack([torch.sigmoid(level.float()).square().mean() for level in levels]).sum()


def largest_box(fits: Callable[[Size], bool], proposed: Sequence[int], largest: Sequence[int]) -> Size:
    """The largest box that fits, of about the proportions of the proposed one.

    Doubled until one does not fit, then halved between. Sides are multiples of `UNIT`, or the largest.

    Args:
        fits: whether a box of a size does.
        proposed: sides of the box that is tried first.
        largest: sides that it need not exceed, those of the volumes.

    Raises:
        UserError: none fits.
    """

    def size(parts: int) -> Size:
        grown = (max(1, round(side * parts / PARTS / UNIT)) * UNIT for side in proposed)
        return tuple(map(min, grown, largest))

    tried = cache(fits)  # several parts may give one size
    low, high = 0, PARTS
    while tried(size(high)):
        low, high = high, 2 * high
        if size(low) == tuple(largest):
            return size(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tried(size(middle)) else (low, middle)
    if not low:
        raise UserError(
            f"No box fits into the memory of the GPU, not even one of {' × '.join(map(str, size(1)))} voxels: give a "
            "smaller --batch_size, a smaller --architecture, or --checkpoint_activations True."
        )
    return size(low)


def choose_largest(trial: Callable[[Size], bool], items: Sequence[Any], proposed: Sequence[int]) -> Size:
    """The box for ``image_size: largest``: no larger than half of the volumes are along an axis; it is said.

    Args:
        trial: see `TrialStep`.
        items: of the training, whose `image` is a prepared file.
        proposed: the box that would be taken otherwise.

    Raises:
        UserError: see `TrialStep` and `largest_box`.
    """
    sides = np.median([StoredImage(item["image"]).shape for item in items], axis=0).astype(int).tolist()
    size = largest_box(trial, proposed, sides)
    logger.info(
        "The largest box that fits is %s voxels, instead of %s: to have it without a search, give --image_size %s.",
        " × ".join(map(str, size)),
        " × ".join(map(str, proposed)),
        ",".join(map(str, size)),
    )
    return size
