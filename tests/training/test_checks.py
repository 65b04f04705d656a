"""What does not fit is said before a run begins: data, weights, and a run that is to go on."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medssl.data import Datalist
from medssl.data.store import write_settings
from medssl.errors import UserError
from medssl.networks import build_backbone, save_backbone
from medssl.runs import CHECKPOINTS
from medssl.training import (
    check_finetuning,
    check_pretrained,
    check_pretraining,
    check_resumed,
    check_view,
    fingerprint,
)
from medssl.transforms import View

FLAT: dict[str, Any] = {
    "architecture": "resnet10_quarter",
    "spatial_dims": 2,
    "image_size": [64, 64],
    "modality": "",
    "labels": ["A", "B"],
    "exclusive": False,
}
DEEP = {**FLAT, "spatial_dims": 3, "image_size": [32, 32, 16], "spacing": [1.0, 1.0, 2.0], "window": [-200.0, 300.0]}


def datalist(folder: Path, **store: Any) -> Datalist:
    """An empty datalist beside the settings of its store."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "datalist.json"
    path.write_text(json.dumps({"labels": []}))
    axes = 3 if "spacing" in store else 2
    write_settings(folder, {"spatial_dims": axes, **({"size": [64, 64]} if axes == 2 else {}), **store})  # type: ignore[typeddict-item]
    return Datalist.read(path)


def view(description: dict[str, Any]) -> View:
    return View.from_dict(description)


def items(*labels: list[float]) -> list[dict[str, Any]]:
    return [{"image": f"{n}.b2nd", "label": np.array(label, np.float32)} for n, label in enumerate(labels)]


NAN = float("nan")
GOOD = items([1, 0], [0, NAN], [1, 1])


