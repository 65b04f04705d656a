"""A run that was interrupted ends as one that was not, and says where it goes on; what is on disk is whole."""

import logging
import os
import random
import signal
import threading
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandFlipd, RandGaussianNoise, RandGaussianNoised
from torch import Tensor, nn

from medssl.pretext import PretextModel, build_task
from medssl.training import ReseedEachEpoch, RunCheckpoint, ValidationKeeper, prepare_images, pretext_loss, run_training


class PowerCutError(Exception):
    """The end of a process, seen from inside it."""


class TinyBackbone(nn.Module):
    """A backbone that obeys the contract and is trained in no time."""

    spatial_dims, in_channels, out_channels, stride, smallest_side = 2, 3, 8, 4, 4

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.expand(-1, 3, -1, -1))

    def pool(self, feature_map: Tensor) -> Tensor:
        return feature_map.mean(dim=(2, 3))


def power_cut_in(epoch: int) -> Any:
    def cut(engine: Engine) -> None:
        if engine.state.epoch == epoch and engine.state.iteration % engine.state.epoch_length == 2:
            raise PowerCutError

    return cut


def train(
    folder: Path, epochs: int, resume: bool = False, interval: int = 1, cut_in: int | None = None
) -> tuple[PretextModel, torch.optim.Optimizer]:
    """A pre-training as the bundles set it up: random transforms, shuffling, random puzzles, tasks in turn."""
    torch.manual_seed(0)
    backbone: Any = TinyBackbone()
    names = ("rotation", "rvrm", "src")
    tasks = {name: build_task(name, backbone, (24, 24)) for name in names}
    model = PretextModel(backbone, tasks, schedule="alternate")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = torch.randn(9, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    transform = Compose([RandFlipd(keys="image", prob=0.5, spatial_axis=1), RandGaussianNoised(keys="image", prob=1.0)])
    dataset = Dataset([{"image": image} for image in images], transform=transform)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(dataset, batch_size=3, shuffle=True),
        network=model,
        optimizer=optimizer,
        loss_function=pretext_loss,
        prepare_batch=prepare_images,
        train_handlers=[
            ReseedEachEpoch(5, dataset),
            RunCheckpoint(folder, {"network": model, "optimizer": optimizer}, resume, interval),
        ],
        decollate=False,
        optim_set_to_none=True,
    )
    if cut_in is not None:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, power_cut_in(cut_in))
    trainer.run()
    return model, optimizer


def last_checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)


def tensors(state: Any, name: str = "") -> dict[str, Tensor]:
    """Every number in a state dict, however deep it lies."""
    if isinstance(state, Tensor):
        return {name: state}
    if isinstance(state, dict):
        state = list(state.items())
    elif isinstance(state, (list, tuple)):
        state = list(enumerate(state))
    else:
        return {name: torch.tensor(state)} if isinstance(state, (int, float)) else {}
    return {key: value for part, inner in state for key, value in tensors(inner, f"{name}.{part}").items()}


