"""Similarity of networks: the streamed form against the full one, and prepared images against a plain computation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from medssl.data import Datalist, Source, write_datalist
from medssl.data.prepare import prepare
from medssl.evaluation import (
    StreamingCKA,
    backbone_gains,
    draw_similarity,
    feature_gains,
    similarity_matrix,
    write_similarity,
)
from medssl.losses import linear_cka
from medssl.networks import build_backbone, load_backbone, save_backbone
from medssl.phantoms import write_phantoms
from medssl.transforms import View

CHEST, HEAD, WINDOW = (48, 48), (32, 32, 16), (-50.0, 150.0)


def streamed(sets: list[Tensor], batch: int) -> StreamingCKA:
    similarity = StreamingCKA()
    for start in range(0, len(sets[0]), batch):
        similarity.update([features[start : start + batch] for features in sets])
    return similarity


@pytest.mark.parametrize("batch", [1, 7, 50, 1000])
def test_mini_batches_give_what_all_images_at_once_give(batch: int) -> None:
    base = torch.randn(200, 12, dtype=torch.float64)
    mixed = base @ torch.randn(12, 30, dtype=torch.float64) + torch.randn(200, 30, dtype=torch.float64)
    sets = [base, 1e-3 * mixed, 1e4 + torch.randn(200, 9, dtype=torch.float64)]  # the last far from 0
    matrix = streamed(sets, batch).compute()
    full = [[linear_cka(x, y).item() for y in sets] for x in sets]
    np.testing.assert_allclose(matrix, full, rtol=0, atol=1e-10)
    assert (matrix == matrix.T).all()
    assert 0.1 < matrix[0, 1] < 0.9


def numbers_in(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel()
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return sum(map(numbers_in, parts))


def test_what_is_kept_does_not_grow_with_the_images() -> None:
    for images in (20, 2000):
        similarity = streamed([torch.randn(images, 8), torch.randn(images, 5)], 20)
        assert numbers_in(vars(similarity)) == 2 * (8 + 5) + 8 * 8 + 8 * 5 + 5 * 5


def test_what_has_no_similarity_is_said() -> None:
    constant = streamed([torch.randn(6, 3), torch.ones(6, 2)], 4).compute()
    assert constant[0, 0] == pytest.approx(1)
    assert np.isnan(constant[0, 1])
    with pytest.raises(ValueError, match="at least 3 images, got 2"):
        streamed([torch.randn(2, 3)], 2).compute()
    similarity = streamed([torch.randn(4, 3), torch.randn(4, 2)], 4)
    for wrong in ([torch.randn(4, 3)], [torch.randn(4, 3), torch.randn(3, 2)], [torch.randn(4, 3), torch.randn(4, 3)]):
        with pytest.raises(ValueError, match="must be of the same images"):
            similarity.update(wrong)


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chest")
    table = write_phantoms(folder / "phantoms", "chest", 24, size=64, progress=False)
    prepare([Source(images=folder / "phantoms" / "images", csv=table)], folder / "data", size=CHEST)
    return folder / "data" / "datalist.json"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("head")
    table = write_phantoms(folder / "phantoms", "head", 10, size=(32, 32, 32), progress=False)
    sources = [Source(images=folder / "phantoms" / "images", csv=table)]
    prepare(sources, folder / "data", spatial_dims=3, spacing=(6, 6, 6))
    return folder / "data" / "datalist.json"


def write_backbone(folder: Path, dims: int, copies: int = 1, **description: Any) -> Path:
    view = {"image_size": HEAD, "window": WINDOW, "spacing": [6.0, 6.0, 6.0]} if dims == 3 else {"image_size": CHEST}
    backbone = build_backbone("resnet10_quarter", dims, in_channels=copies)
    save_backbone(backbone, folder / "backbone.pt", copies, **{**view, **description})
    return folder / "backbone.pt"


@pytest.mark.parametrize("dims", [2, 3])
def test_the_matrix_of_checkpoints_is_that_of_their_features(
    dims: int, chest: Path, head: Path, tmp_path: Path
) -> None:
    datalist = chest if dims == 2 else head
    paths = {name: write_backbone(tmp_path / name, dims, copies) for name, copies in (("a", 1), ("b", 3), ("c", 1))}
    names, matrix = similarity_matrix(paths, datalist, batch_size=4, progress=False)
    assert names == ["a", "b", "c"]
    transform = (View(2, CHEST) if dims == 2 else View(3, HEAD, WINDOW)).stored()
    images = torch.stack([transform(item)["image"] for item in Datalist.read(datalist).items("pretrain")])
    features = []
    for path in paths.values():
        backbone = build_backbone("resnet10_quarter", dims).eval()
        backbone.network.load_state_dict(torch.load(path, weights_only=True))
        with torch.no_grad():
            features.append(backbone.pool(backbone(images)).double())
    full = [[linear_cka(x, y).item() for y in features] for x in features]
    np.testing.assert_allclose(matrix, full, rtol=0, atol=1e-5)
    assert matrix[0, 1] < 0.999


@pytest.mark.parametrize("dims", [2, 3])
def test_the_gain_of_checkpoints_is_that_of_their_features(dims: int, chest: Path, head: Path, tmp_path: Path) -> None:
    datalist = Datalist.read(chest if dims == 2 else head)
    # So few phantoms have neither enough patients nor enough of any finding.
    items = [item for split in ("training", "validation", "test") for item in datalist.items(split)]
    items = [{**item, "label": [place % 2, None], "patient": str(place)} for place, item in enumerate(items)]
    write_datalist(datalist.path.parent / "halves.json", ["Half", "Unknown"], {"training": items})
    halves = datalist.path.parent / "halves.json"
    paths = {name: write_backbone(tmp_path / name, dims) for name in ("pool", "a", "b")}
    others = {name: paths[name] for name in "ab"}
    gains = backbone_gains(paths["pool"], others, halves, batch_size=3, progress=False)
    transform = (View(2, CHEST) if dims == 2 else View(3, HEAD, WINDOW)).stored()
    listed = Datalist.read(halves).items("training")
    images = torch.stack([transform(item)["image"] for item in listed])
    features = {}
    for name, path in paths.items():
        backbone = load_backbone(path).eval()
        with torch.no_grad():
            features[name] = backbone.pool(backbone(images)).numpy()
    labels, patients = np.array([item["label"] for item in listed]), [item["patient"] for item in listed]
    expected = feature_gains(features["pool"], {name: features[name] for name in "ab"}, labels, patients)
    assert set(gains) == {"a", "b"}
    for name, gain in gains.items():
        assert gain is not None
        assert gain == pytest.approx(expected[name], abs=0.05)  # a pair may change its order by rounding
    unknown = datalist.path.parent / "unknown.json"
    write_datalist(unknown, ["Half"], {"training": [{**item, "label": [None]} for item in items]})
    assert backbone_gains(paths["pool"], others, unknown, progress=False) == {"a": None, "b": None}


def test_networks_that_cannot_be_compared_are_refused(chest: Path, head: Path, tmp_path: Path) -> None:
    flat, deep = write_backbone(tmp_path / "flat", 2), write_backbone(tmp_path / "deep", 3)
    other = write_backbone(tmp_path / "other", 2, image_size=[64, 64])
    narrow = write_backbone(tmp_path / "narrow", 3, spacing=[1.0, 1.0, 1.0])
    cases: list[tuple[dict[str, Path], Path, str]] = [
        ({}, chest, "no backbone to compare"),
        ({"flat": flat, "other": other}, chest, "flat and other cannot be compared.* 64 × 64 instead of 48 × 48"),
        ({"flat": flat}, head, "spatial_dims 2 instead of 3"),
        ({"deep": deep}, chest, "spatial_dims 3 instead of 2"),
        ({"narrow": narrow}, head, "spacing 1 × 1 × 1 instead of 6 × 6 × 6"),
    ]
    for backbones, datalist, message in cases:
        with pytest.raises(ValueError, match=message):
            similarity_matrix(backbones, datalist, progress=False)
    description = json.loads((tmp_path / "deep" / "backbone.json").read_text())
    del description["backbone"]
    (tmp_path / "deep" / "backbone.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="describes no backbone"):
        similarity_matrix({"deep": deep}, head, progress=False)


def test_the_picture_and_the_table_hold_the_matrix(tmp_path: Path) -> None:
    matrix = np.array([[1, 0.25, np.nan], [0.25, 1, 0.5], [np.nan, 0.5, 1]])
    names = ["rotation", "a $b$ name", "mim"]
    write_similarity(tmp_path / "new", names, matrix)
    table = pd.read_csv(tmp_path / "new" / "similarity.csv", index_col=0)
    assert list(table.columns) == list(table.index) == names
    np.testing.assert_allclose(table.to_numpy(), matrix)
    assert (tmp_path / "new" / "similarity.png").read_bytes().startswith(b"\x89PNG")
    axis = draw_similarity(names, matrix).axes[0]
    written = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axis.texts}
    assert written == {place: f"{value:.2f}" for place, value in np.ndenumerate(matrix)}
