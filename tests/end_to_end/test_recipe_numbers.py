"""Every number of a recipe in one training, 2D and 3D: it ends as it should, and resumed to the bit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medssl.errors import user_error
from medssl.networks import read_description
from medssl.studies import BundleRun
from medssl.training import TrialStep

EVERYTHING: dict[str, Any] = {
    "architecture": "resnet10_quarter",
    "workers": 0,
    "batch_size": 4,
    "learning_rate": 0.01,
    "optimizer_name": "adamw",
    "weight_decay": 0.01,
    "rate_schedule": "cosine",
    "accumulate": 2,
    "clip": 1.0,
    "layer_decay": 0.8,
    "checkpoint_activations": True,
    "augmentation": 1.0,
    "average": 0.9,
    "head": "probe",
    "frozen": "norm",
    "keep": "last",
    "val_interval": 2,
}


@pytest.mark.parametrize(("kind", "steps", "epochs"), [("chest", 10, 3), ("head", 5, 3)])
def test_a_fine_tuning_by_all_numbers_of_a_recipe_is_resumed_to_the_bit(
    kind: str, steps: int, epochs: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data, whole, resumed = request.getfixturevalue(kind), tmp_path / "whole", tmp_path / "resumed"
    recipe = tmp_path / "ours.yaml"
    names = ("val_interval", "workers", "checkpoint_activations")
    numbers = {name: value for name, value in EVERYTHING.items() if name not in names} | {"steps": steps}
    recipe.write_text(yaml.safe_dump({"finetune": numbers}))
    options = {name: EVERYTHING[name] for name in names} | {"data": data, "recipe": str(recipe), "output_dir": whole}
    if kind == "head":
        options["image_size"] = [32, 32, 16]  # smaller than the volumes
    BundleRun("finetune", options).run()
    last = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)
    assert last["epoch"] == epochs
    assert {group["lr"] for group in last["optimizer"]["param_groups"]} == {0.0}  # the cosine has ended
    made = {int(state["step"]) for state in last["optimizer"]["state"].values()}
    assert made == {steps}
    model = torch.load(whole / "model.pt", weights_only=True)  # of the last epoch, though 3 is no multiple of 2
    assert all(torch.equal(model[name], last["averaged"][name]) for name in model)
    assert not torch.equal(model["fc.weight"], last["network"]["fc.weight"])

    (resumed / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / "previous.pt", resumed / "checkpoints" / "last.pt")
    shutil.copy(whole / "checkpoints" / "settings.json", resumed / "checkpoints" / "settings.json")
    BundleRun("finetune", {**options, "output_dir": resumed, "resume": True}).run()
    for name in ("checkpoints/last.pt", "model.pt"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name
    kept = yaml.safe_load((whole / "config.yaml").read_text())
    assert (kept["steps"], kept["rate_schedule"], kept["head"]) == (steps, "cosine", "probe")
    assert json.loads((whole / "model.json").read_text())["labels"]


def test_a_pre_training_in_steps_ends_within_an_epoch_keeps_the_average_and_is_resumed_to_the_bit(
    chest: Path, tmp_path: Path
) -> None:
    whole, resumed, names = tmp_path / "whole", tmp_path / "resumed", ("rate_schedule", "accumulate", "clip", "average")
    options = {name: EVERYTHING[name] for name in ("architecture", "workers", *names)}
    options |= {"data": chest, "output_dir": whole, "batch_size": 8, "probe_every": 0, "tasks": "rvrm"}
    options |= {"optimizer_name": "sgd", "learning_rate": 0.01, "steps": 3}
    BundleRun("pretrain", options).run()
    last = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)
    assert last["epoch"] == 2
    assert {group["lr"] for group in last["optimizer"]["param_groups"]} == {0.0}
    saved = torch.load(whole / "backbone.pt", weights_only=True)
    kept = last["averaged"]
    assert torch.equal(saved["conv1.weight"], kept["network.conv1.weight"].unflatten(1, (3, -1)).sum(dim=1))
    for name in saved.keys() - {"conv1.weight"}:
        assert torch.equal(saved[name], kept[f"network.{name}"])
    assert not torch.equal(saved["bn1.running_mean"], last["network"]["backbone.network.bn1.running_mean"])

    (resumed / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / "previous.pt", resumed / "checkpoints" / "last.pt")
    shutil.copy(whole / "checkpoints" / "settings.json", resumed / "checkpoints" / "settings.json")
    BundleRun("pretrain", {**options, "output_dir": resumed, "resume": True}).run()
    for name in ("checkpoints/last.pt", "backbone.pt"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name


@pytest.mark.parametrize(
    ("bundle", "data"), [("pretrain", "head"), ("finetune", "head"), ("segment", "outlined_heads")]
)
def test_the_largest_box_is_tried_by_the_step_of_the_training(
    bundle: str, data: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fits(trial: TrialStep, size: tuple[int, ...]) -> bool:
        trial.step(size)
        return max(size) <= 20

    options = {"data": request.getfixturevalue(data), "architecture": "resnet10_quarter", "batch_size": 4, "workers": 0}
    run = BundleRun(bundle, {**options, "steps": 1, "image_size": "largest", "output_dir": tmp_path / "run"})
    with pytest.raises(RuntimeError) as caught:
        run.with_options(device="cpu").run()
    assert "memory of a GPU, and this run is on cpu" in str(user_error(caught.value))
    monkeypatch.setattr(TrialStep, "__call__", fits)
    run.run()
    described = read_description(tmp_path / "run" / ("backbone.pt" if bundle == "pretrain" else "model.pt"))
    assert max(described["image_size"]) <= 20