def assert_same(first: tuple[nn.Module, Any], second: tuple[nn.Module, Any]) -> None:
    for one, other in zip(first, second, strict=True):
        expected, found = tensors(one.state_dict()), tensors(other.state_dict())
        assert list(expected) == list(found)
        assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_two_epochs_and_two_more_are_four_to_the_bit(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", 4)
    train(tmp_path / "halves", 2)
    halves = train(tmp_path / "halves", 4, resume=True)
    assert_same(whole, halves)
    assert whole[0].steps == 12
    # The comparison is not empty: two epochs alone, or another four, give other weights.
    content = [last_checkpoint(tmp_path / name) for name in ("whole", "halves")]
    assert [part["epoch"] for part in content] == [4, 4]
    assert [part["iteration"] for part in content] == [12, 12]
    other = train(tmp_path / "other", 2)
    weight = "backbone.network.0.weight"
    assert not torch.equal(other[0].state_dict()[weight], whole[0].state_dict()[weight])


@pytest.mark.parametrize("interval", [1, 2])
def test_a_run_cut_off_in_the_middle_of_an_epoch_ends_as_one_that_was_not(interval: int, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", 4)
    with pytest.raises(PowerCutError):
        train(tmp_path / "cut", 4, interval=interval, cut_in=4)
    assert last_checkpoint(tmp_path / "cut")["epoch"] == (3 if interval == 1 else 2)
    assert_same(whole, train(tmp_path / "cut", 4, resume=True, interval=interval))


def test_the_bundle_clears_gradients_as_resuming_needs_it() -> None:
    # A gradient of zeros lets Adam move the heads of the tasks that sit out, one of None does not; after resuming they
    # are None, so a run that was not interrupted has to have None as well.
    config = yaml.safe_load((Path(__file__).parents[2] / "bundles" / "pretrain" / "configs" / "train.yaml").read_text())
    assert config["train"]["trainer"]["optim_set_to_none"] is True


def test_without_resume_a_run_begins_anew_and_with_it_needs_no_checkpoint(tmp_path: Path) -> None:
    first = train(tmp_path, 1)
    assert_same(first, train(tmp_path, 1))
    assert_same(first, train(tmp_path / "new", 1, resume=True))


def test_the_last_epoch_has_a_checkpoint_whatever_the_interval(tmp_path: Path) -> None:
    train(tmp_path, 3, interval=2)
    assert [last_checkpoint(tmp_path, name)["epoch"] for name in ("last", "previous")] == [3, 2]
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["last.pt", "previous.pt"]  # no temporary file stays


class Run:
    """A run with everything that may have a state, without a training: each epoch changes all of it."""

    def __init__(self, folder: Path, resume: bool = False, width: int = 2, rate: float = 0.1, scheduled: bool = False):
        self.network = nn.Linear(width, 1)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=rate)
        self.keeper = ValidationKeeper(folder, self.network, {}, patience=3)
        self.states: dict[str, Any] = {"network": self.network, "optimizer": self.optimizer, "keeper": self.keeper}
        if scheduled:
            self.states["scheduler"] = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.5)
        self.engine: Any = Engine(self.step)
        self.engine.scaler = torch.amp.GradScaler("cpu", growth_interval=2)
        self.engine.add_event_handler(Events.EPOCH_COMPLETED, self.change)
        self.checkpoint = RunCheckpoint(folder, self.states, resume)
        self.checkpoint.attach(self.engine)

    def step(self, engine: Engine, batch: Tensor) -> None:
        scaler = self.engine.scaler
        self.optimizer.zero_grad()
        scaler.scale(self.network(batch).square().mean()).backward()
        scaler.step(self.optimizer)
        scaler.update()

    def change(self, engine: Engine) -> None:
        engine.state.metrics["val_mAUROC"] = 0.5 + 0.1 * (engine.state.epoch % 3)
        self.keeper(engine)
        if "scheduler" in self.states:
            self.states["scheduler"].step()

    def to(self, epochs: int) -> "Run":
        self.engine.run([torch.ones(1, self.network.in_features)] * 2, max_epochs=epochs)
        return self

    def everything(self) -> dict[str, Tensor]:
        states = {name: state.state_dict() for name, state in self.states.items()}
        return tensors({**states, "scaler": self.engine.scaler.state_dict(), "epoch": self.engine.state.epoch})