def test_what_can_be_trained_passes(tmp_path: Path) -> None:
    check_finetuning(datalist(tmp_path), view(FLAT), FLAT, GOOD, GOOD, batch_size=8, patience=3)
    check_pretraining(datalist(tmp_path), view(FLAT), "resnet10_quarter", GOOD, batch_size=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": []}, "no image in training"),
        ({"training": GOOD[:1]}, "1 image in training"),
        ({"training": items([NAN, NAN], [NAN, NAN])}, "No label of any training image"),
        ({"validation": []}, r"no image in validation.*--fractions"),
        ({"validation": items([1, NAN], [1, NAN]), "patience": 2}, "--patience has nothing to go by"),
        ({"batch_size": 1, "description": {**FLAT, "image_size": [63, 63]}}, "--batch_size 1 is too small"),
        ({"description": {**FLAT, "image_size": [48, 48]}}, r"64 × 64 pixels, .* 48 × 48.*--size 48 48"),
        ({"description": {**FLAT, "architecture": "vgg11", "image_size": [20, 64]}}, "too small for vgg11"),
        ({"pretrained": "nowhere/backbone.pt"}, "no weights file nowhere"),
    ],
)
def test_a_finetuning_that_would_end_with_nothing_does_not_begin(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    values = {"training": GOOD, "validation": GOOD, "description": FLAT, "batch_size": 8, **changes}
    with pytest.raises(UserError, match=said):
        check_finetuning(datalist(tmp_path), view(values["description"]), **values)


def test_a_validation_that_tells_no_epochs_apart_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_finetuning(datalist(tmp_path), view(FLAT), FLAT, GOOD, items([1, NAN], [1, 0]), batch_size=8)
    assert "the model of the last epoch is kept" in caplog.text


@pytest.mark.parametrize("count", [0, 1])
def test_a_pretraining_needs_images(count: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two"):
        check_pretraining(datalist(tmp_path), view(FLAT), "resnet18", GOOD[:count], batch_size=8)


@pytest.mark.parametrize(
    ("store", "description", "said"),
    [
        ({"size": [32, 64]}, FLAT, "32 × 64 pixels, and the network sees 64 × 64"),
        ({"spacing": [2.0, 2.0, 2.0]}, DEEP, r"2 × 2 × 2 mm, and the network sees 1 × 1 × 2 mm.*--spacing 1 1 2"),
        ({"spacing": [1.0, 1.0, -1.0]}, DEEP, "1 × 1 × -1 mm"),
        ({"spacing": [1.0, 1.0, 2.0], "modality": "MR"}, DEEP, r"are MR, .* HU .* --window none"),
        ({"spacing": [1.0, 1.0, 2.0], "modality": "MR"}, {**DEEP, "modality": "CT"}, "are MR, .* trained on CT"),
        ({"modality": "US"}, {**FLAT, "modality": "CR"}, "are US, .* trained on CR"),
        ({"spacing": [1.0, 1.0, 2.0]}, FLAT, "is of volumes"),
        ({}, DEEP, "is of 2D images"),
    ],
)
def test_images_that_are_not_what_the_network_sees_are_refused_with_both_values(
    store: dict[str, Any], description: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        check_view(datalist(tmp_path, **store), view(description))


@pytest.mark.parametrize(
    ("store", "description"),
    [
        ({}, {key: value for key, value in FLAT.items() if key != "modality"}),  # a run of an earlier version
        ({"modality": "DX"}, {**FLAT, "modality": "CR"}),
        ({"modality": "US"}, FLAT),
        ({"spacing": [1.0, 1, 2.00001], "modality": "CT"}, DEEP),
        ({"spacing": [1.0, -1, 2.0]}, {**DEEP, "spacing": [1.0, -1.0, 2.0]}),
    ],
)
def test_images_that_are_what_the_network_sees_pass(
    store: dict[str, Any], description: dict[str, Any], tmp_path: Path
) -> None:
    check_view(datalist(tmp_path, **store), view(description))


def backbone(folder: Path, spatial_dims: int = 2, **description: Any) -> Path:
    save_backbone(build_backbone("resnet10_quarter", spatial_dims), folder / "backbone.pt", **description)
    return folder


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    run = backbone(tmp_path / "run")
    check_pretrained(run, FLAT)
    check_pretrained(run / "backbone.pt", FLAT)
    for changes, said in (
        ({"architecture": "resnet18"}, "architecture resnet10_quarter, and this one has resnet18"),
        ({"spatial_dims": 3}, "spatial_dims 2, and this one has 3"),
    ):
        with pytest.raises(UserError, match=said):
            check_pretrained(run, {**FLAT, **changes})
    (tmp_path / "run" / "backbone.json").write_text(json.dumps({**FLAT, "labels": ["B", "A"]}))  # a classifier's
    with pytest.raises(UserError, match=r"labels \['B', 'A'\], and this one has \['A', 'B'\]"):
        check_pretrained(run, FLAT)
    (tmp_path / "run" / "backbone.json").unlink()  # somebody else's weights
    check_pretrained(run, FLAT)


def test_weights_that_learned_from_other_images_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = {"image_size": [99, 99, 99], "spacing": [2.0, 2.0, 2.0], "window": [-50.0, 150.0], "modality": "MR"}
    run = backbone(tmp_path / "run", 3, **seen)
    description = {**DEEP, "modality": "CT"}
    with caplog.at_level(logging.WARNING):
        check_pretrained(run, description)
    (said,) = caplog.messages
    assert "spacing 2 × 2 × 2 instead of 1 × 1 × 2" in said
    assert "window -50 × 150 instead of -200 × 300" in said
    assert "modality MR instead of CT" in said
    assert "image_size" not in said  # a convolutional network may see images of any size
    caplog.clear()
    same = {key: description[key] for key in ("image_size", "spacing", "window", "modality")}
    backbone(tmp_path / "same", 3, **same)
    check_pretrained(tmp_path / "same", description)
    assert not caplog.messages


def test_a_run_that_goes_on_is_the_same_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = {**DEEP, "data": "5e0c", "images": 10}
    check_resumed(False, tmp_path, settings)
    assert not caplog.messages
    check_resumed(True, tmp_path, settings)
    assert "begins with the first epoch" in caplog.text
    (tmp_path / CHECKPOINTS).mkdir()
    (tmp_path / CHECKPOINTS / "last.pt").touch()
    check_resumed(True, tmp_path, settings)  # a checkpoint of an earlier version says nothing of itself
    (tmp_path / CHECKPOINTS / "settings.json").write_text(json.dumps(settings))
    check_resumed(True, tmp_path, {**settings, "window": (-200, 300), "new": 1})
    for name, value in (("labels", ["B", "A"]), ("data", "17af"), ("spacing", [1, 1, 1]), ("images", 12)):
        with pytest.raises(UserError, match=f"of a run with {name} .*, and now it is"):
            check_resumed(True, tmp_path, {**settings, name: value})
    caplog.clear()
    check_resumed(True, tmp_path, {**settings, "images": 12}, may_differ=["images"])
    assert "a run with images 10, and now it is 12." in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_damaged_settings_of_a_run_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINTS).mkdir()
    (tmp_path / CHECKPOINTS / "last.pt").touch()
    (tmp_path / CHECKPOINTS / "settings.json").write_text(text)
    with pytest.raises(UserError, match=r"settings\.json is damaged"):
        check_resumed(True, tmp_path, FLAT)


def test_a_fingerprint_tells_other_images_and_other_labels_but_not_another_folder() -> None:
    first = fingerprint(GOOD)
    assert first == fingerprint([{**item, "image": f"/elsewhere/{item['image']}"} for item in GOOD])
    for other in (GOOD[:2], GOOD[::-1], items([1, 0], [0, 0], [1, 1]), items([1, 0], [0, NAN], [1, 0])):
        assert fingerprint(other) != first
