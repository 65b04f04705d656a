"""Features of prepared images and of raw files: nobody is lost, and each row is what the network says of that image."""

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from medssl.commands import main
from medssl.data import Datalist, Source
from medssl.data.prepare import prepare
from medssl.networks import build_backbone, load_backbone, save_backbone
from medssl.phantoms import write_phantoms
from medssl.studies.embedding import embed
from medssl.studies.embedding_picture import draw_embedding, emptiest_corner, principal_components
from medssl.transforms import View

CT = {"image_size": [16, 16, 8], "spacing": [4, 4, 8], "window": [-200, 300], "modality": "CT"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Radiographs of two hospitals, of which the one turns them upside down, and some without labels."""
    folder = tmp_path_factory.mktemp("embedding")
    sources = []
    for number, name in enumerate(("north", "south")):
        table = write_phantoms(
            folder / name, "chest", 14, seed=number, size=32, progress=False, first_patient=99 * number
        )
        if number:
            for path in (folder / name / "images").iterdir():
                Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path)
        sources.append(Source(images=folder / name / "images", csv=table))
    write_phantoms(folder / "more", "chest", 4, seed=7, size=32, progress=False, first_patient=999)
    prepare([*sources, Source(images=folder / "more" / "images")], folder / "data", size=(32, 32))
    return folder / "data"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    save_backbone(build_backbone("resnet10_quarter", 2), folder / "backbone.pt", image_size=[32, 32])
    return folder


@pytest.fixture
def no_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is a CSV, whatever is installed."""
    monkeypatch.setattr("medssl.studies.embedding.find_spec", lambda name: None)


def expected(run: Path, images: list[torch.Tensor]) -> np.ndarray:
    """One image after another."""
    backbone = load_backbone(run).eval()
    with torch.no_grad():
        return torch.cat([backbone(image[None]).flatten(2).mean(dim=2) for image in images]).numpy()


@pytest.mark.usefixtures("no_pyarrow")
def test_every_prepared_image_has_its_row_and_the_hospital_is_read(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["embed", run, data, "--output", tmp_path / "out", "--maps", "--workers", "0", "--batch-size", "5"]
    assert main([*map(str, words)]) == 0
    screen = capsys.readouterr().out
    assert "32 images embedded" in screen
    assert "AUROC" in screen

    datalist = Datalist.read(data)
    items = [
        (split, item) for split in ("training", "validation", "test", "unlabeled") for item in datalist.items(split)
    ]
    table = pd.read_csv(tmp_path / "out" / "features.csv", keep_default_na=False)
    assert table["image"].tolist() == [Path(item["file"]).relative_to(data.resolve()).as_posix() for _, item in items]
    assert table["split"].tolist() == [split for split, _ in items]
    for key in ("source", "patient"):
        assert table[key].tolist() == [item[key] for _, item in items]
    first = f"{datalist.labels[0]} label"
    known = [(float(cell), item["label"][0]) for cell, (_, item) in zip(table[first], items, strict=True) if cell]
    assert len(known) == 28
    assert all(cell == label for cell, label in known)

    arrays = np.load(tmp_path / "out" / "features.npz")  # which needs no pickle
    transform = View(2, (32, 32)).stored()
    wanted = expected(run, [transform(item)["image"] for _, item in items])
    np.testing.assert_allclose(arrays["features"], wanted, rtol=1e-4, atol=1e-5)
    columns = [name for name in table if name.startswith("feature_")]
    np.testing.assert_array_equal(table[columns].to_numpy(np.float32), arrays["features"])
    assert arrays["image"].tolist() == table["image"].tolist()
    assert arrays["label"].shape == (32, len(datalist.labels)) == (32, len(arrays["labels"]))
    maps = np.load(tmp_path / "out" / "maps.npy", mmap_mode="r")
    assert maps.shape[:2] == (32, 128)
    np.testing.assert_allclose(maps.astype(np.float32).mean(axis=(2, 3)), wanted, atol=2e-3)

    summary = json.loads((tmp_path / "out" / "embedding.json").read_text())
    assert summary["sources"]["south"]["auroc"] > 0.8  # the others differ in nothing
    assert {name: each["images"] for name, each in summary["sources"].items()}["south"] == 14
    assert Image.open(tmp_path / "out" / "features.png").size[0] > 500


@pytest.mark.usefixtures("no_pyarrow")
def test_raw_files_have_a_row_or_a_reason(run: Path, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "phantoms", "chest", 5, size=32, progress=False)
    images = tmp_path / "phantoms" / "images"
    names = sorted(path.name for path in images.iterdir())
    (images / names[1]).write_bytes(b"no picture")
    (images / "notes.txt").write_text("hello")
    done = embed(run, images, images / "out", maps=True, workers=0, batch_size=2)
    assert "4 images embedded, 2 rows" in done
    table = pd.read_csv(images / "out" / "features.csv", keep_default_na=False).set_index("image")
    assert sorted(table.index) == sorted([*names, "notes.txt"])
    assert {name for name, reason in table["reason"].items() if reason} == {names[1], "notes.txt"}
    assert (table.loc[[names[1], "notes.txt"], "feature_0"] == "").all()
    arrays = np.load(images / "out" / "features.npz")
    assert arrays["image"].tolist() == [name for name in names if name != names[1]]
    maps = np.load(images / "out" / "maps.npy")
    np.testing.assert_allclose(maps.astype(np.float32).mean(axis=(2, 3)), arrays["features"], atol=2e-3)

    for path in images.glob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"No image can be embedded \(.*5 × empty file"):
        embed(run, images, images / "out", workers=0)


def test_a_volume_in_several_boxes_has_their_mean(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_backbone(build_backbone("resnet10_quarter", 3), tmp_path / "backbone.pt", **CT)
    (tmp_path / "scans").mkdir()
    voxels = np.random.default_rng(0).normal(scale=200, size=(30, 16, 8)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([4.0, 4, 8, 1])), tmp_path / "scans" / "a.nii.gz")
    embed(tmp_path, tmp_path / "scans", tmp_path / "out", boxes="several", workers=0)
    seen = torch.from_numpy((voxels - -200) / 500 * 2 - 1).clamp(-1, 1)
    halves = expected(tmp_path, [seen[None, :16], seen[None, 14:]])
    found = np.load(tmp_path / "out" / "features.npz")["features"]
    np.testing.assert_allclose(found[0], halves.mean(axis=0), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="map is of one box"):
        embed(tmp_path, tmp_path / "scans", boxes="several", maps=True)


@pytest.mark.usefixtures("no_pyarrow")
@pytest.mark.parametrize("space", ["voxel", "ras", "lps"])
def test_lesions_of_volumes_are_seen_in_crops_about_them(tmp_path: Path, space: str) -> None:
    torch.manual_seed(0)
    save_backbone(build_backbone("resnet10_quarter", 3), tmp_path / "backbone.pt", **CT)
    scans = tmp_path / "scans"
    scans.mkdir()
    random = np.random.default_rng(0)
    affine = np.array([[-4.0, 0, 0, 60], [0, 4, 0, -30], [0, 0, 8, 11], [0, 0, 0, 1]])  # from right to left
    voxels = {name: random.normal(scale=200, size=(30, 20, 12)).astype(np.float32) for name in ("a", "b")}
    for name, values in voxels.items():
        nibabel.save(nibabel.Nifti1Image(values, affine), scans / f"{name}.nii.gz")
    (scans / "broken.nii.gz").write_bytes(b"no volume")
    lesions = [("b", (3, 4, 5)), ("a.nii.gz", (20, 19, 11)), ("b", (-3, 4, 5)), ("broken", (1, 1, 1)), ("c", (1, 1, 1))]
    ending = "" if space == "voxel" else f"_{space}"
    rows = [",".join(["image", *(f"{axis}{ending}" for axis in "xyz"), "tumour"])]
    for name, place in lesions:
        there = {"voxel": np.array(place), "ras": (affine @ [*place, 1])[:3]}
        there["lps"] = there["ras"] * [-1, -1, 1]
        rows.append(",".join([name, *map(str, there[space]), "1"]))
    (tmp_path / "lesions.csv").write_text("\n".join(rows))
    embed(tmp_path, scans, tmp_path / "out", csv=tmp_path / "lesions.csv", maps=True, workers=0)

    wanted = []
    for name, (x, y, z) in lesions[:2]:
        whole = np.pad(voxels[name[0]][::-1], 16, constant_values=-200)  # RAS
        corner = (29 - x + 16 - 7, y + 16 - 7, z + 16 - 3)
        wanted.append(whole[tuple(slice(first, first + side) for first, side in zip(corner, (16, 16, 8), strict=True))])
    seen = [((torch.from_numpy(crop.copy()) + 200) / 500 * 2 - 1).clamp(-1, 1)[None] for crop in wanted]
    table = pd.read_csv(tmp_path / "out" / "features.csv", keep_default_na=False)
    assert table["row"].tolist() == [2, 4, 3, 5, 6]  # those of one image together
    assert table["image"].tolist() == [lesions[row - 2][0] for row in table["row"]]
    assert table["reason"].tolist()[:3] == ["", "outside the image", ""]
    assert all(table["reason"].tolist()[3:])
    arrays = np.load(tmp_path / "out" / "features.npz")
    assert arrays["row"].tolist() == [2, 3]
    np.testing.assert_allclose(arrays["features"], expected(tmp_path, seen), rtol=1e-3, atol=1e-4)
    maps = np.load(tmp_path / "out" / "maps.npy").astype(np.float32)
    np.testing.assert_allclose(maps.mean(axis=(2, 3, 4)), arrays["features"], atol=2e-3)


def test_with_pyarrow_the_table_is_parquet(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    write_phantoms(tmp_path / "phantoms", "chest", 3, size=32, progress=False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "features.csv").write_text("of an earlier run")
    embed(run, tmp_path / "phantoms" / "images", tmp_path / "out", workers=0)
    table = pd.read_parquet(tmp_path / "out" / "features.parquet")
    assert len(table) == 3
    assert table["feature_0"].dtype == np.float32
    assert not (tmp_path / "out" / "features.csv").exists()


def test_images_that_the_network_does_not_see_are_refused(data: Path, tmp_path: Path) -> None:
    save_backbone(build_backbone("resnet10_quarter", 2), tmp_path / "backbone.pt", image_size=[48, 48])
    with pytest.raises(ValueError, match="prepare them with --size 48 48"):
        embed(tmp_path, data)


@pytest.mark.parametrize("shape", [(40, 6), (5, 12), (2, 1), (1, 3)])
def test_the_picture_shows_the_principal_components(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(size=shape) * np.arange(1, shape[1] + 1)
    features[:, 0] = 3.0  # a feature that says nothing
    places, shares = principal_components(features)
    count = min(*shape, 2)
    scaled = StandardScaler().fit_transform(features)
    if shape[0] > 2:
        wanted = PCA(count).fit(scaled)
        np.testing.assert_allclose(np.abs(places), np.abs(wanted.transform(scaled)), atol=1e-6)
        np.testing.assert_allclose(shares, wanted.explained_variance_ratio_, atol=1e-9)
    labels = {"Mass": np.full(shape[0], np.nan), "$x_": np.ones(shape[0])}
    for exclusive in (False, True):
        assert len(draw_embedding(features, ["a"] * shape[0], labels, exclusive).axes) >= 2
    draw_embedding(features, [""] * shape[0], {})


def test_umap_lays_neighbours_together() -> None:
    pytest.importorskip("umap")
    centres = np.random.default_rng(0).normal(size=(2, 16)) * 5
    features = np.repeat(centres, 12, axis=0) + np.random.default_rng(1).normal(size=(24, 16))
    sources = ["north"] * 12 + ["south"] * 12
    places = draw_embedding(features, sources, {}, projection="umap").axes[0].collections
    shown = np.concatenate([np.asarray(each.get_offsets()) for each in places if len(each.get_offsets())])
    colours = np.concatenate([each.get_facecolors() for each in places if len(each.get_offsets())])
    groups = (colours == colours[0]).all(axis=1)
    assert groups.sum() == 12
    inside = np.linalg.norm(shown[groups] - shown[groups].mean(axis=0), axis=1)
    outside = np.linalg.norm(shown[~groups] - shown[groups].mean(axis=0), axis=1)
    assert inside.max() < outside.min()


def test_an_empty_folder_called_pyarrow_is_no_package(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "pyarrow").mkdir()
    monkeypatch.setattr(
        sys, "path", [str(tmp_path), *(path for path in sys.path if not (Path(path) / "pyarrow").is_dir())]
    )
    write_phantoms(tmp_path / "phantoms", "chest", 2, size=32, progress=False)
    embed(run, tmp_path / "phantoms" / "images", tmp_path / "out", workers=0)
    assert (tmp_path / "out" / "features.csv").is_file()


@pytest.mark.parametrize("corner", ["upper right", "upper left", "lower right", "lower left"])
def test_the_legend_stands_where_it_hides_nothing(corner: str) -> None:
    empty = np.array(["right" in corner, "upper" in corner])
    places = np.random.default_rng(0).uniform(size=(500, 2))
    places = places[(np.abs(places - empty) > 1 / 3).any(axis=1)]
    assert emptiest_corner(100 * places - 7) == corner
    assert emptiest_corner(np.zeros((3, 2))) == "upper right"  # all images alike