@pytest.fixture(autouse=True)
def our_log_is_seen(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    # A bundle that ran before in this process took the log out of pytest's sight.
    monkeypatch.setattr(logging.getLogger("medssl"), "propagate", True)
    caplog.set_level(logging.INFO, logger="medssl")


def test_scheduler_scaler_best_score_and_patience_go_on_as_well(tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = Run(tmp_path / "whole", scheduled=True).to(5).everything()
    torch.manual_seed(3)
    Run(tmp_path / "parts", scheduled=True).to(3)
    parts = Run(tmp_path / "parts", resume=True, scheduled=True).to(5).everything()
    assert list(whole) == list(parts)
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    # None of them is as it began: there was something to keep.
    begun = Run(tmp_path / "new", scheduled=True).everything()
    for name in (".scaler.scale", ".keeper.best", ".keeper.waited", ".scheduler.last_epoch", ".epoch"):
        assert not torch.equal(whole[name], begun[name])


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"archive/data/0") + 130] ^= 1
    path.write_bytes(
        {
            "half": whole[: len(whole) // 2],
            "text": b"no checkpoint",
            "empty": b"",
            "one bit": bytes(flipped),
        }.get(how, b"")
    )
    if how == "an object":
        torch.save({"epoch": 2, "object": Path()}, path)
    if how == "a model":
        torch.save({"weight": torch.ones(1)}, path)


DAMAGES = ["half", "text", "empty", "one bit", "an object", "a model"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(3)
    whole = Run(tmp_path / "whole").to(4).everything()
    torch.manual_seed(3)
    run = Run(tmp_path / "run").to(3)
    damage(run.checkpoint.path, how)
    caplog.clear()
    resumed = Run(tmp_path / "run", resume=True)
    resumed.engine.add_event_handler(Events.STARTED, lambda: caplog.messages.append("started"))
    resumed.to(4)
    said = [message for message in caplog.messages if str(run.checkpoint.path) in message]
    assert len(said) == 1
    assert len(said[0].splitlines()) == 1
    assert "weights_only" not in said[0]  # torch's advice to load it unsafely is none of ours
    assert any(f"after epoch 2 of {run.checkpoint.previous}" in message for message in caplog.messages)
    found = resumed.everything()
    assert [name for name in whole if not torch.equal(whole[name], found[name])] == []


def test_when_all_are_damaged_a_sentence_says_so(tmp_path: Path) -> None:
    run = Run(tmp_path).to(3)
    damage(run.checkpoint.path, "half")
    damage(run.checkpoint.previous, "empty")
    with pytest.raises(ValueError, match=r"last\.pt .*previous\.pt .* Remove .*checkpoints to begin anew\.") as caught:
        Run(tmp_path, resume=True).to(4)
    assert len(str(caught.value).splitlines()) == 1


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    Run(tmp_path).to(1)
    for values in ({"width": 3}, {"scheduled": True}):
        with pytest.raises(ValueError, match=r"last\.pt is of another run,? .*Take another output_dir"):
            Run(tmp_path, resume=True, **values).to(2)


@pytest.mark.parametrize("moment", [0, 1])
def test_a_kill_between_the_renamings_leaves_a_whole_checkpoint(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    whole = Run(tmp_path / "whole").to(4).everything()
    torch.manual_seed(3)
    run = Run(tmp_path / "cut").to(2)
    renamed: list[Any] = []

    def replace(*paths: Any) -> None:
        renamed.append(paths)
        if len(renamed) > moment:  # last to previous, then the new one to last
            raise PowerCutError
        os.rename(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        patch.setattr(run.keeper, "best", 1.0)  # nothing else is written
        with pytest.raises(PowerCutError):
            run.engine.run([torch.ones(1, 2)] * 2, max_epochs=3)
    found = Run(tmp_path / "cut", resume=True).to(4).everything()
    assert [name for name in whole if not torch.equal(whole[name], found[name])] == []


def test_a_full_disk_is_called_so_and_leaves_the_checkpoints(tmp_path: Path) -> None:
    run = Run(tmp_path).to(2)
    before = {path: path.read_bytes() for path in (run.checkpoint.path, run.checkpoint.previous)}
    # Linux's file that is always full, under the temporary name that the checkpoint is written to.
    name = f".{os.getpid()}-{threading.get_ident()}.last.pt"
    if not Path("/dev/full").exists():
        pytest.skip("needs Linux")
    (run.checkpoint.directory / name).symlink_to("/dev/full")
    with pytest.raises(ValueError, match=r"last\.pt could not be written \(No space left on device\)\. Free some"):
        run.to(3)
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(os.listdir(run.checkpoint.directory)) == ["last.pt", "previous.pt"]
    assert Run(tmp_path, resume=True).to(3).engine.state.epoch == 3


def test_a_run_that_begins_anew_never_goes_on_from_an_older_one(tmp_path: Path) -> None:
    Run(tmp_path).to(3)
    (tmp_path / "checkpoints" / ".123-456.last.pt").write_bytes(b"of a killed run")
    anew = Run(tmp_path)
    anew.engine.add_event_handler(Events.EPOCH_STARTED, power_cut)
    with pytest.raises(PowerCutError):
        anew.to(3)
    # Killed before its first checkpoint: there is nothing to go on from, and what was there is not lost.
    resumed = Run(tmp_path, resume=True)
    resumed.engine.add_event_handler(Events.EPOCH_STARTED(once=1), lambda engine: seen.append(engine.state.epoch))
    seen: list[int] = []
    resumed.to(1)
    assert seen == [1]
    assert last_checkpoint(tmp_path, "earlier/last")["epoch"] == 3
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["earlier", "last.pt"]


def power_cut(engine: Engine) -> None:
    raise PowerCutError


def test_a_learning_rate_that_was_changed_is_taken_but_not_from_a_scheduler(tmp_path: Path) -> None:
    for scheduled, expected in ((False, 0.01), (True, 0.05)):
        folder = tmp_path / str(scheduled)
        Run(folder, rate=0.1, scheduled=scheduled).to(1)
        resumed = Run(folder, resume=True, rate=0.01, scheduled=scheduled).to(1)
        assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        torch.manual_seed(3)
        Run(tmp_path / name).to(2)
    first, second = ((tmp_path / name / "checkpoints" / "last.pt").read_bytes() for name in "ab")
    assert first == second


def engine_that(stop: Any, epoch: int = 3) -> Engine:
    engine = Engine(lambda engine, batch: None)

    def save(engine: Engine) -> None:
        engine.state.checkpoint_epoch = engine.state.epoch  # type: ignore[attr-defined]

    engine.add_event_handler(Events.EPOCH_COMPLETED, save)
    engine.add_event_handler(Events.EPOCH_STARTED(once=epoch), stop)
    engine.state.max_epochs = 5
    engine.run = lambda: Engine.run(engine, [0, 1], max_epochs=5)  # type: ignore[method-assign, assignment]
    return engine


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def raise_error() -> None:
    raise ValueError("The disk is full.")


@pytest.mark.parametrize("stop", [raise_interrupt, raise_error])
def test_the_last_checkpoint_is_named(stop: Any) -> None:
    with pytest.raises((KeyboardInterrupt, ValueError)) as caught:
        run_training(engine_that(stop))
    assert caught.value.__notes__ == ["The last checkpoint is that of epoch 2: add --resume True to go on from there."]


def test_a_run_without_a_checkpoint_says_so() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        run_training(engine_that(raise_interrupt, epoch=1))
    assert caught.value.__notes__ == ["There is no checkpoint yet: it begins with the first epoch again."]


def test_terminating_is_interrupting_while_a_training_runs_and_not_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run_training(engine_that(lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert signal.getsignal(signal.SIGTERM) is before


def draws(seed: int, epoch: int, rank: int = 0, before: int = 0) -> tuple[float, ...]:
    """One number of each generator that a training draws from, after any number of earlier draws."""
    dataset = Dataset([torch.zeros(1, 2)], transform=Compose([RandGaussianNoise(prob=1.0)]))
    for _ in range(before):
        random.random(), np.random.rand(), torch.rand(1), dataset[0]  # noqa: NPY002
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch = epoch
    ReseedEachEpoch(seed, dataset, rank)(engine)
    return random.random(), float(np.random.rand()), torch.rand(1).item(), float(dataset[0][0, 0])  # noqa: NPY002


def test_an_epoch_draws_the_same_whatever_came_before() -> None:
    assert draws(seed=1, epoch=3) == draws(seed=1, epoch=3, before=5)


def test_seeds_epochs_and_processes_share_no_draws() -> None:
    seen = [draws(seed, epoch, rank) for seed, epoch, rank in product((0, 1, 2), (1, 2, 3), (0, 1, 2))]
    for generator in range(4):
        assert len({values[generator] for values in seen}) == len(seen)


def test_large_seeds_and_long_runs_have_their_draws_too() -> None:
    assert draws(seed=2**31 - 1, epoch=100_000, rank=63) != draws(seed=2**31 - 1, epoch=100_001, rank=63)


def test_every_epoch_of_a_training_is_reseeded_when_it_begins() -> None:
    order: list[tuple[int, float]] = []

    def step(engine: Engine, batch: int) -> None:
        order.append((engine.state.epoch, torch.rand(1).item()))

    for _ in range(2):
        engine = Engine(step)
        ReseedEachEpoch(4).attach(engine)
        engine.run([0, 1], max_epochs=3)
    assert order[:6] == order[6:]
    assert len({value for _, value in order}) == 6
