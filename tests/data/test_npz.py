import os
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medssl.data import Source, read_tables, unpack_source
from medssl.data.npz import MEDMNIST

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
PATCHES = SHARED / "ct_sts" / "patches_32.npz"
PNEUMONIA = SHARED / "medmnist" / "pneumoniamnist.npz"
ADRENAL = SHARED / "medmnist" / "adrenalmnist3d_64.npz"


def arrays(count: int = 12) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (count, 2)).astype(np.float32)
    labels[0, 1] = np.nan
    return {
        "images": random.integers(-1000, 1000, (count, 4, 5, 6), dtype=np.int16),
        "labels": labels,
        "label_names": np.array(["bone", "air"]),
        "patient_id": np.arange(count) // 2,
    }


def medmnist(shape: tuple[int, ...], classes: int, columns: int = 1) -> dict[str, np.ndarray]:
    """Nine, one and two images; every class occurs."""
    random = np.random.default_rng(0)
    stored = {}
    for split, count in (("train", 9), ("val", 1), ("test", 2)):
        stored[f"{split}_images"] = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        numbers = np.arange(count * columns).reshape(count, columns) % classes
        stored[f"{split}_labels"] = numbers.astype(np.uint8)
    return stored


def save(path: Path, stored: dict[str, np.ndarray]) -> Path:
    np.savez_compressed(path, **stored)
    return path


def unpack_npz(path: Path, output: Path, spacing: float | tuple[float, float, float] = 2.0) -> Source:
    return unpack_source(Source(npz=path), output, spacing)


def read_image(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path) if path.suffix == ".png" else nibabel.load(path).dataobj)


@pytest.mark.parametrize("order", ["C", "F"])
def test_images_labels_and_unknowns_are_kept(tmp_path: Path, order: str) -> None:
    stored = {**arrays(), "split": np.array(["train"] * 8 + ["val"] * 2 + ["test"] * 2)}
    stored["images"] = np.asarray(stored["images"], order=order)
    source = unpack_npz(save(tmp_path / "set.npz", stored), tmp_path / "out", spacing=(1, 2, 3))
    table = read_tables([source])["set"]
    assert table.labels == ["bone", "air"]
    assert not table.exclusive
    np.testing.assert_array_equal(table.values, stored["labels"])
    assert source.modality == table.modality == "CT"
    patients = [source.patient(str(patient)) for patient in stored["patient_id"]]
    assert table.rows["patient"].tolist() == patients
    assert table.rows["split"].tolist() == ["training"] * 8 + ["validation"] * 2 + ["test"] * 2
    assert source.images is not None
    for name, image in zip(table.rows["image"], stored["images"], strict=True):
        nifti = nibabel.load(source.images / name)
        np.testing.assert_array_equal(nifti.dataobj, image)
        assert nifti.header.get_zooms() == (1, 2, 3)
        assert nifti.header.get_xyzt_units()[0] == "mm"
    named = Source(npz=tmp_path / "set.npz", modality="MR")
    assert unpack_source(named, tmp_path / "again").modality == "MR"


