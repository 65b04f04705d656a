"""The average of weights over the steps, written out; what is frozen stays, in training too."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import build_classifier, output_layer
from medssl.training import AveragedWeights, ReseedEachEpoch, RunCheckpoint, freeze, prepare_labelled

State = dict[str, Tensor]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4, 2))


def train(
    folder: Path, epochs: int, decay: float, resume: bool = False, accumulate: int = 1
) -> tuple[AveragedWeights, list[State]]:
    """Five mini-batches an epoch; gives the network's own states before the first and after each mini-batch, too."""
    trained = network()
    averaged = AveragedWeights(trained, decay)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(1)
    items = [
        {"image": torch.randn(1, 4, 4, generator=generator), "label": torch.randn(2, generator=generator)}
        for _ in range(20)
    ]
    dataset = Dataset(items)
    states = {"network": trained, "optimizer": optimizer, "averaged": averaged}
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(dataset, batch_size=4, shuffle=True),
        network=trained,
        optimizer=optimizer,
        loss_function=nn.MSELoss(),
        prepare_batch=prepare_labelled,
        train_handlers=[ReseedEachEpoch(1, dataset), RunCheckpoint(folder, states, resume)],
        decollate=False,
        accumulation_steps=accumulate,
    )
    averaged.attach(trainer)
    seen = [copy.deepcopy(trained.state_dict())]
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(copy.deepcopy(trained.state_dict())))
    trainer.run()
    return averaged, seen


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_is_that_of_weights_and_statistics_over_the_steps(accumulate: int, tmp_path: Path) -> None:
    averaged, seen = train(tmp_path, 3, 0.5, accumulate=accumulate)
    expected, step = seen[0], 0
    for number, state in enumerate(seen[1:]):
        place = number % 5 + 1
        if place % accumulate and place != 5:
            continue
        step += 1
        decay = min(0.5, (1 + step) / (10 + step))
        expected = {
            name: decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value
            for name, value in state.items()
        }
    found = averaged.network.state_dict()
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)
    last = seen[-1]
    assert not torch.allclose(found["4.weight"], last["4.weight"])
    assert not torch.allclose(found["1.running_mean"], last["1.running_mean"])
    assert found["1.num_batches_tracked"] == last["1.num_batches_tracked"] > 0


def test_the_average_goes_on_to_the_bit_and_does_not_touch_the_training(tmp_path: Path) -> None:
    whole, seen = train(tmp_path / "whole", 4, 0.9)
    train(tmp_path / "halves", 2, 0.9)
    halves, _ = train(tmp_path / "halves", 4, 0.9, resume=True)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, halves.network.state_dict()[name])
    _, without = train(tmp_path / "without", 4, 0.0)
    assert all(torch.equal(seen[-1][name], without[-1][name]) for name in without[-1])


def test_without_an_average_there_is_the_network_itself(tmp_path: Path) -> None:
    trained = network()
    averaged = AveragedWeights(trained)
    assert averaged.network is trained
    assert averaged.state_dict() == {}
    # A run that had none may go on with one: it begins with the weights of that epoch.
    train(tmp_path, 1, 0.0)
    later, seen = train(tmp_path, 1, 0.9, resume=True)
    assert len(seen) == 1
    with pytest.raises(UserError, match="average"):
        AveragedWeights(trained, 1.0)
    assert torch.equal(later.network.state_dict()["4.weight"], later.trained.state_dict()["4.weight"])


@pytest.mark.parametrize("frozen", ["nothing", "norm", "backbone"])
@pytest.mark.parametrize("name", ["resnet10_quarter", "densenet121"])
def test_what_is_frozen_stays_as_it_is(frozen: str, name: str) -> None:
    model = freeze(build_classifier(name, 2, in_channels=1, num_classes=2), frozen)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()  # as a trainer does in each step
    images: Any = torch.randn(4, 1, 32, 32)
    model(images).square().sum().backward()
    optimizer.step()
    after = model.state_dict()
    statistics = {key for key in after if "running" in key or "num_batches" in key}
    head = {id(weight) for weight in output_layer(model).parameters()}
    names = {key: id(weight) in head for key, weight in model.named_parameters()}
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    assert bool(moved & statistics) == (frozen == "nothing")
    assert {key for key, of_head in names.items() if of_head} <= moved
    assert bool(moved & {key for key, of_head in names.items() if not of_head}) == (frozen != "backbone")


def test_another_word_is_refused() -> None:
    with pytest.raises(UserError, match="backbone"):
        freeze(network(), "all")
