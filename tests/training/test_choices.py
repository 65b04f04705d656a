"""What a run takes where its command says nothing: recipes, and what a network sees."""

import json
import logging
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.data import set_rnd
from monai.transforms.traits import RandomizableTrait

from medssl.data import Datalist
from medssl.data.store import write_settings
from medssl.errors import UserError
from medssl.networks import build_backbone, save_backbone
from medssl.training import choices, choose_view, read_recipe, training_view
from medssl.training.options import check_values
from medssl.transforms import View, write_stored

PROPOSED = View(3, (64, 64, 16), (-1000.0, 500.0), (1.0, 1.0, 4.0), "CT")


def prepared(folder: Path, view: View = PROPOSED) -> Datalist:
    store: Any = {"spatial_dims": view.spatial_dims, "modality": view.modality, "view": view.to_dict()}
    store |= {"spacing": list(view.spacing)} if view.spacing else {"size": list(view.image_size)}
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder, store)
    (folder / "datalist.json").write_text(json.dumps({"labels": []}))
    return Datalist.read(folder)


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "segment"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", [path.stem for path in (files("medssl.configs") / "recipes").iterdir()])  # type: ignore[attr-defined]
def test_every_recipe_of_ours_gives_all_the_numbers(name: str, spatial_dims: int, stage: str) -> None:
    numbers = read_recipe(name, stage, spatial_dims)
    assert {"architecture", "epochs", "batch_size", "learning_rate"} <= set(numbers)
    check_values(numbers)
    assert ("tasks" in numbers) == (stage == "pretrain")


def test_a_recipe_of_ones_own_rules_over_the_default_and_its_dimensions_over_the_rest(tmp_path: Path) -> None:
    recipe = tmp_path / "ours.yaml"
    recipe.write_text("pretrain: {tasks: 'rotation,mim', epochs: 7, 3D: {epochs: 9}}\n")
    default = read_recipe("default", "pretrain", 2)
    assert read_recipe(recipe, "pretrain", 2) == {**default, "tasks": "rotation,mim", "epochs": 7, "steps": 0}
    assert read_recipe(str(recipe), "pretrain", 3)["epochs"] == 9
    assert read_recipe(recipe, "finetune", 2) == read_recipe("default", "finetune", 2)


def test_what_begins_with_weights_has_numbers_of_its_own_unless_a_recipe_says_otherwise(tmp_path: Path) -> None:
    recipe = tmp_path / "ours.yaml"
    recipe.write_text("finetune: {steps: 9, 3D: {steps: 8}, pretrained: {frozen: backbone, 3D: {steps: 7}}}\n")
    taken = {
        (dims, pretrained): read_recipe(recipe, "finetune", dims, pretrained)
        for dims in (2, 3)
        for pretrained in (False, True)
    }
    assert {key: numbers["steps"] for key, numbers in taken.items()} == {
        (2, False): 9,
        (2, True): 9,
        (3, False): 8,
        (3, True): 7,
    }
    assert [taken[2, begun]["frozen"] for begun in (False, True)] == ["nothing", "backbone"]
    random, begun = (read_recipe("default", "finetune", 2, pretrained) for pretrained in (False, True))
    assert random.keys() == begun.keys()
    assert random["learning_rate"] > begun["learning_rate"]
    assert read_recipe("dong2024", "finetune", 2, True) == read_recipe("dong2024", "finetune", 2)


def test_a_length_in_epochs_rules_over_the_defaults_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tmp_path / "ours.yaml"
    default = choices._path("default")
    (tmp_path / "default.yaml").write_text(default.read_text().replace("steps: 500", "steps: 1600"))
    monkeypatch.setattr(choices, "_path", lambda name: tmp_path / f"{name}.yaml")
    ours.write_text("finetune: {epochs: 7}\npretrain: {epochs: 7, steps: 5}\n")
    assert read_recipe("default", "finetune", 2)["steps"] == 1600
    assert read_recipe("ours", "finetune", 2)["steps"] == 0
    assert read_recipe("ours", "pretrain", 2)["steps"] == 5


@pytest.mark.parametrize(
    ("typed", "expected"),
    [({}, (20, 1600)), ({"epochs": 3}, (3, 0)), ({"steps": 9}, (20, 9)), ({"epochs": 3, "steps": 9}, (3, 9))],
)
def test_a_length_that_is_typed_rules_over_the_recipe(typed: dict[str, int], expected: tuple[int, int]) -> None:
    parser = ConfigParser(
        {
            "imports": ["$import medssl"],
            "numbers": {"epochs": 20, "steps": 1600},
            "epochs": "$@numbers['epochs']",
            "steps": "$medssl.training.choose_steps(@numbers)",
            **typed,
        }
    )
    assert (parser.get_parsed_content("epochs"), parser.get_parsed_content("steps")) == expected


def volumes(folder: Path, *shapes: tuple[int, ...]) -> list[dict[str, str]]:
    items = []
    for number, shape in enumerate(shapes):
        path = folder / f"{number}.b2nd"
        write_stored(path, np.random.default_rng(number).normal(size=shape).astype(np.float32))
        items.append({"image": str(path)})
    return items