@pytest.mark.parametrize(
    ("name", "shape", "classes", "columns", "labels", "exclusive"),
    [
        ("chestmnist_64", (8, 8), 2, 14, MEDMNIST["chestmnist"][1], False),
        ("pneumoniamnist", (8, 8), 2, 1, ["pneumonia"], False),
        ("breastmnist_128", (8, 8), 2, 1, ["malignant"], False),
        ("organsmnist", (8, 8), 11, 1, MEDMNIST["organsmnist"][1], True),
        ("OrganMNIST3D_64", (4, 5, 6), 11, 1, MEDMNIST["organmnist3d"][1], True),
        ("fracturemnist3d", (4, 4, 4), 3, 1, MEDMNIST["fracturemnist3d"][1], True),
        ("nodulemnist3d", (4, 4, 4), 2, 1, ["malignant"], False),
        ("ours", (8, 8, 3), 4, 1, ["class 0", "class 1", "class 2", "class 3"], True),
        ("ours", (8, 8), 2, 1, ["class 1"], False),
        ("ours", (8, 8), 2, 3, ["class 0", "class 1", "class 2"], False),
    ],
)
def test_medmnist_is_known_by_its_name(
    tmp_path: Path, name: str, shape: tuple[int, ...], classes: int, columns: int, labels: list[str], exclusive: bool
) -> None:
    stored = medmnist(shape, classes, columns)
    source = unpack_npz(save(tmp_path / f"{name}.npz", stored), tmp_path / "out")
    assert source.name == name
    modalities = {"chest": "DX", "pneumonia": "DX", "breast": "US", "ours": ""}
    assert source.modality == next((each for start, each in modalities.items() if name.startswith(start)), "CT")
    table = read_tables([source])[name]
    assert (table.labels, table.exclusive) == (labels, exclusive)
    assert table.rows["split"].tolist() == ["training"] * 9 + ["validation"] + ["test"] * 2
    assert table.rows["patient"].nunique() == 12
    assert (table.rows["reason"] == "").all()
    numbers = np.concatenate([stored[f"{split}_labels"] for split in ("train", "val", "test")])
    if name.startswith("breast"):  # there 0 is malignant
        numbers = 1 - numbers
    np.testing.assert_array_equal(table.values, np.arange(len(labels)) == numbers if exclusive else numbers)
    images = np.concatenate([stored[f"{split}_images"] for split in ("train", "val", "test")])
    assert source.images is not None
    for file, image in zip(table.rows["image"], images, strict=True):
        np.testing.assert_array_equal(read_image(source.images / file), image)


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_unpacking_goes_on_after_a_kill_and_writes_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npz, out = save(tmp_path / "organamnist.npz", medmnist((8, 8), 11)), tmp_path / "out"
    whole = unpack_npz(npz, out)
    before = state_of(out)
    assert unpack_npz(npz, out) == whole
    assert state_of(out) == before
    replace = os.replace
    for killed_at in (0, 1, 5, 12, 13, 14):
        half, left = tmp_path / f"half{killed_at}", killed_at

        def kill(*names: str) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            replace(*names)

        monkeypatch.setattr("os.replace", kill)
        with pytest.raises(KeyboardInterrupt):
            unpack_npz(npz, half)
        monkeypatch.setattr("os.replace", replace)
        kept = state_of(half)
        unpack_npz(npz, half)
        after = state_of(half)
        assert {name: content for name, (_, content) in after.items()} == {
            name: content for name, (_, content) in before.items()
        }
        assert all(after[name] == kept[name] for name in kept if name.endswith(".png"))


def test_another_npz_takes_the_place_of_the_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    unpack_npz(save(tmp_path / "a.npz", medmnist((8, 8), 2)), out)
    source = unpack_npz(save(tmp_path / "b.npz", arrays()), out)
    assert source.images is not None
    assert {path.suffix for path in source.images.iterdir()} == {".nii"}
    assert read_tables([source])["b"].labels == ["bone", "air"]
    changed = {**arrays(), "images": arrays()["images"] + 1}
    unpack_npz(save(tmp_path / "b.npz", changed), out)
    np.testing.assert_array_equal(nibabel.load(source.images / "00.nii").dataobj, changed["images"][0])
    (tmp_path / "own" / "images").mkdir(parents=True)
    (tmp_path / "own" / "images" / "precious.png").touch()
    with pytest.raises(ValueError, match="choose an empty folder"):
        unpack_npz(tmp_path / "b.npz", tmp_path / "own")
    assert (tmp_path / "own" / "images" / "precious.png").exists()


