"""The bundle for segmentation, run as a user runs it, on phantoms in 2D and 3D."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow
from processes import command, end_of, start, wait_until

from medssl.data import Datalist, write_datalist
from medssl.errors import user_error
from medssl.evaluation import read_mask_rows
from medssl.networks import build_backbone, build_segmenter, save_backbone
from medssl.studies import BundleRun, bundle_folder

SIZES: dict[str, list[int]] = {"discs": [32, 32], "heads": [24, 24, 16]}
KINDS = pytest.mark.parametrize("kind", SIZES)


def training(kind: str, datalist: Path, output: Path, **values: Any) -> BundleRun:
    options = {"data": datalist, "output_dir": output, "workers": 0, "batch_size": 4, "learning_rate": 0.003}
    options |= {"architecture": "resnet10_quarter", "epochs": 2, "image_size": SIZES[kind]}
    return BundleRun("segment", {**options, **({"window": [-50.0, 150.0]} if kind == "heads" else {}), **values})


def evaluation(datalist: Path, run: Path, **values: Any) -> BundleRun:
    options = {"data": datalist, "output_dir": run, "workers": 0, "resamples": 20, **values}
    return BundleRun("segment", options, "evaluate")


def refusal(run: BundleRun) -> str:
    """The sentence with which a run is refused."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- MONAI wraps ours in errors of its own
        run.run()
    sentence = user_error(caught.value)
    assert sentence is not None, repr(caught.value)
    return str(sentence)


@pytest.mark.parametrize("configs", [["train"], ["train", "evaluate"]], ids=" ".join)
def test_other_tools_find_the_properties_they_look_for(
    configs: list[str], outlined_discs: Path, tmp_path: Path
) -> None:
    trained = training("discs", outlined_discs, tmp_path)
    described = Datalist.read(outlined_discs)
    model = {"architecture": "resnet10_quarter", "spatial_dims": 2, "in_channels": 1, "image_size": SIZES["discs"]}
    model |= {"window": None, "classes": described.classes, "contains": described.contains, "mask_loss": "dice_bce"}
    model |= {"deep_supervision": 0}
    (tmp_path / "model.json").write_text(json.dumps(model))
    files = [str(bundle_folder("segment") / "configs" / f"{name}.yaml") for name in configs]
    values = {name: str(value) if isinstance(value, Path) else value for name, value in trained.options.items()}
    # Evaluation begins with loading a model, which other tools do not need in order to look at the config.
    workflow = ConfigWorkflow(
        files, bundle_root=str(bundle_folder("segment")), workflow_type="train", init_id="none", **values
    )
    workflow.initialize()
    assert workflow.check_properties() == []


@KINDS
def test_a_training_is_resumed_to_the_bit_and_evaluated(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datalist, whole, resumed = request.getfixturevalue(f"outlined_{kind}"), tmp_path / "whole", tmp_path / "resumed"
    more = {"average": 0.5, "deep_supervision": 1, "accumulate": 2, "epochs": 3}
    training(kind, datalist, whole, **more).run()
    (resumed / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / "previous.pt", resumed / "checkpoints" / "last.pt")
    shutil.copy(whole / "checkpoints" / "settings.json", resumed / "checkpoints" / "settings.json")
    training(kind, datalist, resumed, resume=True, **more).run()
    last = (whole / "checkpoints" / "last.pt").read_bytes()
    assert last == (resumed / "checkpoints" / "last.pt").read_bytes()
    state = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)
    assert {group["lr"] for group in state["optimizer"]["param_groups"]} == {0}

    prepared = Datalist.read(datalist)
    description = json.loads((whole / "model.json").read_text())
    assert (description["classes"], description["contains"]) == (prepared.classes, prepared.contains)
    validated = json.loads((whole / "metrics.json").read_text())
    assert validated["split"] == "validation"
    evaluation(datalist, whole).run()
    figures = json.loads((whole / "metrics.json").read_text())
    assert set(figures["splits"]) == {"validation", "test"}
    assert list(figures["per_class"]) == prepared.classes
    assert set(figures["baselines"]) == {"intensity", "untrained"}
    rows, items = read_mask_rows(whole / "masks_test.csv"), prepared.segmented("test")
    assert {row.image for row in rows} == {os.path.relpath(item["image"], datalist.parent) for item in items}
    outlined = sum(int(item["outlined"].sum()) for item in items)
    # The whole is known where its parts were outlined, but no part where the whole was.
    with_parts = sum(item["outlined"][prepared.classes.index("dark")] for item in items) if kind == "discs" else 0
    assert len(rows) == outlined + with_parts
    assert (whole / "overlays_test.png").read_bytes().startswith(b"\x89PNG")
    assert f"Mean Dice on test: {figures['mDice']:.3f}" in capsys.readouterr().out