def test_training_sees_every_place_of_a_volume_that_is_larger_than_the_box(tmp_path: Path) -> None:
    # Only the middle was seen, in training as well as in validation.
    view = View(3, (4, 4, 4))
    (item,) = items = volumes(tmp_path, (4, 4, 12))
    crops = training_view(view, items)
    set_rnd(crops, 1)
    seen = {tuple(crops(item)[0]["image"].flatten().tolist()) for _ in range(100)}
    assert len(seen) == 9
    middle = training_view(view, items, "middle")
    assert len({tuple(middle(item)["image"].flatten().tolist()) for _ in range(9)}) == 1


def test_where_no_volume_is_larger_training_can_keep_all_in_memory(tmp_path: Path) -> None:
    for shapes, image_size in ((((4, 4, 3), (2, 4, 4)), (4, 4, 4)), (((6, 6),), (6, 6))):
        view = View(len(image_size), image_size)
        transform = training_view(view, volumes(tmp_path, *shapes))
        assert not any(isinstance(step, RandomizableTrait) for step in transform.transforms)
    with pytest.raises(UserError, match="edge"):
        training_view(view, [], "edge")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("pretrain: {epoch: 3}", "epoch"),
        ("pretrain: {2D: {epochs: 0}}", "epochs"),
        ("pretrain: 3", "recipe"),
        ("[1]", "recipe"),
        ("a: b: c", "YAML"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_file(text: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text(text)
    with pytest.raises(UserError, match=named) as caught:
        read_recipe(tmp_path / "ours.yaml", "pretrain", 2)
    assert "ours.yaml" in str(caught.value)
    with pytest.raises(UserError, match="dong2024"):
        read_recipe("dong", "pretrain", 2)


def test_a_view_is_as_prepared_unless_something_is_given(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    assert choose_view(data) == PROPOSED
    assert choose_view(data, image_size=(8, 8, 8), window="lung") == View(
        3, (8, 8, 8), (-1350.0, 150.0), (1, 1, 4), "CT"
    )
    assert choose_view(data, window="none").window is None


IMPOSSIBLE: dict[str, list[Any]] = {
    "window": [[300, -200], [1], "wide", 300, [0, float("nan")]],
    "image_size": [64, [64], [64, 0, 64], [64, 64, 64.0], "64", [64, 64]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in IMPOSSIBLE.items() for value in values])
def test_what_no_network_can_see_is_refused_by_name(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=name) as caught:
        choose_view(prepared(tmp_path), **{name: value})
    assert str(value) in str(caught.value)


def test_a_store_of_the_first_edition_has_a_view(tmp_path: Path) -> None:
    (tmp_path / "datalist.json").write_text(json.dumps({"labels": []}))
    write_settings(tmp_path, {"spatial_dims": 3, "spacing": [1.0, 1.0, 5.0]})
    assert choose_view(Datalist.read(tmp_path)) == View(3, (128, 128, 32), (-200, 300), (1, 1, 5))


def test_what_the_weights_saw_comes_with_them_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = View(3, (32, 32, 8), (-200.0, 300.0), (1.0, 1.0, 4.0), "CT")
    run = tmp_path / "run"
    description = {name: value for name, value in seen.to_dict().items() if name != "spatial_dims"}
    save_backbone(build_backbone("resnet10_quarter", 3), run / "backbone.pt", **description)
    with caplog.at_level(logging.INFO):
        assert choose_view(prepared(tmp_path), pretrained=run) == seen
    assert "32 × 32 × 8 instead of 64 × 64 × 16" in caplog.text
    assert choose_view(prepared(tmp_path), image_size=[16, 16, 16], pretrained=run).image_size == (16, 16, 16)
    flat = View(2, (64, 64))  # a radiograph has the size that it was prepared in
    assert choose_view(prepared(tmp_path / "flat", flat), pretrained=run) == flat


def test_the_largest_box_is_chosen_for_volumes_in_a_training_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = prepared(tmp_path / "ct")
    write_stored(tmp_path / "ct" / "one.b2nd", np.zeros((70, 200, 100), np.int16))
    monkeypatch.setattr(Datalist, "items", lambda self, split: [{"image": str(tmp_path / "ct" / "one.b2nd")}])
    fits: Any = lambda size: np.prod(size) <= 64 * 128 * 64  # noqa: E731
    view = choose_view(volumes, "largest", trial=fits)
    assert view.image_size == (70, 160, 32)  # 64 × 64 × 16 times 2.5 in multiples of 16, and no longer than the volume
    assert view.window == PROPOSED.window
    with pytest.raises(UserError, match="largest is for boxes of volumes in a training"):
        choose_view(volumes, "largest")
    radiographs = prepared(tmp_path / "chest", View(2, (64, 64), modality="DX"))
    with pytest.raises(UserError, match="radiographs are seen as large as they were prepared"):
        choose_view(radiographs, "largest", trial=fits)
