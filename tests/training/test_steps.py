"""Mini-batches that are too small for a task, found before the run; and every weight learns at its own rate."""

import pytest
import torch
from families import FAMILIES, QUICK, slow_but
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from medssl.errors import UserError
from medssl.networks import build_backbone, build_classifier, output_layer
from medssl.pretext import PretextModel, build_task
from medssl.training import check_batches, check_crops, parameter_groups


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


def test_a_task_that_pairs_crops_of_a_volume_sees_two() -> None:
    backbone = build_backbone("resnet10_quarter", 3)
    pairs = PretextModel(backbone, {"byol": build_task("byol", backbone, (16, 16, 16), positives="volume")})
    check_crops(pairs, 2)
    check_crops(model("rotation", "simclr"), 1)
    with pytest.raises(UserError, match=r"byol pairs crops .*set --crops_per_volume 2"):
        check_crops(pairs, 1)


@pytest.mark.parametrize("name", slow_but(QUICK, FAMILIES))
def test_a_step_moves_the_backbone_by_its_share_of_the_rate(name: str) -> None:
    network = build_classifier(name, 2, in_channels=1, num_classes=3)
    before = [weight.detach().clone() for weight in network.parameters()]
    optimizer = torch.optim.SGD(parameter_groups(network, learning_rate=0.5, backbone_rate=0.1), lr=0.5)
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    head = {id(weight) for weight in output_layer(network).parameters()}
    assert len(head) == 2
    for weight, old in zip(network.parameters(), before, strict=True):
        moved = 0.5 if id(weight) in head else 0.05
        torch.testing.assert_close(old - weight.detach(), torch.full_like(old, moved), rtol=1e-4, atol=1e-6)


def test_a_rate_of_one_is_plain_training() -> None:
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers = [
        torch.optim.Adam(networks[0].parameters(), lr=0.01),
        torch.optim.Adam(parameter_groups(networks[1], 0.01), lr=0.01),
    ]
    images = torch.randn(5, 4)
    for network, optimizer in zip(networks, optimizers, strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            network(images).square().sum().backward()
            optimizer.step()
    assert torch.equal(networks[0](images), networks[1](images))


@pytest.mark.parametrize("rate", [0, -0.1])
def test_a_backbone_that_should_not_learn_is_another_mix_in(rate: float) -> None:
    with pytest.raises(ValueError, match=r"backbone_rate must be above 0.*linear_probe\.yaml"):
        parameter_groups(nn.Linear(2, 2), 0.1, rate)
