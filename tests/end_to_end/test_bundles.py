"""The four bundles, run as a user runs them, on phantom files."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.networks.nets import resnet10
from monai.networks.utils import copy_model_state
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medssl.data import Datalist, write_datalist
from medssl.evaluation import read_predictions
from medssl.pretext import TASKS
from medssl.studies import BundleRun, bundle_folder

SIZES = {"cxr": [64, 64], "ct": [32, 32, 32]}
MIX_INS = [*TASKS, "rotation_rvrm", "rotation_sc_assl"]
BUNDLES = ["cxr_pretrain", "ct_pretrain", "cxr_finetune", "ct_finetune"]


def options(kind: str, datalist: Path, output: Path, **values: Any) -> dict[str, Any]:
    """What a small run needs."""
    volumes = {"image_size": SIZES["ct"], "window": [-50.0, 150.0]} if kind == "ct" else {}
    shared = {"datalist": datalist, "output_dir": output, "workers": 0, "batch_size": 8}
    return {**shared, **volumes, "learning_rate": 0.001, "epochs": 1, **values}


def pretrain(kind: str, task: str, datalist: Path, output: Path, **values: Any) -> None:
    """Run a pre-training bundle."""
    mix_ins = (f"pretext/{task}", "backbones/resnet10_quarter")
    BundleRun(f"{kind}_pretrain", ("train",), mix_ins, options(kind, datalist, output, **values)).run()


def finetune(kind: str, datalist: Path, output: Path, *mix_ins: str, **values: Any) -> None:
    """Run a fine-tuning bundle."""
    settings = options(kind, datalist, output, **values)
    BundleRun(f"{kind}_finetune", ("train",), ("backbones/resnet10_quarter", *mix_ins), settings).run()


def evaluate(kind: str, datalist: Path, run: Path, **values: Any) -> dict[str, Any]:
    """Evaluate a run, with nothing but the datalist and the folder, and return its figures."""
    settings = {"datalist": datalist, "output_dir": run, "workers": 0, "resamples": 50, **values}
    BundleRun(f"{kind}_finetune", ("train", "evaluate"), (), settings).run()
    return json.loads((run / "metrics.json").read_text())


def raw_file_of(datalist: Path) -> dict[str, str]:
    """The original file of each stored image, by the names that the datalist and the folder of the files have."""
    report = pd.read_csv(datalist.parent / "report.csv")
    used = report[report["status"] == "used"]
    return dict(zip(used["stored"], used["file"], strict=True))


@pytest.mark.parametrize("task", MIX_INS)
@pytest.mark.parametrize("kind", ["cxr", "ct"])
def test_pretraining_leaves_a_backbone_for_monai_and_a_log_of_the_puzzle(
    kind: str, task: str, chest: Path, head: Path, tmp_path: Path
) -> None:
    pretrain(kind, task, chest if kind == "cxr" else head, tmp_path, epochs=2)
    state = torch.load(tmp_path / "backbone.pt", weights_only=True)
    description = json.loads((tmp_path / "backbone.json").read_text())
    network = resnet10(
        widen_factor=0.25, spatial_dims=len(SIZES[kind]), n_input_channels=1, num_classes=3, conv1_t_stride=2
    )
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
    assert 1 <= metrics["effective_rank"] <= 8
    for name in ("probe/linear_mAUROC", "probe/knn_mAUROC"):
        assert [event.step for event in log.Scalars(name)] == [2]  # the last epoch
        assert 0 <= metrics[name] <= 1
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("kind", ["cxr", "ct"])
def test_finetuning_evaluation_and_inference_agree(
    kind: str, chest: Path, head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datalist = chest if kind == "cxr" else head
    pretrain(kind, "rvrm", datalist, tmp_path / "pretrain", probe_every=0)
    run = tmp_path / "run"
    finetune(kind, datalist, run, pretrained=tmp_path / "pretrain" / "backbone.pt", backbone_rate=0.5, epochs=2)
    metrics = evaluate(kind, datalist, run)
    labels = json.loads(datalist.read_text())["labels"]
    assert metrics["split"] == "test"
    assert set(metrics["splits"]) == {"validation", "test"}
    assert list(metrics["per_class"]) == labels
    defined = [value for value in metrics["per_class"].values() if value is not None]
    assert metrics["mAUROC"] == pytest.approx(sum(defined) / len(defined))
    assert set(metrics["baselines"]) == {"pixels", "untrained"}
    assert (run / "gradcam_test.png").read_bytes().startswith(b"\x89PNG")
    screen = capsys.readouterr().out
    low, high = metrics["mAUROC_interval"]
    assert f"mAUROC on test: {metrics['mAUROC']:.3f} [{low:.3f}, {high:.3f}]" in screen
    for baseline in metrics["baselines"].values():
        assert f"{baseline['mAUROC'][0]:.3f}" in screen
    validated = read_predictions(run / "predictions_validation.csv")
    assert len(validated.images) == metrics["splits"]["validation"]["images"]

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
    # Inference reads the original files, evaluation the stored images: 16 bits of them, resized or resampled before.
    predicted, evaluated = read_predictions(run / "predictions.csv"), read_predictions(run / "predictions_test.csv")
    assert predicted.names == evaluated.names == labels
    assert len(predicted.images) == len(list(images.iterdir()))
    assert len(evaluated.images) == len(json.loads(datalist.read_text())["test"])
    of_file = dict(zip(predicted.images, predicted.scores, strict=True))
    raw = raw_file_of(datalist)
    for image, scores in zip(evaluated.images, evaluated.scores, strict=True):
        assert of_file[raw[image]] == pytest.approx(scores, abs=1e-4)
    assert evaluated.scores.std(axis=0).min() > 1e-3  # or any two images would agree
    assert ((evaluated.scores > 0) & (evaluated.scores < 1)).all()


def test_exclusive_classes_are_trained_evaluated_and_predicted_as_such(chest: Path, tmp_path: Path) -> None:
    splits: dict[str, list[dict[str, Any]]] = {}
    for split in ("training", "validation", "test"):
        splits[split] = Datalist.read(chest).items(split)
        for number, item in enumerate(splits[split]):
            effusion, mass = item["label"]
            which = 2 if effusion == mass == 1 else 1 if effusion == 1 or mass == 1 else 0
            unknown = split == "training" and number % 5 == 0
            item["label"] = [None] * 3 if unknown else [int(which == index) for index in range(3)]
            del item["file"]
    datalist = chest.parent / "exclusive.json"
    write_datalist(datalist, ["None", "One", "Both"], splits, exclusive=True)
    finetune("cxr", datalist, tmp_path, epochs=2)
    metrics = evaluate("cxr", datalist, tmp_path)
    assert 0 <= metrics["accuracy"][1] <= metrics["accuracy"][0] <= metrics["accuracy"][2] <= 1
    folder = chest.parents[1] / "phantoms" / "images"
    BundleRun("cxr_finetune", ("inference",), (), {"dataset_dir": folder, "output_dir": tmp_path, "workers": 0}).run()
    for name in ("predictions_validation", "predictions_test", "predictions"):
        scores = read_predictions(tmp_path / f"{name}.csv").scores
        assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["cxr", "ct"])
def test_a_linear_probe_leaves_the_backbone_and_is_evaluated_like_any_run(
    kind: str, chest: Path, head: Path, tmp_path: Path
) -> None:
    datalist = chest if kind == "cxr" else head
    pretrain(kind, "rotation", datalist, tmp_path / "pretrain", probe_every=0)
    run, backbone = tmp_path / "run", tmp_path / "pretrain" / "backbone.pt"
    # All images at once, and in 32 bits, as the evaluation is.
    values = {"pretrained": backbone, "epochs": 10, "batch_size": 64, "amp": False}
    finetune(kind, datalist, run, "finetune/linear_probe", **values)
    state, before = (torch.load(path, weights_only=True) for path in (run / "model.pt", backbone))
    assert all(torch.equal(state[key], before[key]) for key in before)
    assert set(state) - set(before) == {"fc.weight", "fc.bias"}
    metrics = evaluate(kind, datalist, run, split="validation")
    # On its stored features the head was as good as the whole network is on the images.
    log = EventAccumulator(str(run)).Reload()
    assert metrics["mAUROC"] == pytest.approx(max(event.value for event in log.Scalars("val_mAUROC")), abs=1e-6)
    assert len(log.Scalars("loss")) == 10
    assert log.Scalars("loss")[-1].value < log.Scalars("loss")[0].value


def test_probes_do_not_change_what_is_learned(chest: Path, tmp_path: Path) -> None:
    for every in (0, 1):
        pretrain("cxr", "rotation", chest, tmp_path / str(every), epochs=2, probe_every=every)
    without, probed = (torch.load(tmp_path / name / "backbone.pt", weights_only=True) for name in "01")
    assert all(torch.equal(without[key], probed[key]) for key in without)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text())["metrics"] for name in "01"]
    assert metrics[1] == {**metrics[0], **{key: metrics[1][key] for key in metrics[1] if key.startswith("probe/")}}
    assert len(metrics[1]) == len(metrics[0]) + 2


@pytest.mark.parametrize(("kind", "task"), [("cxr", "rotation_sc_assl"), ("ct", "rotation")])
def test_a_resumed_pretraining_ends_like_an_undisturbed_one(
    kind: str, task: str, chest: Path, head: Path, tmp_path: Path
) -> None:
    datalist = chest if kind == "cxr" else head
    for name, epochs, resume in (("whole", 3, False), ("parts", 1, False), ("parts", 3, True)):
        pretrain(kind, task, datalist, tmp_path / name, epochs=epochs, resume=resume)
    whole, parts = (torch.load(tmp_path / name / "backbone.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_resumed_finetuning_keeps_the_best_model(chest: Path, tmp_path: Path) -> None:
    for name, epochs, resume in (("whole", 4, False), ("parts", 2, False), ("parts", 4, True)):
        finetune("cxr", chest, tmp_path / name, epochs=epochs, resume=resume, patience=2, backbone_rate=0.1)
    whole, parts = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]
    predictions = [(tmp_path / name / "predictions_validation.csv").read_text() for name in ("whole", "parts")]
    assert predictions[0] == predictions[1]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_other_tools_find_the_properties_they_look_for(bundle: str, chest: Path, head: Path, tmp_path: Path) -> None:
    kind = bundle.split("_")[0]
    values = options(kind, chest if kind == "cxr" else head, tmp_path, architecture="resnet10_quarter")
    values = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    folder = bundle_folder(bundle)
    # Evaluation takes from it what the model was trained with.
    trained = {"architecture": "resnet10_quarter", "spatial_dims": len(SIZES[kind]), "in_channels": 1}
    trained |= {"image_size": SIZES[kind], "window": [-50.0, 150.0], "exclusive": False}
    trained |= {"labels": Datalist.read(values["datalist"]).labels}
    (tmp_path / "model.json").write_text(json.dumps(trained))
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
