"""The mini-batches of a fine-tuning: every labelled image in each epoch, and changed a little each time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Sampler

from .steps import prepare_labelled


def split_evenly_enough(order: Sequence[int] | Tensor, batch_size: int) -> list[Any]:
    """Mini-batches of all that stands in an order, none of one alone but where `batch_size` is 1 or there is only one.

    A lone last one goes into the mini-batch before: batch normalisation learns nothing from a single image, and fails
    where its map has one voxel.

    Args:
        order: a sequence or a tensor `[N]`.
        batch_size: of each mini-batch but the last, which has fewer or one more.

    Returns:
        Pieces of the order, of its own type.
    """
    ends = list(range(batch_size, len(order), batch_size))
    if batch_size > 1 and ends and len(order) - ends[-1] == 1:
        ends.pop()
    return [order[start:end] for start, end in zip([0, *ends], [*ends, len(order)], strict=True)]


class EveryImage(BatchSampler):
    """The batch sampler of a loader that leaves out no image in any epoch, see `split_evenly_enough`.

    Args:
        sampler: gives the order of an epoch; torch's ``RandomSampler`` or ``DistributedSampler``.
        batch_size: images of a mini-batch.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)

    def __iter__(self) -> Iterator[list[int]]:
        yield from map(list, split_evenly_enough(list(self.sampler), self.batch_size))

    def __len__(self) -> int:
        return len(split_evenly_enough(range(len(self.sampler)), self.batch_size))  # type: ignore[arg-type]


class PrepareAugmented:
    """As `medssl.training.prepare_labelled`, and the images changed at random on their device, all in one call.

    Args:
        augmentation: from images `[B, C, *spatial]` to such, as a `medssl.transforms.BatchAugmentation`.
    """

    def __init__(self, augmentation: Callable[[Tensor], Tensor]) -> None:
        self.augmentation = augmentation

    def __call__(
        self,
        batch: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Images `[B, C, *spatial]`, changed, and labels `[B, K]` (1, 0, NaN) on the device."""
        images, labels = prepare_labelled(batch, device, non_blocking, **kwargs)
        return self.augmentation(images), labels
