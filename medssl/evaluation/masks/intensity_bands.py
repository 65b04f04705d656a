"""A trivial result to hold beside every segmentation: the grey values of a class, and nothing of its shape or place."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class IntensityBands:
    """Masks by two thresholds a class.

    Attributes:
        low: ``[C]``, the least value of each class; infinite where none was found.
        high: ``[C]``, the value from which on it is none.
        dice: ``[C]``, what they reach on all known voxels of the training images together; NaN for a class without.
    """

    low: Tensor
    high: Tensor
    dice: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Images ``[B, 1, *spatial]`` → masks ``[B, C, *spatial]`` (bool)."""
        low, high = (limit.to(images).view(-1, *[1] * (images.ndim - 2)) for limit in (self.low, self.high))
        return (images >= low) & (images < high)


def threshold_baseline(
    training: Iterable[tuple[Tensor, Tensor]], bins: int = 512, limits: tuple[float, float] = (-4.0, 4.0)
) -> IntensityBands:
    """The band of grey values of each class that has the largest Dice on the training images' known voxels.

    One band has a threshold below, one above, or both: dark organs as well as bright ones, and those between.

    Args:
        training: gives images ``[B, 1, *spatial]`` and targets ``[B, C, *spatial]`` of 1, 0 and NaN (unknown), once.
        bins: thresholds lie on a grid of so many steps.
        limits: of the grid; what lies beyond counts as its first or last step. A view gives values of −1 to 1, or of
            mean 0 and standard deviation 1.
    """
    counts: Tensor | None = None
    low, high = limits
    for images, targets in training:
        step = ((images - low) * (bins / (high - low))).clamp(0, bins - 1).long()
        classes = torch.arange(targets.shape[1], device=targets.device).view(-1, *[1] * (targets.ndim - 2))
        cell = (2 * classes + (targets == 1)) * bins + step
        found = torch.bincount(cell[targets.isfinite()], minlength=2 * bins * len(classes)).cpu()
        counts = found if counts is None else counts + found
    if counts is None:
        raise ValueError("There are no training images.")
    # [C, absent or present, bins + 1]: how many voxels lie below each edge; differences are those between two edges.
    below = torch.nn.functional.pad(counts.view(-1, 2, bins).cumsum(dim=2), (1, 0)).double()
    between = (below[..., None, :] - below[..., None]).clamp(min=0)
    dice = 2 * between[:, 1] / (between.sum(dim=1) + below[:, 1, -1, None, None])
    best, place = dice.nan_to_num(-1).flatten(1).max(dim=1)
    edges = torch.linspace(low, high, bins + 1)
    edges[0], edges[-1] = -torch.inf, torch.inf
    occurs = below[:, 1, -1] > 0
    return IntensityBands(
        low=torch.where(occurs, edges[place // (bins + 1)], torch.inf),
        high=torch.where(occurs, edges[place % (bins + 1)], torch.inf),
        dice=torch.where(occurs, best, torch.nan).float(),
    )
