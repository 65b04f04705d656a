"""Self-training: what a first model is sure of fills what is unknown, and nothing else changes."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.data import Datalist, write_datalist
from medssl.data.store import write_settings
from medssl.errors import UserError
from medssl.evaluation import Calibration
from medssl.evaluation.temperature import ClassCalibration
from medssl.files import write_json
from medssl.networks import build_classifier
from medssl.training import fill_unknown
from medssl.training.pseudo_labels import fill_confident
from medssl.transforms import View, write_stored

NAN = np.nan
VIEW = View(2, (32, 32))
COUNT = 12


@pytest.fixture
def prepared(tmp_path: Path) -> Datalist:
    """Radiographs of noise: of the training split half are known for Mass only, of the others nothing is known."""
    generator = np.random.default_rng(0)
    write_settings(tmp_path, {"spatial_dims": 2, "size": [32, 32], "modality": "DX", "view": VIEW.to_dict()})
    splits: dict = {"training": [], "validation": [], "test": [], "unlabeled": []}
    for split, items in splits.items():
        for number in range(COUNT):
            name = f"{split}{number}"
            write_stored(tmp_path / f"{name}.b2nd", generator.normal(size=(32, 32)).astype(np.float32))
            items.append({"image": f"{name}.b2nd", "patient": name})
            if split != "unlabeled":
                items[-1]["label"] = [None, number % 2 if number < COUNT // 2 else None]
    write_datalist(tmp_path / "datalist.json", ["Edema", "Mass"], splits)
    return Datalist.read(tmp_path)


def first_model(folder: Path, labels: list[str], **changes: object) -> Path:
    """A finished run with random weights, without a calibration."""
    torch.manual_seed(0)
    folder.mkdir()
    network = build_classifier("resnet10_quarter", 2, 1, len(labels))
    torch.save(network.state_dict(), folder / "model.pt")
    described = {**VIEW.to_dict(), "architecture": "resnet10_quarter", "in_channels": 1, "exclusive": False}
    write_json(folder / "model.json", {**described, "labels": labels, **changes})
    return folder


def test_unknown_labels_of_training_are_filled_where_the_calibrated_model_is_sure(
    prepared: Datalist, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = first_model(tmp_path / "run", ["Mass", "Edema", "Hernia"])  # another order, and one more
    network = build_classifier("resnet10_quarter", 2, 1, 3)
    network.load_state_dict(torch.load(model / "model.pt", weights_only=True))
    network.eval()
    items = prepared.items("training") + prepared.items("unlabeled")
    with torch.no_grad():
        logits = torch.cat([network(VIEW.stored()(item)["image"][None]) for item in items])
    spread, middle = logits.std(dim=0), logits.mean(dim=0)  # calibrated, it is sure of both outcomes
    of_classes = zip(["Mass", "Edema", "Hernia"], spread.tolist(), (-middle / spread).tolist(), strict=True)
    Calibration(False, {name: ClassCalibration(*values) for name, *values in of_classes}).write(model)
    before, state = Path(prepared.path).read_bytes(), torch.get_rng_state()
    with caplog.at_level(logging.INFO):
        found = fill_unknown(prepared, ["Edema", "Mass"], model=model, positive=0.6, negative=0.4, unlabeled=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert Path(prepared.path).read_bytes() == before

    probabilities = ((logits - middle) / spread).sigmoid()
    counts = {"Edema": [0, 0], "Mass": [0, 0]}
    expected = {}
    for item, (mass, edema, _) in zip(items, probabilities.tolist(), strict=True):
        label = list(item.get("label", [NAN, NAN]))
        for place, probability in enumerate((edema, mass)):
            if np.isnan(label[place]) and not 0.4 < probability < 0.6:
                label[place] = float(probability > 0.5)
                counts[["Edema", "Mass"][place]][probability < 0.5] += 1
        if "label" in item or not np.isnan(label).all():
            expected[item["file"]] = label
    assert [item["file"] for item in found.items] == list(expected)
    np.testing.assert_array_equal([item["label"] for item in found.items], list(expected.values()))
    assert all(map(all, counts.values()))  # so that something was asked
    told = found.description["pseudo_labels"]
    assert told["filled"] == counts
    assert told["unlabeled_images"] == len(expected) - COUNT
    assert str(sum(map(sum, counts.values()))) in caplog.text
    assert "run" not in json.dumps(told)


def test_known_labels_are_never_overwritten_and_classes_that_the_model_lacks_stay_unknown() -> None:
    labels = np.array([[1, 0, NAN], [NAN, NAN, NAN], [0, NAN, 1]], dtype=np.float32)
    probabilities = np.array([[0.0, 1.0, NAN], [0.9, 0.1, NAN], [0.89, 0.11, NAN]])
    filled = fill_confident(labels, probabilities, 0.9, 0.1)
    np.testing.assert_array_equal(filled, [[1, 0, NAN], [1, 0, NAN], [0, NAN, 1]])


def test_of_exclusive_classes_an_image_is_filled_whole_or_not_at_all() -> None:
    labels = np.array([[NAN] * 3, [NAN] * 3, [0, 1, 0]], dtype=np.float32)
    probabilities = np.array([[0.05, 0.92, 0.03], [0.05, 0.85, 0.1], [1.0, 0.0, 0.0]])
    filled = fill_confident(labels, probabilities, 0.9, 0.1, exclusive=True)
    np.testing.assert_array_equal(filled, [[0, 1, 0], [NAN] * 3, [0, 1, 0]])


def test_without_a_model_the_training_split_is_as_it_was(prepared: Datalist) -> None:
    found = fill_unknown(prepared, ["Edema", "Mass"])
    assert not found.description
    for item, before in zip(found.items, prepared.items("training"), strict=True):
        np.testing.assert_array_equal(item["label"], before["label"])


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"labels": ["Nodule"]}, {}, "Nodule"),
        ({"exclusive": True}, {}, "excludes"),
        ({"image_size": [64, 64]}, {}, "64"),
        ({}, {"negative": 0.95}, "pseudo_negative"),
    ],
    ids=["other classes", "exclusive", "other size", "limits"],
)
def test_a_model_that_cannot_say_is_refused(
    changes: dict, arguments: dict, words: str, prepared: Datalist, tmp_path: Path
) -> None:
    labels = changes.get("labels", ["Mass"])
    model = first_model(tmp_path / "run", labels, **{key: value for key, value in changes.items() if key != "labels"})
    with pytest.raises(UserError, match=words):
        fill_unknown(prepared, ["Edema", "Mass"], model=model, **arguments)
