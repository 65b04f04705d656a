"""Mini-batches that are too small for a task, found before the run."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from medssl.networks import build_backbone
from medssl.pretext import PretextModel, build_task
from medssl.training import check_batches


def model(*names: str) -> PretextModel:
    backbone = build_backbone("resnet18", 2, in_channels=3)
    return PretextModel(backbone, {name: build_task(name, backbone, (32, 32)) for name in names})


def loader(items: int, batch_size: int, drop_last: bool = False) -> DataLoader:
    return DataLoader(TensorDataset(torch.zeros(items)), batch_size=batch_size, drop_last=drop_last)


@pytest.mark.parametrize(
    ("items", "batch_size", "drop_last", "crops", "smallest"),
    [
        (8, 1, False, 1, 1),
        (9, 4, False, 1, 1),  # two full ones and a rest of one
        (1, 4, False, 1, 1),
        (1, 4, True, 1, 1),  # a loader without a full mini-batch
        (9, 4, True, 1, 4),
        (8, 4, False, 1, 4),
        (9, 4, False, 3, 3),  # three crops of the item that is left over
    ],
)
def test_the_smallest_mini_batch_of_an_epoch_counts(
    items: int, batch_size: int, drop_last: bool, crops: int, smallest: int
) -> None:
    check_batches(model("rotation", "jigsaw"), loader(items, batch_size, drop_last), crops)
    for name in ("rvrm", "simsiam", "simclr"):
        if smallest >= 2:
            check_batches(model("rotation", name), loader(items, batch_size, drop_last), crops)
        else:
            message = f"{name} needs at least 2 .*batch_size {batch_size} and {items} images.*smallest mini-batch has 1"
            with pytest.raises(ValueError, match=message):
                check_batches(model("rotation", name), loader(items, batch_size, drop_last), crops)
