"""Masks in the datalist: what is written is read, and what breaks the rules is said."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medssl.data import Datalist, whole_parts, write_datalist
from medssl.errors import UserError
from medssl.transforms import known_targets

CLASSES = ["left", "right", "lungs", "heart"]
CONTAINS = {"lungs": ["left", "right"]}


def item(name: str, *outlined: str, **more: object) -> dict:
    return {"image": f"{name}.png", "patient": name, "mask": f"{name}.b2nd", "outlined": list(outlined), **more}


def write(folder: Path, labels: list[str] | None = None, **splits: list[dict]) -> Path:
    for each in [each for items in splits.values() for each in items]:
        for key in ("image", "mask"):
            if key in each:
                (folder / each[key]).touch()
    write_datalist(folder / "datalist.json", labels or [], splits, classes=CLASSES, contains=CONTAINS)
    return folder / "datalist.json"


def test_masks_are_read_as_they_are_written(tmp_path: Path) -> None:
    training = [item("a", "left", "right"), item("b", "lungs", label=[1]), {"image": "c.png", "patient": "c"}]
    training[2]["label"] = [0]
    path = write(tmp_path, ["Mass"], training=training, test=[item("d", "heart")])
    datalist = Datalist.read(path)
    assert (datalist.classes, datalist.contains, datalist.labels) == (CLASSES, CONTAINS, ["Mass"])
    first, second = datalist.segmented("training")
    assert first["mask"] == str(tmp_path / "a.b2nd")
    assert (first["file"], first["patient"]) == (str(tmp_path / "a.png"), "a")
    assert "label" not in first
    assert first["outlined"].dtype == np.float32
    np.testing.assert_array_equal([first["outlined"], second["outlined"]], [[1, 1, 0, 0], [0, 0, 1, 0]])
    assert [each["patient"] for each in datalist.labelled("training")] == ["b", "c"]
    assert np.isnan(datalist.items("training")[0]["label"]).all()
    assert len(datalist.items("pretrain")) == 3
    (other,) = datalist.segmented("test", ["spine", "heart"])
    assert (other["outlined"].tolist(), other["bit_order"].tolist()) == ([0, 1], [-1, 3])
    assert datalist.segmented("validation", may_be_empty=True) == []
    (tmp_path / "d.b2nd").unlink()
    for split, classes, said in (
        ("test", None, "no mask .*d.b2nd"),
        ("validation", None, "no mask in validation"),
        ("unlabeled", None, "no masks in 'unlabeled'"),
        ("training", ["spine"], "knows none of them but spine"),
    ):
        with pytest.raises(UserError, match=said):
            datalist.segmented(split, classes)
    write_datalist(tmp_path / "plain.json", ["Mass"], {"training": [training[2]]})
    with pytest.raises(UserError, match="has no masks"):
        Datalist.read(tmp_path / "plain.json").segmented("training")


def test_wholes_and_parts_are_numbers_of_classes() -> None:
    parts = whole_parts(CLASSES, CONTAINS)
    assert parts == {2: [0, 1]}
    assert whole_parts(["lungs", "left"], CONTAINS) == {}  # of a network that does not know all of them
    targets = known_targets(torch.tensor([[[1, 2, 0]]]), torch.tensor([[1.0, 1, 0, 0]]), parts)
    assert targets[0, 2].tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": "left"}, "classes are names"),
        ({"classes": ["left", ""]}, "classes are names"),
        ({"classes": ["left", "left"]}, "a name occurs twice in classes"),
        ({"classes": [f"class {number}" for number in range(64)]}, "at most 63 classes, and there are 64"),
        ({"contains": ["lungs"]}, "write class: "),
        ({"contains": {"lungs": []}}, "write class: "),
        ({"contains": {"lungs": ["lft"]}}, "contains names 'lft'"),
        ({"contains": {"trunk": ["left"]}}, "contains names 'trunk'"),
        ({"contains": {"lungs": ["left"], "left": ["lungs"]}}, "nothing contains itself"),
        ({"training": [{**item("a"), "outlined": None}]}, r'training\[0\] has a mask: list in "outlined"'),
        ({"training": [item("a")]}, r'training\[0\] has a mask: list in "outlined"'),
        ({"training": [item("a", "liver")]}, r"training\[0\] has 'liver' outlined"),
        ({"training": [item("a", "left", "left")]}, "a name occurs twice in outlined"),
        ({"training": [{**item("a", "left"), "mask": 3}]}, "the mask 3"),
        ({"training": [{**item("a", "left"), "label": [1, 0]}]}, "2 label values, and there are 1"),
        ({"training": [{"image": "a", "patient": "1", "label": [1], "outlined": []}]}, 'has no "mask"'),
        ({"training": [{"image": "a", "patient": "1"}]}, "no label values"),
        ({"unlabeled": [item("a", "left")]}, r"unlabeled\[0\] has a mask"),
        ({"classes": []}, "contains names 'lungs'"),
        ({"classes": [], "contains": {}, "training": [item("a", "left")]}, "there are none"),
    ],
)
def test_broken_masks_are_said(tmp_path: Path, change: dict, said: str) -> None:
    good = {"labels": ["Mass"], "classes": CLASSES, "contains": CONTAINS, "training": [item("a", "left")]}
    (tmp_path / "d.json").write_text(json.dumps(good))
    Datalist.read(tmp_path / "d.json")
    (tmp_path / "d.json").write_text(json.dumps({**good, **change}))
    with pytest.raises(UserError, match=said):
        Datalist.read(tmp_path / "d.json")
