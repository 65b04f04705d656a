"""What a segmentation network says of a whole image: in overlapping windows, slab by slab, to bound memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import Inferer
from monai.transforms import NormalizeIntensity
from torch import Tensor

from medssl.errors import UserError
from medssl.losses import class_probabilities
from medssl.transforms import Grid, bits_torch_dtype, grid_of, to_original

from ..mirror_image import mean_with_mirror_image

ORIGINAL, SEEN = "original", "seen"
"""Names of the grids of an item, see `medssl.transforms.KeepGridd`."""
NARROW = 0.125
"""Width of the Gaussian by which windows are weighed, as a share of their side; MONAI's and nnU-Net's."""


class MaskInferer(Inferer):
    """The masks of one image, as bits on the grid of its file.

    A volume is seen in windows of the network's size that overlap, and their logits are blended with Gaussian weights,
    as by MONAI's ``SlidingWindowInferer`` and to the same values. That one holds C classes of the whole volume, which
    are 63 GB of 100 classes at 512 × 512 × 600. Here windows are taken layer by layer along the last axis, and logits
    leave as soon as no further window touches them: what is held are C classes (float32) of a layer, and the bits of
    what was decided. A radiograph is seen whole.

    Args:
        size: of the network's box; a radiograph's is seen whole.
        classes: number C of them.
        disjoint: whether a softmax with the background is over the classes, see `medssl.losses.class_probabilities`.
        exclusive: whether a voxel gets the most probable class only; it does where they are disjoint.
        overlap: share of a window's side by which it overlaps with the next.
        normalise: whether each window gets mean 0 and standard deviation 1, as boxes get in training where there is no
            window of HU.
        mirror: whether the mean with the mirror image counts, see `mean_with_mirror_image`. It doubles the time.
        at_once: windows that pass through the network together.
        threshold: probability above which a class is there.

    Raises:
        UserError: for an overlap or a threshold that means nothing.
    """

    def __init__(
        self,
        size: Sequence[int],
        classes: int,
        disjoint: bool = False,
        exclusive: bool = False,
        overlap: float = 0.5,
        normalise: bool = False,
        mirror: bool = False,
        at_once: int = 4,
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 <= overlap < 1 or not 0 < threshold < 1:
            raise UserError(
                f"overlap {overlap!r} must be from 0 to below 1, and threshold {threshold!r} between 0 and 1."
            )
        self.size = tuple(int(side) for side in size)
        self.classes, self.disjoint, self.exclusive = classes, disjoint, exclusive or disjoint
        self.overlap, self.mirror, self.at_once, self.threshold = overlap, mirror, at_once, threshold
        self._normalise = NormalizeIntensity(channel_wise=True) if normalise else None

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Bits ``[1, *original]``, class c bit c, of one image ``[1, 1, *seen]``.

        The keyword arguments `ORIGINAL` and `SEEN` say where its voxels lie; without them the bits lie where it was
        seen. Further arguments are the network's.
        """
        here = Grid(tuple(inputs.shape[2:]))
        seen, original = kwargs.pop(SEEN, here), kwargs.pop(ORIGINAL, here)

        def logits_of(images: Tensor) -> Tensor:
            logits: Tensor = network(images, *args, **kwargs).float()
            return logits

        def see(images: Tensor) -> Tensor:
            images = self._normalised(images)
            return mean_with_mirror_image(logits_of, images, maps=True) if self.mirror else logits_of(images)

        slabs = ((first, class_probabilities(each, self.disjoint)[0]) for first, each in self.slabs(inputs, see))
        dtype = bits_torch_dtype(self.classes)
        return to_original(slabs, seen, original, self.decide, dtype, inputs.device)[None]

    def slabs(self, inputs: Tensor, network: Callable[[Tensor], Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Logits of an image ``[1, 1, *spatial]``, slab by slab along the last axis, each with its first slice."""
        if len(self.size) == 2:
            yield 0, network(inputs).float()
            return
        shape = inputs.shape[2:]
        size = [min(side, whole) for side, whole in zip(self.size, shape, strict=True)]
        steps = [
            max(1, int(side * (1 - self.overlap))) if side < whole else side
            for side, whole in zip(size, shape, strict=True)
        ]
        windows = dense_patch_slices(shape, size, steps)
        layers = sorted({window[-1].start for window in windows})
        weights = compute_importance_map(tuple(size), "gaussian", NARROW, inputs.device, torch.float32)
        held = total = inputs.new_zeros(0)  # weighted logits [C, X, Y, depth] from slice `first` on, and their weights
        first = 0
        for number, start in enumerate(layers):
            for several in _in_parts([window for window in windows if window[-1].start == start], self.at_once):
                logits = network(torch.cat([inputs[(slice(None), slice(None), *window)] for window in several])).float()
                if not len(held):
                    held, total = logits.new_zeros(logits.shape[1], *shape[:2], 0), weights.new_zeros(*shape[:2], 0)
                if (missing := start + size[-1] - first - held.shape[-1]) > 0:
                    held, total = (F.pad(each, (0, missing)) for each in (held, total))
                for window, each in zip(several, logits, strict=True):
                    place = (*window[:2], slice(start - first, start + size[-1] - first))
                    held[(slice(None), *place)] += weights * each
                    total[place] += weights
            end = layers[number + 1] if number + 1 < len(layers) else shape[-1]
            yield first, (held[..., : end - first] / total[..., : end - first])[None]
            held, total, first = held[..., end - first :], total[..., end - first :], end

    def decide(self, probabilities: Tensor) -> Tensor:
        """Bits ``[…]`` of probabilities ``[C, …]``."""
        dtype = bits_torch_dtype(self.classes)
        bits = torch.zeros(probabilities.shape[1:], dtype=dtype, device=probabilities.device)
        if not self.exclusive:
            for number, each in enumerate(probabilities):
                bits |= (each > self.threshold).to(dtype) << number
            return bits
        best, which = probabilities.max(dim=0)
        there = best > (1 - probabilities.sum(dim=0) if self.disjoint else self.threshold)
        one = torch.ones((), dtype=dtype, device=bits.device)
        return torch.where(there, one << which.to(dtype), bits)

    def _normalised(self, images: Tensor) -> Tensor:
        if self._normalise is None:
            return images
        # Each window by itself; MONAI normalises in place, and a window may be part of the volume.
        return torch.as_tensor(self._normalise(images[:, 0].clone()))[:, None]


def prepare_with_grids(
    batch: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, None, tuple[()], dict[str, Grid]]:
    """A MONAI ``prepare_batch``: the image on the device and, for `MaskInferer`, its grids, unless it is unusable."""
    image = batch["image"].to(device, non_blocking=non_blocking)
    usable = f"{ORIGINAL}_shape" in batch
    return image, None, (), {name: grid_of(batch, name) for name in (ORIGINAL, SEEN)} if usable else {}


def _in_parts(windows: Sequence[tuple[slice, ...]], count: int) -> Iterator[Sequence[tuple[slice, ...]]]:
    return (windows[start : start + count] for start in range(0, len(windows), count))
