"""A run that was interrupted ends as one that was not; what is on disk is whole."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandFlipd, RandGaussianNoised
from torch import Tensor, nn

from medssl.networks import build_backbone, load_backbone_weights, read_description
from medssl.pretext import PretextModel, build_task
from medssl.training import (
    BestModel,
    ReseedEachEpoch,
    RunCheckpoint,
    SaveBackbone,
    prepare_images,
    pretext_loss,
)


class PowerCutError(RuntimeError):
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
    content = [torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "halves")]
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
    saved = torch.load(tmp_path / "cut" / "last.pt", weights_only=True)
    assert saved["epoch"] == (3 if interval == 1 else 2)
    assert_same(whole, train(tmp_path / "cut", 4, resume=True, interval=interval))


@pytest.mark.parametrize("bundle", ["cxr_pretrain", "ct_pretrain"])
def test_the_bundles_clear_gradients_as_resuming_needs_it(bundle: str) -> None:
    # A gradient of zeros lets Adam move the heads of the tasks that sit out, one of None does not; after resuming they
    # are None, so a run that was not interrupted has to have None as well.
    config = yaml.safe_load((Path(__file__).parents[2] / "bundles" / bundle / "configs" / "train.yaml").read_text())
    assert config["train"]["trainer"]["optim_set_to_none"] is True


def test_without_resume_a_run_begins_anew_and_with_it_needs_no_checkpoint(tmp_path: Path) -> None:
    first = train(tmp_path, 1)
    assert_same(first, train(tmp_path, 1))
    assert_same(first, train(tmp_path / "new", 1, resume=True))


def test_the_last_epoch_has_a_checkpoint_whatever_the_interval(tmp_path: Path) -> None:
    train(tmp_path, 3, interval=2)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]  # no temporary file stays


def small_checkpoint(folder: Path, width: int = 2, resume: bool = False, **more: Any) -> tuple[RunCheckpoint, Engine]:
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch, engine.state.iteration, engine.state.max_epochs = 1, 5, 3
    return RunCheckpoint(folder, {"network": nn.Linear(width, 1), **more}, resume), engine


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, engine = small_checkpoint(tmp_path)
    checkpoint.save(engine)
    before = checkpoint.path.read_bytes()

    def half(content: Any, path: Path) -> None:
        path.write_bytes(before[:100])
        raise PowerCutError

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(PowerCutError):
        checkpoint.save(engine)
    assert checkpoint.path.read_bytes() == before
    assert os.listdir(tmp_path) == ["last.pt"]


@pytest.mark.parametrize("damage", ["half", "text", "empty"])
def test_a_damaged_checkpoint_is_named_with_what_to_do(damage: str, tmp_path: Path) -> None:
    checkpoint, engine = small_checkpoint(tmp_path)
    checkpoint.save(engine)
    whole = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes({"half": whole[: len(whole) // 2], "text": b"no checkpoint", "empty": b""}[damage])
    resumed, engine = small_checkpoint(tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"last\.pt cannot be read .*remove it to begin anew") as caught:
        resumed.load(engine)
    assert len(str(caught.value).splitlines()) == 1
    assert "weights_only" not in str(caught.value)  # torch's advice to load it unsafely is none of ours


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    checkpoint, engine = small_checkpoint(tmp_path)
    checkpoint.save(engine)
    for values in ({"width": 3}, {"optimizer": BestModel(tmp_path / "model.pt", nn.Linear(1, 1), "auroc")}):
        other, engine = small_checkpoint(tmp_path, resume=True, **values)
        with pytest.raises(ValueError, match=r"last\.pt is of another run .*Take another output_dir"):
            other.load(engine)


def validated(best: BestModel, score: float) -> bool:
    engine = Engine(lambda engine, batch: None)
    engine.state.metrics["auroc"] = score
    best(engine)
    return best.improved


def test_the_best_model_is_kept_with_its_description(tmp_path: Path) -> None:
    network, path = nn.Linear(2, 1), tmp_path / "model.pt"
    best = BestModel(path, network, "auroc", {"labels": ["Mass"]})
    kept = []
    for number, score in enumerate([0.6, 0.8, 0.7, 0.8, float("nan"), 0.9]):
        nn.init.constant_(network.weight, number)
        validated(best, score)
        kept.append(int(torch.load(path, weights_only=True)["weight"][0, 0]))
    assert kept == [0, 1, 1, 1, 1, 5]  # an equal score is no rise
    assert json.loads((tmp_path / "model.json").read_text()) == {"labels": ["Mass"]}
    assert sorted(os.listdir(tmp_path)) == ["model.json", "model.pt"]


def test_the_best_score_outlives_an_interruption(tmp_path: Path) -> None:
    best = BestModel(tmp_path / "model.pt", nn.Linear(2, 1), "auroc")
    checkpoint, engine = small_checkpoint(tmp_path, best=best)
    assert validated(best, 0.8)
    checkpoint.save(engine)
    again = BestModel(tmp_path / "model.pt", nn.Linear(2, 1), "auroc")
    resumed, engine = small_checkpoint(tmp_path, resume=True, best=again)
    resumed.load(engine)
    assert not validated(again, 0.7)
    assert validated(again, 0.81)
    assert (engine.state.epoch, engine.state.iteration) == (1, 5)


def test_the_backbone_is_saved_folded_after_every_epoch(tmp_path: Path) -> None:
    backbone = build_backbone("resnet18", 2, in_channels=3).eval()
    handler = SaveBackbone(tmp_path / "backbone.pt", backbone, copies=3, description={"tasks": ["rvrm"]})
    engine = Engine(lambda engine, batch: None)
    handler.attach(engine)
    engine.run([0], max_epochs=2)
    description = read_description(tmp_path / "backbone.pt")
    assert (description["epochs"], description["tasks"]) == (2, ["rvrm"])
    single = build_backbone("resnet18", 2).eval()
    load_backbone_weights(single.network, tmp_path / "backbone.pt")
    image = torch.randn(1, 1, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(single(image), backbone(image), rtol=1e-5, atol=1e-5)


def test_some_backbones_are_kept_with_their_heads_the_random_one_first(tmp_path: Path) -> None:
    backbone = build_backbone("resnet18", 2, in_channels=3)
    model = PretextModel(backbone, {"rvrm": build_task("rvrm", backbone, (32, 32))})
    bias = model.tasks["rvrm"].get_parameter("head.bias")
    first = backbone.network.conv1.weight.detach().clone()  # type: ignore[union-attr]
    handler = SaveBackbone(tmp_path / "backbone.pt", backbone, copies=3, keep_every=2, model=model)

    def step(engine: Engine, batch: Any) -> None:
        nn.init.constant_(bias, engine.state.epoch)
        nn.init.constant_(backbone.network.conv1.weight, engine.state.epoch)  # type: ignore[union-attr, arg-type]

    engine = Engine(step)
    handler.attach(engine)
    engine.run([0], max_epochs=5)
    names = [f"epoch_{epoch:04d}" for epoch in (0, 2, 4, 5)]
    assert sorted(path.name for path in (tmp_path / "backbones").glob("*.pt")) == [f"{name}.pt" for name in names]
    assert sorted(os.listdir(tmp_path / "pretext_models")) == [f"{name}.pt" for name in names]
    folded = torch.load(tmp_path / "backbones" / "epoch_0000.pt", weights_only=True)["conv1.weight"]
    torch.testing.assert_close(folded[:, 0], first.sum(dim=1))
    for name in names[1:]:
        epoch = read_description(tmp_path / "backbones" / f"{name}.pt")["epochs"]
        assert name == f"epoch_{epoch:04d}"
        assert (torch.load(tmp_path / "backbones" / f"{name}.pt", weights_only=True)["conv1.weight"] == 3 * epoch).all()
        assert (
            torch.load(tmp_path / "pretext_models" / f"{name}.pt", weights_only=True)["tasks.rvrm.head.bias"] == epoch
        ).all()
