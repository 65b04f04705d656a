"""The rate of every step, its gradient and its optimizer, written out; interrupted runs end as others do."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import build_classifier, build_segmenter, output_layer
from medssl.training import (
    ClipGradients,
    EndAfterSteps,
    RateSchedule,
    ReseedEachEpoch,
    RunCheckpoint,
    build_optimizer,
    count_epochs,
    prepare_labelled,
)

BATCHES = 5


class Training:
    """A tiny training whose rates are written down: five mini-batches of two images an epoch."""

    def __init__(
        self,
        folder: Path,
        epochs: int = 4,
        steps: int = 0,
        accumulate: int = 1,
        resume: bool = False,
        clip: float = 0.0,
        schedule: str = "cosine",
        rate: float = 0.1,
        name: str = "adam",
    ) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Dropout(0.3), nn.Linear(3, 2))
        self.optimizer = build_optimizer(self.network, name, rate, backbone_rate=0.5)
        generator = torch.Generator().manual_seed(1)
        items = [
            {"image": torch.randn(1, 4, generator=generator), "label": torch.randn(2, generator=generator)}
            for _ in range(2 * BATCHES)
        ]
        dataset = Dataset(items)
        loader = DataLoader(dataset, batch_size=2, shuffle=True)
        self.rates: list[list[float]] = []
        self.gradients: list[float] = []
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=count_epochs(epochs, steps, loader, accumulate),
            train_data_loader=loader,
            network=self.network,
            optimizer=self.optimizer,
            loss_function=nn.MSELoss(),
            prepare_batch=prepare_labelled,
            train_handlers=[
                ReseedEachEpoch(3, dataset),
                RateSchedule(self.optimizer, schedule, 0.25, steps),
                ClipGradients(self.optimizer, clip),
                EndAfterSteps(steps),
                RunCheckpoint(folder, {"network": self.network, "optimizer": self.optimizer}, resume),
            ],
            decollate=False,
            optim_set_to_none=True,
            accumulation_steps=accumulate,
        )
        self.optimizer.register_step_pre_hook(self.write_down)

    def write_down(self, *_: Any) -> None:
        self.rates.append([group["lr"] for group in self.optimizer.param_groups])
        norms = [weight.grad.norm() for weight in self.network.parameters() if weight.grad is not None]
        self.gradients.append(float(torch.stack(norms).norm()))

    def run(self) -> "Training":
        self.trainer.run()
        return self

    def weights(self) -> Tensor:
        return torch.cat([weight.detach().flatten() for weight in self.network.parameters()])


def expected_rates(total: int, first: int = 0, warmup: float = 0.25) -> list[float]:
    """Shares of the highest rate: a line from one part of the warm-up to the whole, then half a cosine."""
    rising = round(warmup * total)
    up = [1 / rising + (1 - 1 / rising) * step / rising for step in range(rising)]
    down = [(1 + math.cos(math.pi * step / (total - rising))) / 2 for step in range(total - rising)]
    return [*up, *down][first:]


@pytest.mark.parametrize(("epochs", "steps", "accumulate"), [(4, 0, 1), (4, 0, 2), (9, 13, 1), (9, 10, 2), (9, 5, 1)])
def test_each_step_has_the_rate_of_warm_up_and_cosine(epochs: int, steps: int, accumulate: int, tmp_path: Path) -> None:
    training = Training(tmp_path, epochs, steps, accumulate).run()
    total = steps or epochs * math.ceil(BATCHES / accumulate)
    assert len(training.rates) == total
    for group, highest in enumerate((0.1, 0.05)):
        found = [rates[group] for rates in training.rates]
        assert found == pytest.approx([highest * share for share in expected_rates(total)])


def test_constant_is_what_it_is_without_a_schedule(tmp_path: Path) -> None:
    assert Training(tmp_path, schedule="constant").run().rates == [[0.1, 0.05]] * 4 * BATCHES


@pytest.mark.parametrize(
    ("steps", "accumulate", "epochs", "made"),
    [(13, 1, 3, 13), (15, 1, 3, 15), (1, 1, 1, 1), (7, 2, 3, 7), (16, 1, 4, 16), (4, 5, 4, 4)],
)
def test_a_training_in_steps_makes_so_many(steps: int, accumulate: int, epochs: int, made: int, tmp_path: Path) -> None:
    training = Training(tmp_path, 77, steps, accumulate)
    seen: list[int] = []
    training.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: seen.append(engine.state.epoch))
    training.run()
    assert len(training.rates) == made
    assert seen == list(range(1, epochs + 1))  # each is validated and kept, the last, short one, too
    content = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert content["epoch"] == epochs


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_that_is_cut_off_ends_to_the_bit_as_one_that_was_not(name: str, accumulate: int, tmp_path: Path) -> None:
    values: dict[str, Any] = {"steps": 11, "accumulate": accumulate, "clip": 0.5, "name": name}
    whole = Training(tmp_path / "whole", **values).run()
    cut = Training(tmp_path / "cut", **values)
    cut.trainer.add_event_handler(Events.EPOCH_STARTED(once=3), cut_off)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    resumed = Training(tmp_path / "cut", resume=True, **values).run()
    assert torch.equal(whole.weights(), resumed.weights())
    assert whole.rates[-len(resumed.rates) :] == resumed.rates
    assert (tmp_path / "whole" / "checkpoints" / "last.pt").read_bytes() == (
        tmp_path / "cut" / "checkpoints" / "last.pt"
    ).read_bytes()


def cut_off() -> None:
    raise KeyboardInterrupt


def test_a_run_that_goes_on_for_longer_takes_the_rates_of_the_longer_one(tmp_path: Path) -> None:
    # A scheduler out of the checkpoint would bring its horizon of 10 steps back, and rise again after it.
    assert Training(tmp_path, 2).run().rates[-1][0] < 0.01
    longer = Training(tmp_path, 4, resume=True).run()
    assert [rates[0] for rates in longer.rates] == pytest.approx(
        [0.1 * share for share in expected_rates(4 * BATCHES, first=2 * BATCHES)]
    )


def test_a_rate_and_a_schedule_that_were_changed_are_taken(tmp_path: Path) -> None:
    Training(tmp_path, 2).run()
    assert Training(tmp_path, 3, resume=True, schedule="constant", rate=0.01).run().rates == [[0.01, 0.005]] * BATCHES
    found = [rates[0] for rates in Training(tmp_path, 4, resume=True, rate=1.0).run().rates]
    assert found == pytest.approx(expected_rates(4 * BATCHES, first=3 * BATCHES))


def test_gradients_are_clipped_together(tmp_path: Path) -> None:
    free = Training(tmp_path / "free").run().gradients
    clipped = Training(tmp_path / "clipped", clip=0.1).run().gradients
    assert max(free) > 0.2
    assert clipped[0] == pytest.approx(min(0.1, free[0]), rel=1e-4)
    assert max(clipped) <= 0.1001


def test_gathered_gradients_are_those_of_one_large_mini_batch() -> None:
    # Written out for the first step: the mean over two mini-batches of two.
    for name in ("adam", "adamw", "sgd"):
        network = nn.Linear(2, 1)
        optimizer = build_optimizer(network, name, 0.1)
        images, labels = torch.randn(4, 2), torch.randn(4, 1)
        trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=DataLoader(
                Dataset([{"image": i, "label": j} for i, j in zip(images, labels, strict=True)]), batch_size=2
            ),
            network=network,
            optimizer=optimizer,
            loss_function=nn.MSELoss(),
            prepare_batch=prepare_labelled,
            decollate=False,
            accumulation_steps=2,
        )
        expected = torch.autograd.grad(nn.functional.mse_loss(network(images), labels), network.weight)[0]
        trainer.run()
        assert network.weight.grad is not None
        torch.testing.assert_close(network.weight.grad, expected)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("backbone_rate", [None, 0.1])
def test_only_weights_decay_and_every_parameter_is_trained_once(name: str, backbone_rate: float | None) -> None:
    network = build_classifier("resnet10_quarter", 2, in_channels=1, num_classes=3)
    optimizer = build_optimizer(network, name, 0.5, 0.01, backbone_rate=backbone_rate)
    groups = {id(weight): group for group in optimizer.param_groups for weight in group["params"]}
    assert set(groups) == {id(weight) for weight in network.parameters()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(groups)
    head = {id(weight) for weight in output_layer(network).parameters()}
    for weight in network.parameters():
        assert groups[id(weight)]["weight_decay"] == (0.01 if weight.ndim > 1 else 0.0)
        rate = 0.05 if backbone_rate and id(weight) not in head else 0.5
        assert groups[id(weight)]["lr"] == pytest.approx(rate)


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_each_layer_below_learns_slower_by_the_same_factor(kind: str) -> None:
    network = build_classifier("vit_tiny", 2, 1, 3) if kind == "classifier" else build_segmenter("vit_tiny", 2, 1, 3)
    optimizer = build_optimizer(
        network, "adamw", 0.1, 0.01, backbone_rate=0.5, layer_decay=0.7, architecture="vit_tiny"
    )
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert (
        len(rates) == sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))
    )
    for name, weight in network.named_parameters():
        inner = name.removeprefix("backbone.")
        if inner.startswith(("class_layers.", "decoder.", "head.")):
            expected = 0.1
        elif inner.startswith("norm."):
            expected = 0.1 * 0.5
        else:  # the k-th of twelve blocks; patches and class token stand before the first
            expected = 0.1 * 0.5 * 0.7 ** (12 - int(inner.split(".")[1]) if inner.startswith("blocks.") else 13)
        assert rates[id(weight)] == pytest.approx(expected), name
    with pytest.raises(UserError, match=r"layer_decay must be a share above 0, at most 1, got 1\.5"):
        build_optimizer(network, layer_decay=1.5, architecture="vit_tiny")


def test_the_default_optimizer_is_plain_adam() -> None:
    torch.manual_seed(0)
    networks = [nn.Linear(4, 2) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers = [torch.optim.Adam(networks[0].parameters(), lr=0.01), build_optimizer(networks[1], learning_rate=0.01)]
    images = torch.randn(5, 4)
    for network, optimizer in zip(networks, optimizers, strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            network(images).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(networks[0](images), networks[1](images))


def test_unknown_names_and_shares_are_refused() -> None:
    with pytest.raises(UserError, match="adamw"):
        build_optimizer(nn.Linear(2, 2), "lion")
    optimizer = build_optimizer(nn.Linear(2, 2))
    with pytest.raises(UserError, match="cosine"):
        RateSchedule(optimizer, "linear")
    with pytest.raises(UserError, match="warmup"):
        RateSchedule(optimizer, "cosine", 1.0)
