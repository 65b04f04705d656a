"""Every labelled image is seen in every epoch, none alone; what is changed at random is the images of training only."""

from itertools import chain
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from medssl.training import EveryImage, PrepareAugmented
from medssl.training.batches import split_evenly_enough


def slow(count: int, batch_size: int) -> list[list[int]]:
    """One image after the other into the last mini-batch while there is room, and then a lone one moves over."""
    batches: list[list[int]] = [[]]
    for number in range(count):
        if len(batches[-1]) == batch_size:
            batches.append([])
        batches[-1].append(number)
    if len(batches) > 1 and len(batches[-1]) == 1 and batch_size > 1:
        lone = batches.pop()
        batches[-1] += lone
    return batches


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", range(1, 20))
def test_every_image_is_in_one_mini_batch_and_none_is_alone(count: int, batch_size: int) -> None:
    found = [list(part) for part in split_evenly_enough(range(count), batch_size)]
    assert found == slow(count, batch_size)
    if count > 1 and batch_size > 1:
        assert min(map(len, found)) >= 2
    assert [part.tolist() for part in split_evenly_enough(torch.arange(count), batch_size)] == found  # type: ignore[arg-type,attr-defined]


def test_the_loader_of_a_fine_tuning_leaves_no_image_out() -> None:
    # With drop_last, 160 images in batches of 64 lost a fifth of them in every epoch.
    images = TensorDataset(torch.arange(160))
    loader: Any = DataLoader(images, batch_sampler=EveryImage(RandomSampler(images), 64))
    torch.manual_seed(1)
    epochs = [[batch.tolist() for (batch,) in loader] for _ in range(2)]
    assert [len(batch) for batch in epochs[0]] == [64, 64, 32]
    assert len(loader) == 3
    assert [sorted(chain.from_iterable(epoch)) for epoch in epochs] == [list(range(160))] * 2
    assert epochs[0] != epochs[1]


def test_images_are_changed_and_labels_are_not() -> None:
    batch = {"image": torch.ones(2, 1, 4, 4), "label": torch.tensor([[1.0, 0.0], [float("nan"), 1.0]])}
    images, labels = PrepareAugmented(lambda images: images + 1)(batch, torch.device("cpu"))
    assert torch.equal(images, torch.full((2, 1, 4, 4), 2.0))
    torch.testing.assert_close(labels, batch["label"], equal_nan=True)
