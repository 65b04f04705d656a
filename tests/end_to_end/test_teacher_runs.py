"""A run with a teacher, a queue and pairs of a patient: stopped, it goes on as one that never was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medssl.networks import build_backbone, save_backbone
from medssl.studies import BundleRun


@pytest.mark.parametrize("name", ["moco", "byol", "distil"])
def test_a_run_that_stopped_ends_with_the_teacher_of_one_that_did_not(name: str, head: Path, tmp_path: Path) -> None:
    moco = {"positives": "patient", "queue": 12}
    byol = {"positives": "volume", "hidden_channels": 16}
    save_backbone(build_backbone("resnet10", 3), tmp_path / "large" / "backbone.pt", image_size=[32, 32, 32])
    values = {"moco": moco, "byol": byol, "distil": {"teacher": str(tmp_path / "large")}}[name]
    options: dict[str, Any] = {"data": head, "architecture": "resnet10_quarter", "batch_size": 8, "workers": 0}
    options |= {"tasks": {name: values}, "crops_per_volume": 2, "image_size": [32, 32, 32], "probe_every": 0}
    options |= {"rate_schedule": "constant"}  # whose rates do not depend on the length

    def train(folder: str, **more: Any) -> bytes:
        BundleRun("pretrain", {**options, "output_dir": tmp_path / folder, **more}).run()
        return (tmp_path / folder / "checkpoints" / "last.pt").read_bytes()

    undisturbed = train("undisturbed", epochs=2)
    train("stopped", epochs=1)
    assert train("stopped", epochs=2, resume=True) == undisturbed
    metrics = json.loads((tmp_path / "undisturbed" / "metrics.json").read_text())["metrics"]
    if name == "distil":
        assert metrics["distil/loss"] < 1.2
        return
    network = torch.load(tmp_path / "undisturbed" / "checkpoints" / "last.pt", weights_only=True)["network"]
    assert network[f"tasks.{name}.teacher._extra_state"]["steps"] > 2
    assert metrics[f"{name}/company"] == 1  # another crop
