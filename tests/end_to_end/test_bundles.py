"""The four bundles, run as a user runs them, on phantom files."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.networks.nets import resnet18
from monai.networks.utils import copy_model_state
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medssl.pretext import TASKS
from medssl.studies import BundleRun, bundle_folder, mix_in

SIZES = {"cxr": [64, 64], "ct": [32, 32, 32]}
MIX_INS = [*TASKS, "rotation_rvrm", "rotation_sc_assl"]
BUNDLES = ["cxr_pretrain", "ct_pretrain", "cxr_finetune", "ct_finetune"]


def options(kind: str, datalist: Path, output: Path, **values: Any) -> dict[str, Any]:
    """What a small run needs."""
    spacing = {"spacing": [-1.0, -1.0, -1.0], "window": [-50.0, 150.0]} if kind == "ct" else {}
    shared = {"datalist": datalist, "output_dir": output, "image_size": SIZES[kind], "workers": 0, "batch_size": 8}
    return {**shared, **spacing, "learning_rate": 0.001, "epochs": 1, **values}


def pretrain(kind: str, task: str, datalist: Path, output: Path, **values: Any) -> None:
    """Run a pre-training bundle."""
    mix_ins = (f"pretext/{task}", "backbones/resnet18")
    BundleRun(f"{kind}_pretrain", ("train",), mix_ins, options(kind, datalist, output, **values)).run()


def finetune(kind: str, datalist: Path, output: Path, configs: tuple[str, ...] = ("train",), **values: Any) -> None:
    """Run a fine-tuning bundle."""
    BundleRun(f"{kind}_finetune", configs, ("backbones/resnet18",), options(kind, datalist, output, **values)).run()


@pytest.mark.parametrize("task", MIX_INS)
@pytest.mark.parametrize("kind", ["cxr", "ct"])
def test_pretraining_leaves_a_backbone_for_monai_and_a_log_of_the_puzzle(
    kind: str, task: str, chest: Path, head: Path, tmp_path: Path
) -> None:
    pretrain(kind, task, chest if kind == "cxr" else head, tmp_path, epochs=2)
    state = torch.load(tmp_path / "backbone.pt", weights_only=True)
    description = json.loads((tmp_path / "backbone.json").read_text())
    network = resnet18(spatial_dims=len(SIZES[kind]), n_input_channels=1, num_classes=3, conv1_t_stride=2)
    _, updated, _ = copy_model_state(network, state)
    assert set(updated) == set(state)
    assert description["network"]["n_input_channels"] == 1
    assert description["image_size"] == SIZES[kind]

    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    log = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    for name in {"rotation_rvrm": ["rotation", "rvrm"], "rotation_sc_assl": []}.get(task, [task]):
        beside = ("accuracy", "chance") if f"{name}/accuracy" in metrics else ("error", "baseline")
        for metric in ("loss", *beside):
            assert metrics[f"{name}/{metric}"] == pytest.approx(log.Scalars(f"{name}/{metric}")[-1].value, rel=1e-5)
        assert len(log.Images(f"{name}/puzzle")) == 2
    assert 0 < metrics["feature_spread"] <= 1
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("kind", ["cxr", "ct"])
def test_finetuning_evaluation_and_inference_agree(kind: str, chest: Path, head: Path, tmp_path: Path) -> None:
    datalist = chest if kind == "cxr" else head
    pretrain(kind, "rvrm", datalist, tmp_path / "pretrain")
    run = tmp_path / "run"
    finetune(kind, datalist, run, pretrained=tmp_path / "pretrain" / "backbone.pt", epochs=2)
    finetune(kind, datalist, run, ("train", "evaluate"))
    metrics = json.loads((run / "metrics.json").read_text())
    labels = json.loads(datalist.read_text())["labels"]
    assert metrics["split"] == "test"
    assert set(metrics["splits"]) == {"validation", "test"}
    assert list(metrics["per_class"]) == labels
    defined = [value for value in metrics["per_class"].values() if value is not None]
    assert metrics["mAUROC"] == pytest.approx(sum(defined) / len(defined))

    images = datalist.parents[1] / "phantoms" / "images"
    inference = {"dataset_dir": images, "output_dir": run}
    BundleRun(f"{kind}_finetune", ("inference",), (), {**inference, "workers": 0}).run()
    workflow = ConfigWorkflow(
        str(bundle_folder(f"{kind}_finetune") / "configs" / "inference.yaml"),
        workflow_type="infer",
        **{name: str(value) for name, value in inference.items()},
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    predicted = read_predictions(run / "predictions.csv", images, labels)
    evaluated = read_predictions(run / "predictions_test.csv", datalist.parent, labels)
    assert len(predicted) == len(list(images.iterdir()))
    assert len(evaluated) == len(json.loads(datalist.read_text())["test"])
    for image, values in evaluated.items():
        assert predicted[image] == pytest.approx(values, abs=2e-6)
        assert all(0 < value < 1 for value in values)


def read_predictions(path: Path, base: Path, labels: list[str]) -> dict[Path, list[float]]:
    """Probabilities by absolute path of the image."""
    with path.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["image", *labels]
    return {(base / image).resolve(): [float(value) for value in values] for image, *values in rows}


@pytest.mark.parametrize("task", ["rotation_sc_assl"])
def test_a_resumed_pretraining_ends_like_an_undisturbed_one(task: str, chest: Path, tmp_path: Path) -> None:
    pretrain("cxr", task, chest, tmp_path / "whole", epochs=3)
    pretrain("cxr", task, chest, tmp_path / "parts", epochs=1)
    pretrain("cxr", task, chest, tmp_path / "parts", epochs=3, resume=True)
    whole, parts = (torch.load(tmp_path / name / "backbone.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_resumed_finetuning_keeps_the_best_model(head: Path, tmp_path: Path) -> None:
    finetune("ct", head, tmp_path / "whole", epochs=3)
    finetune("ct", head, tmp_path / "parts", epochs=2)
    finetune("ct", head, tmp_path / "parts", epochs=3, resume=True)
    whole, parts = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_other_tools_find_the_properties_they_look_for(bundle: str, chest: Path, head: Path, tmp_path: Path) -> None:
    kind = bundle.split("_")[0]
    values = options(kind, chest if kind == "cxr" else head, tmp_path, architecture="resnet18")
    values = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    folder = bundle_folder(bundle)
    for config in ["train", "train evaluate"] if bundle.endswith("finetune") else ["train"]:
        files = [str(folder / "configs" / f"{name}.yaml") for name in config.split()]
        # Evaluation begins with loading a model, which other tools do not need in order to look at the config.
        workflow = ConfigWorkflow(files, bundle_root=str(folder), workflow_type="train", init_id="none", **values)
        workflow.initialize()
        assert workflow.check_properties() == []
    for name in ("LICENSE", "docs/README.md", "configs/multi_gpu_train.yaml", "configs/logging.conf"):
        assert (folder / name).is_file()
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]


MISTAKES = {
    "a mistyped option": ("rotation", ["--epohcs", "3"], "Did you mean --epochs?"),
    "no datalist": ("rotation", ["--datalist", "nowhere.json"], "There is no datalist nowhere.json"),
    "an unknown backbone": ("rotation", ["--architecture", "resnet19"], "There is no backbone 'resnet19'"),
    "images too small": ("rotation", ["--image_size", "[20,20]"], "too small for densenet121"),
    "images that the head cannot give": ("mim", ["--image_size", "[48,48]"], "mim: The transposed decoder gives"),
    "no other image to compare with": (
        "simclr",
        ["--batch_size", "1"],
        "simclr needs at least 2 images in a mini-batch",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_on_the_command_line_is_answered_in_one_sentence(mistake: str, chest: Path, tmp_path: Path) -> None:
    task, arguments, message = MISTAKES[mistake]
    folder = bundle_folder("cxr_pretrain")
    configs = [str(folder / "configs" / "train.yaml"), str(mix_in(f"pretext/{task}"))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(folder)]
    command += ["--config_file", str(configs), "--output_dir", str(tmp_path / "run"), "--image_size", "[64,64]"]
    command += ["--datalist", str(chest), "--workers", "0", "--epochs", "1", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