def test_a_source_keeps_what_it_says_itself(tmp_path: Path) -> None:
    npz = save(tmp_path / "organamnist.npz", medmnist((8, 8), 11))
    given = Source(npz=npz, name="test", split="test", labels={"Liver": "liver", "Spleen": "spleen"})
    source = unpack_source(given, tmp_path / "out")
    assert (source.npz, source.name, source.split) == (None, "test", "test")
    table = read_tables([source])["test"]
    assert table.labels == ["Liver", "Spleen"]
    assert set(table.rows["split"]) == {"test"}
    plain = Source(tmp_path)
    assert unpack_source(plain, tmp_path / "out") is plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_names": None}, "lacks label_names; it has images, labels, patient_id"),
        ({"images": np.zeros((12, 4, 4), np.int16)}, r"not \[N, X, Y, Z\]"),
        ({"patient_id": np.zeros(3)}, r"patient_id has the shape \(3,\)"),
        ({"labels": np.full((12, 2), 2)}, "other than 1, 0 and NaN"),
        ({"split": np.array(["somewhere"] * 12)}, "split holds 'somewhere'"),
        ({"images": np.zeros((12, 4, 4, 4), complex)}, "images holds complex128"),
        ({"label_names": np.array([{}, {}], dtype=object)}, "cannot be unpacked"),
        ({"images": np.array([{}] * 12, dtype=object)}, "cannot be unpacked|images has the shape"),
    ],
)
def test_wrong_npz_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    changed = {name: value for name, value in {**arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "set.npz", **changed)
    with pytest.raises(ValueError, match=message):
        unpack_npz(tmp_path / "set.npz", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_labels": None}, "lacks val_labels"),
        ({"val_labels": np.zeros((3, 1), np.uint8)}, r"val_labels has the shape \(3, 1\)"),
        ({"test_labels": np.zeros((2, 1), np.float32)}, "need .* whole numbers"),
        ({"test_labels": np.full((2, 1), 11)}, "called like a set with 11 classes, and its labels have 12"),
        ({"test_labels": np.full((2, 1), -1)}, "hold -1, which is no class"),
        ({"train_images": np.zeros((9, 8), np.uint8)}, r"train_images has the shape \(9, 8\)"),
        ({"train_images": np.zeros((9, 8, 8), np.float32)}, "train_images holds float32: save it as uint8"),
    ],
)
def test_wrong_medmnist_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    changed = {**medmnist((8, 8), 11), **change}
    np.savez(tmp_path / "organamnist.npz", **{name: value for name, value in changed.items() if value is not None})
    with pytest.raises(ValueError, match=message):
        unpack_npz(tmp_path / "organamnist.npz", tmp_path / "set")


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"text", b"PK\x03\x04 cut"):
        (tmp_path / "set.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"set\.npz cannot be unpacked"):
            unpack_npz(tmp_path / "set.npz", tmp_path / "set")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"array\.npy"):
        unpack_npz(tmp_path / "array.npy", tmp_path / "set")
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        unpack_npz(tmp_path / "none.npz", tmp_path / "set")
    images = np.random.default_rng(0).integers(0, 1000, (12, 16, 16, 16), dtype=np.int16)
    damaged = bytearray(save(tmp_path / "set.npz", {**arrays(), "images": images}).read_bytes())
    damaged[40_000:40_040] = b"x" * 40  # in the midst of the images
    (tmp_path / "set.npz").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"set\.npz cannot be unpacked \(images: .* copy it again"):
        unpack_npz(tmp_path / "set.npz", tmp_path / "set")


@pytest.mark.skipif(not PATCHES.is_file(), reason=f"no {PATCHES}")
def test_real_patches_keep_their_split(tmp_path: Path) -> None:
    stored = dict(np.load(PATCHES))
    stored["images"] = stored["images"][:, ::8, ::8, ::8]  # to be quick
    rows = read_tables([unpack_npz(save(tmp_path / "set.npz", stored), tmp_path)])["set"].rows
    assert rows["split"].value_counts().to_dict() == {"training": 759, "validation": 170}
    assert rows.groupby("split")["patient"].nunique().to_dict() == {"training": 33, "validation": 8}


@pytest.mark.parametrize(
    ("path", "label", "suffix"), [(PNEUMONIA, "pneumonia", ".png"), (ADRENAL, "hyperplasia", ".nii")]
)
def test_real_medmnist(tmp_path: Path, path: Path, label: str, suffix: str) -> None:
    if not path.is_file():
        pytest.skip(f"no {path}")
    stored = np.load(path)
    # A few of each split: all of them take seconds.
    few = {name: stored[name][:20] for name in stored if name.startswith(("val", "test"))}
    source = unpack_npz(save(tmp_path / path.name, few), tmp_path / "out")
    table = read_tables([source])[path.stem]
    assert table.labels == [label]
    assert table.rows["split"].tolist() == ["validation"] * 20 + ["test"] * 20
    labels = np.concatenate([few["val_labels"], few["test_labels"]])
    np.testing.assert_array_equal(table.values, labels)
    assert source.csv is not None
    assert source.images is not None
    assert pd.read_csv(source.csv)["image"].is_unique
    for name, image in zip(table.rows["image"], np.concatenate([few["val_images"], few["test_images"]]), strict=True):
        assert Path(name).suffix == suffix
        np.testing.assert_array_equal(read_image(source.images / name), image)
