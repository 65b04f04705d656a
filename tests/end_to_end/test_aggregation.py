"""Several tasks in one run, and a run that differs from a first one, on phantom files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medssl.runs import Run
from medssl.studies import BundleRun

HEAD = {"image_size": [32, 32, 32], "window": [-50.0, 150.0]}


def pretrain(data: Path, output: Path, tasks: str, **values: Any) -> dict[str, float]:
    """Run a small pre-training and return its metrics."""
    numbers = {"architecture": "resnet10_quarter", "batch_size": 8, "learning_rate": 0.001, "epochs": 1}
    options = {"data": data, "output_dir": output, "tasks": tasks, "workers": 0, "probe_every": 0, **numbers, **values}
    BundleRun("pretrain", options).run()
    return dict(Run.read(output).metrics["metrics"])


@pytest.mark.parametrize("tasks", ["rotation,mim", "rotation,mim,simsiam"])
def test_each_summed_task_has_its_loss_and_its_share_of_the_total(tasks: str, chest: Path, tmp_path: Path) -> None:
    names = tasks.split(",")
    weights = {name: float(number) for number, name in enumerate(names, start=1)}
    metrics = pretrain(chest, tmp_path, tasks, weights=weights)
    losses = {name: weights[name] * metrics[f"{name}/loss"] for name in names}
    assert metrics["loss"] == pytest.approx(sum(losses.values()) / sum(weights.values()), rel=1e-4)
    log = EventAccumulator(str(tmp_path)).Reload()
    shares = {name: log.Scalars(f"{name}/share")[-1].value for name in names}
    assert sum(shares.values()) == pytest.approx(1)
    for name in names:
        # A mean of shares is not the share of the means, but near it when all steps are alike.
        assert shares[name] == pytest.approx(abs(losses[name]) / sum(map(abs, losses.values())), abs=0.1)
        assert log.Scalars(f"{name}/loss")[-1].value == pytest.approx(metrics[f"{name}/loss"], rel=1e-5)


@pytest.mark.parametrize(("tasks", "kind"), [("simclr,rotation,src", "chest"), ("sc_assl,rubiks_cube", "head")])
def test_each_alternated_task_has_its_share_of_the_steps(
    tasks: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    names, epochs = tasks.split(","), 4
    values = HEAD if kind == "head" else {}
    data = request.getfixturevalue(kind)
    pretrain(data, tmp_path, tasks, schedule="alternate", batch_size=4, epochs=epochs, **values)
    log = EventAccumulator(str(tmp_path)).Reload()
    shares = {name: [event.value for event in log.Scalars(f"{name}/share")] for name in names}
    assert all(sum(epoch) == pytest.approx(1) for epoch in zip(*shares.values(), strict=True))
    assert all(len(shares[name]) == epochs and sum(shares[name]) > 0 for name in names)
    for name in names:
        drawn = [epoch for epoch, share in enumerate(shares[name], start=1) if share > 0]
        assert [event.step for event in log.Scalars(f"{name}/loss")] == drawn
        assert log.Scalars(f"{name}/accuracy")


def test_a_self_aggregative_run_is_watched_goes_on_and_leaves_an_ordinary_backbone(chest: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    pretrain(chest, first, "rotation")
    values = {"first": first, "seed": 1, "rate_schedule": "constant"}  # whose rates do not depend on the length
    for name, epochs, resume in (("whole", 2, False), ("parts", 1, False), ("parts", 2, True)):
        metrics = pretrain(chest, tmp_path / name, "rotation,mim", **values, epochs=epochs, resume=resume)
    log = EventAccumulator(str(tmp_path / "whole")).Reload()
    similarities = [event.value for event in log.Scalars("self_assl/similarity")]
    assert len(similarities) == 2
    assert all(0 < similarity < 1 for similarity in similarities)
    tasks = 0.5 * metrics["rotation/loss"] + 0.5 * metrics["mim/loss"]
    assert metrics["loss"] == pytest.approx(tasks + metrics["self_assl/similarity"], rel=1e-4)
    whole, parts = (torch.load(tmp_path / name / "backbone.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert set(whole) == set(torch.load(first / "backbone.pt", weights_only=True))
    assert json.loads((tmp_path / "whole" / "backbone.json").read_text())["tasks"] == ["rotation", "mim"]
