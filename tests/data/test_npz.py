import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medssl.data import read_datalist
from medssl.data.npz import unpack_npz
from medssl.data.prepare import prepare

PATCHES = (
    Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    / "ct_sts"
    / "patches_32.npz"
)


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


def test_npz_to_datalist_keeps_images_labels_and_unknowns(tmp_path: Path) -> None:
    stored = arrays()
    np.savez(tmp_path / "set.npz", **stored)
    csv = unpack_npz(tmp_path / "set.npz", tmp_path / "set", spacing=(1, 2, 3))
    summary = prepare(tmp_path / "set" / "images", csv, tmp_path / "set", spatial_dims=3)
    assert all(summary.images[split] for split in ("training", "validation", "test"))
    for split in ("training", "validation", "test"):
        for item in read_datalist(summary.datalist, split):
            index = int(Path(item["image"]).stem)
            nifti = nibabel.load(item["image"])
            np.testing.assert_array_equal(nifti.get_fdata(), stored["images"][index])
            assert nifti.header.get_zooms() == (1, 2, 3)
            np.testing.assert_array_equal(item["label"], stored["labels"][index])


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
    ],
)
def test_wrong_npz_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    changed = {name: value for name, value in {**arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "set.npz", **changed)
    with pytest.raises(ValueError, match=message):
        unpack_npz(tmp_path / "set.npz", tmp_path / "set")


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


@pytest.mark.skipif(not PATCHES.is_file(), reason=f"no {PATCHES}")
def test_real_patches_keep_their_split(tmp_path: Path) -> None:
    csv = unpack_npz(PATCHES, tmp_path)
    summary = prepare(tmp_path / "images", csv, tmp_path, spatial_dims=3, check=False)
    assert summary.images == {"training": 759, "validation": 170, "test": 0, "unlabeled": 0}
    assert summary.patients["training"] == 33
    assert summary.patients["validation"] == 8
