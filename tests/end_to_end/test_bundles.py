"""The bundles, run as a user runs them, on phantom files in 2D and 3D."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow
from monai.networks.nets import resnet10
from monai.networks.utils import copy_model_state
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medssl.data import Datalist, write_datalist
from medssl.evaluation import read_predictions
from medssl.pretext import TASKS, named_tasks
from medssl.studies import BundleRun, bundle_folder

SIZES = {"cxr": [64, 64], "ct": [32, 32, 32]}
TOGETHER = ("spark", "voco", "volume_fusion")
POOLS: list[dict[str, Any]] = [
    *({"tasks": name} for name, task in TASKS.items() if not task.needs and name not in (*TOGETHER, "mae")),
    {"tasks": TOGETHER},
    {"tasks": {"rotation": {}, "rvrm": {"disguise": 1.0}}},
    {"tasks": ("rotation", "sc_assl"), "schedule": "alternate", "weights": {"rotation": 2.0, "sc_assl": 1.0}},
]
QUICK = {
    "cxr": ("simclr", "dino", "models_genesis", "jigsaw", *(each["tasks"] for each in POOLS[-3:])),
    "ct": ("rotation", "sc_assl", TOGETHER),
}
"""Tasks, one of a kind, that every run of the tests sees as bundles; others are left to ``make test-all``."""
RUNS = [
    pytest.param(
        kind,
        pool,
        id=f"{kind}-{'+'.join(named_tasks(pool['tasks']))}",
        marks=() if pool["tasks"] in QUICK[kind] else pytest.mark.slow,
    )
    for kind in SIZES
    for pool in POOLS
]
BUNDLES = ["pretrain", "finetune"]


def options(kind: str, datalist: Path, output: Path, **values: Any) -> dict[str, Any]:
    """What a small run needs."""
    volumes = {"image_size": SIZES["ct"], "window": [-50.0, 150.0]} if kind == "ct" else {}
    shared = {"data": datalist, "output_dir": output, "workers": 0, "batch_size": 8, "learning_rate": 0.001}
    return {**shared, **volumes, "architecture": "resnet10_quarter", "epochs": 1, **values}


def pretrain(kind: str, datalist: Path, output: Path, **values: Any) -> None:
    """Run a pre-training bundle."""
    BundleRun("pretrain", options(kind, datalist, output, **values)).run()


def finetune(kind: str, datalist: Path, output: Path, *mix_ins: str, **values: Any) -> None:
    """Run a fine-tuning bundle; what its weights saw comes with them."""
    BundleRun("finetune", options(kind, datalist, output, **values), mix_ins=mix_ins).run()


def evaluate(datalist: Path, run: Path, **values: Any) -> dict[str, Any]:
    """Evaluate a run, with nothing but the datalist and the folder, and return its figures."""
    settings = {"data": datalist, "output_dir": run, "workers": 0, "resamples": 50, **values}
    BundleRun("finetune", settings, "evaluate").run()
    return json.loads((run / "metrics.json").read_text())


def raw_file_of(datalist: Path) -> dict[str, str]:
    """The original file of each stored image, by the names that the datalist and the folder of the files have."""
    report = pd.read_csv(datalist.parent / "report.csv")
    used = report[report["status"] == "used"]
    return dict(zip(used["stored"], used["file"], strict=True))


@pytest.mark.parametrize(("kind", "pool"), RUNS)
def test_pretraining_leaves_a_backbone_for_monai_and_a_log_of_the_puzzle(
    kind: str, pool: dict[str, Any], chest: Path, head: Path, tmp_path: Path
) -> None:
    pretrain(kind, chest if kind == "cxr" else head, tmp_path, epochs=2, **pool)
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
    assert description["tasks"] == list(named_tasks(pool["tasks"]))
    for name in [] if "schedule" in pool else description["tasks"]:
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


def test_a_masked_autoencoder_leaves_a_vit_that_is_fine_tuned(chest: Path, tmp_path: Path) -> None:
    values = {"architecture": "vit_tiny", "probe_every": 0}
    pretrain("cxr", chest, tmp_path / "pretrain", tasks={"mae": {"layers": 1}}, **values)
    metrics = json.loads((tmp_path / "pretrain" / "metrics.json").read_text())["metrics"]
    assert metrics["mae/error"] > 0
    begun = torch.load(tmp_path / "pretrain" / "backbone.pt", weights_only=True)
    more = {"architecture": "vit_tiny", "layer_decay": 0.5}
    finetune("cxr", chest, tmp_path / "run", pretrained=tmp_path / "pretrain", **more)
    moved = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert set(begun) < set(moved)
    assert not any(key.startswith(("decoder", "mask")) for key in begun)
    assert 0 <= evaluate(chest, tmp_path / "run")["mAUROC"] <= 1


@pytest.mark.parametrize("kind", ["cxr", "ct"])
def test_finetuning_evaluation_and_inference_agree(
    kind: str, chest: Path, head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datalist = chest if kind == "cxr" else head
    pretrain(kind, datalist, tmp_path / "pretrain", probe_every=0, tasks="rvrm")
    run = tmp_path / "run"
    finetune(kind, datalist, run, pretrained=tmp_path / "pretrain" / "backbone.pt", backbone_rate=0.5, epochs=2)
    metrics = evaluate(datalist, run)
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
    BundleRun("finetune", {**inference, "workers": 0}, "inference").run()
    workflow = ConfigWorkflow(
        str(bundle_folder("finetune") / "configs" / "inference.yaml"),
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
    metrics = evaluate(datalist, tmp_path)
    assert 0 <= metrics["accuracy"][1] <= metrics["accuracy"][0] <= metrics["accuracy"][2] <= 1
    folder = chest.parents[1] / "phantoms" / "images"
    BundleRun("finetune", {"dataset_dir": folder, "output_dir": tmp_path, "workers": 0}, "inference").run()
    for name in ("predictions_validation", "predictions_test", "predictions"):
        scores = read_predictions(tmp_path / f"{name}.csv").scores
        assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["cxr", "ct"])
def test_a_linear_probe_leaves_the_backbone_and_is_evaluated_like_any_run(
    kind: str, chest: Path, head: Path, tmp_path: Path
) -> None:
    datalist = chest if kind == "cxr" else head
    pretrain(kind, datalist, tmp_path / "pretrain", probe_every=0, tasks="rotation")
    run, backbone = tmp_path / "run", tmp_path / "pretrain" / "backbone.pt"
    # All images at once, and in 32 bits, as the evaluation is.
    values = {"pretrained": backbone, "epochs": 10, "batch_size": 64, "amp": False}
    finetune(kind, datalist, run, "linear_probe", **values)
    state, before = (torch.load(path, weights_only=True) for path in (run / "model.pt", backbone))
    assert all(torch.equal(state[key], before[key]) for key in before)
    assert set(state) - set(before) == {"fc.weight", "fc.bias"}
    metrics = evaluate(datalist, run, split="validation")
    # On its stored features the head was as good as the whole network is on the images.
    log = EventAccumulator(str(run)).Reload()
    assert metrics["mAUROC"] == pytest.approx(log.Scalars("val_mAUROC")[-1].value, abs=1e-6)
    assert len(log.Scalars("loss")) == 10
    assert log.Scalars("loss")[-1].value < log.Scalars("loss")[0].value


def test_probes_do_not_change_what_is_learned(chest: Path, tmp_path: Path) -> None:
    for every in (0, 1):
        pretrain("cxr", chest, tmp_path / str(every), epochs=2, probe_every=every)
    without, probed = (torch.load(tmp_path / name / "backbone.pt", weights_only=True) for name in "01")
    assert all(torch.equal(without[key], probed[key]) for key in without)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text())["metrics"] for name in "01"]
    assert metrics[1] == {**metrics[0], **{key: metrics[1][key] for key in metrics[1] if key.startswith("probe/")}}
    assert len(metrics[1]) == len(metrics[0]) + 2


@pytest.mark.parametrize(("kind", "pool"), [("cxr", POOLS[-1]), ("ct", {})])
def test_a_resumed_pretraining_ends_like_an_undisturbed_one(
    kind: str, pool: dict[str, Any], chest: Path, head: Path, tmp_path: Path
) -> None:
    datalist = chest if kind == "cxr" else head
    for name, epochs, resume in (("whole", 3, False), ("parts", 1, False), ("parts", 3, True)):
        # A cosine of one epoch has other rates than the first third of one of three.
        pretrain(kind, datalist, tmp_path / name, epochs=epochs, resume=resume, rate_schedule="constant", **pool)
    whole, parts = (torch.load(tmp_path / name / "backbone.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_resumed_finetuning_keeps_the_best_model(chest: Path, tmp_path: Path) -> None:
    values = {"patience": 2, "backbone_rate": 0.1, "rate_schedule": "constant", "keep": "best"}
    for name, epochs, resume in (("whole", 4, False), ("parts", 2, False), ("parts", 4, True)):
        finetune("cxr", chest, tmp_path / name, epochs=epochs, resume=resume, **values)
    whole, parts = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]
    predictions = [(tmp_path / name / "predictions_validation.csv").read_text() for name in ("whole", "parts")]
    assert predictions[0] == predictions[1]


@pytest.mark.parametrize("kind", ["cxr", "ct"])
@pytest.mark.parametrize("bundle", BUNDLES)
def test_other_tools_find_the_properties_they_look_for(
    bundle: str, kind: str, chest: Path, head: Path, tmp_path: Path
) -> None:
    values = options(kind, chest if kind == "cxr" else head, tmp_path)
    values = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    folder = bundle_folder(bundle)
    # Evaluation takes from it what the model was trained with.
    trained = {"architecture": "resnet10_quarter", "spatial_dims": len(SIZES[kind]), "in_channels": 1}
    trained |= {"image_size": SIZES[kind], "window": [-50.0, 150.0] if kind == "ct" else None, "exclusive": False}
    trained |= {"labels": Datalist.read(values["data"]).labels}
    (tmp_path / "model.json").write_text(json.dumps(trained))
    for config in ["train", "train evaluate"] if bundle == "finetune" else ["train"]:
        files = [str(folder / "configs" / f"{name}.yaml") for name in config.split()]
        # Evaluation begins with loading a model, which other tools do not need in order to look at the config.
        workflow = ConfigWorkflow(files, bundle_root=str(folder), workflow_type="train", init_id="none", **values)
        workflow.initialize()
        assert workflow.check_properties() == []
    for name in ("LICENSE", "docs/README.md", "configs/multi_gpu_train.yaml", "configs/logging.conf"):
        assert (folder / name).is_file()
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]


def test_the_first_edition_s_commands_still_run(chest: Path, tmp_path: Path) -> None:
    old = bundle_folder("finetune").with_name("cxr_finetune")
    if not old.exists():
        pytest.skip("the old names are links of the repository, and no part of an installation")
    values = {"datalist": chest, "output_dir": tmp_path, "bundle_root": old, "workers": 0, "batch_size": 8}
    values |= {"architecture": "resnet10_quarter", "epochs": 1}
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    for configs in (["train"], ["train", "evaluate"]):
        workflow = ConfigWorkflow([str(old / "configs" / f"{name}.yaml") for name in configs], **plain)
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    assert json.loads((tmp_path / "metrics.json").read_text())["split"] == "test"


def test_a_run_keeps_the_numbers_it_was_made_with(chest: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "quick.yaml"
    recipe.write_text("pretrain: {tasks: 'rotation,mim', epochs: 2, 2D: {learning_rate: 0.002}}\n")
    values = options("cxr", chest, tmp_path / "run", recipe=recipe)
    BundleRun("pretrain", {name: values[name] for name in values if name not in ("learning_rate", "epochs")}).run()
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (kept["tasks"], kept["epochs"], kept["learning_rate"]) == ("rotation,mim", 2, 0.002)
    assert json.loads((tmp_path / "run" / "backbone.json").read_text())["tasks"] == ["rotation", "mim"]