def test_a_whole_is_learned_from_its_parts_and_where_it_was_outlined_itself(
    outlined_discs: Path, tmp_path: Path
) -> None:
    training("discs", outlined_discs, tmp_path, epochs=30, val_interval=30, mirrored=False, keep="last").run()
    evaluation(outlined_discs, tmp_path, trivial=False, pictures=0).run()
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert "baselines" not in figures
    assert not (tmp_path / "overlays_test.png").exists()
    # The parts were outlined in four training images, too few to tell them apart in others.
    assert figures["per_class"]["discs"] > 0.9
    assert {name: source["per_class"]["discs"] > 0.85 for name, source in figures["sources"].items()} == {
        "north": True,
        "south": True,
    }


def test_a_killed_training_goes_on_as_if_nothing_had_happened(outlined_discs: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    whole, killed = (training("discs", outlined_discs, tmp_path / name, epochs=4) for name in ("whole", "killed"))
    process = start(command, log, killed)
    wait_until((killed.folder / "checkpoints" / "last.pt").exists, process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    both = [start(command, log, run) for run in (whole, killed.with_options(resume=True))]
    assert end_of(both, log) == [0, 0], log.read_text()[-3000:]
    for name in ("checkpoints/last.pt", "model.pt", "metrics.json"):
        assert (whole.folder / name).read_bytes() == (killed.folder / name).read_bytes(), name


@KINDS
def test_backbone_and_decoder_of_a_pre_training_are_taken(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    datalist, dims = request.getfixturevalue(f"outlined_{kind}"), len(SIZES[kind])
    backbone = build_backbone("resnet10_quarter", dims)
    decoder = build_segmenter("resnet10_quarter", dims, 1, 1).decoder
    view = Datalist.read(datalist).view().to_dict() | {"image_size": SIZES[kind]}
    save_backbone(backbone, tmp_path / "backbone.pt", decoder=decoder, **view)
    for taken in (True, False):
        options = {"pretrained": tmp_path, "pretrained_decoder": taken, "epochs": 1, "learning_rate": 1e-9}
        training(kind, datalist, tmp_path / str(taken), **options).run()
        state = torch.load(tmp_path / str(taken) / "model.pt", weights_only=True)
        name = "backbone.conv1.weight"
        torch.testing.assert_close(state[name], backbone.network.state_dict()["conv1.weight"], atol=1e-6, rtol=0)
        own, theirs = state["decoder.blocks.0.narrow.weight"], decoder.state_dict()["blocks.0.narrow.weight"]
        assert torch.allclose(own, theirs, atol=1e-6) == taken


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a loss for other classes": ({"mask_loss": "marginal_exclusion"}, "discs contains dark, bright: take dice_bce"),
    "no such loss": ({"mask_loss": "dice"}, "--mask_loss is 'dice', and must be one of dice_bce"),
    "more levels than there are": ({"deep_supervision": 9}, "deep_supervision must lie between 0 and"),
    "no share": ({"foreground": 2}, "--foreground is 2, and must be a share from 0 to 1"),
    "overlap": ({"overlap": 1.0}, "--overlap is 1.0, and must be a share from 0, below 1"),
    "another size": ({"image_size": [64, 64]}, "prepare them with --size 64 64"),
    "no such weights": ({"pretrained": "nowhere"}, "There is no weights file nowhere"),
    "an option of another bundle": ({"label_loss": "asymmetric"}, "label_loss"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_a_sentence_before_the_work_begins(
    name: str, outlined_discs: Path, tmp_path: Path
) -> None:
    values, sentence = MISTAKES[name]
    assert sentence in refusal(training("discs", outlined_discs, tmp_path / "run", **values))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_images_without_masks_and_classes_that_nobody_outlined_are_refused(
    chest: Path, outlined_discs: Path, tmp_path: Path
) -> None:
    assert "has no masks: prepare" in refusal(training("discs", chest, tmp_path / "run"))
    content = json.loads(outlined_discs.read_text())
    for split in ("training", "validation", "test"):
        content[split] = [item for item in content[split] if item["source"] == "south"]
    path = outlined_discs.with_name("south.json")
    splits = {split: content[split] for split in ("training", "validation", "test")}
    write_datalist(path, [], splits, classes=content["classes"], contains=content["contains"])
    said = refusal(training("discs", path, tmp_path / "run"))
    assert "Nobody outlined dark, bright in training" in said
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_model_meets_masks_of_other_classes(
    outlined_discs: Path, outlined_heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training("discs", outlined_discs, tmp_path, epochs=1).run()
    assert "is of volumes, and the network sees 2D images" in refusal(evaluation(outlined_heads, tmp_path))
    content = json.loads(outlined_discs.read_text())
    path = outlined_discs.with_name("renamed.json")
    for items in (content[split] for split in ("training", "validation", "test")):
        for item in items:
            item["outlined"] = [name.replace("bright", "other") for name in item["outlined"]]
    splits = {split: content[split] for split in ("training", "validation", "test")}
    write_datalist(path, [], splits, classes=[name.replace("bright", "other") for name in content["classes"]])
    evaluation(path, tmp_path).run()
    assert "nobody outlined bright" in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics.json").read_text())["undefined"] == ["bright"]
