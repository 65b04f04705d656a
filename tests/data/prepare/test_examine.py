import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bad_inputs import (
    grey,
    save_radiograph,
    save_series,
    volume,
    voxels,
    write_bad_radiographs,
    write_bad_volumes,
)
from monai.transforms import Compose, Orientation, Spacing
from PIL import Image

from medssl.data.prepare.examine import Outcome, examine, fingerprint
from medssl.data.store import StoreSettings, check_settings
from medssl.readers import Unit, examine_folder, find_units
from medssl.transforms import (
    Accounted,
    LoadRadiograph,
    LoadStored,
    LoadVolume,
    ResampleVolumed,
    ResizeRadiograph,
    ResizeRadiographd,
)

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder of real images at {SHARED}")
TWO = check_settings(2, [20, 30], [1, 1, 5])
THREE = check_settings(3, [20, 30], [1.5, 1.5, 3])


def examined(path: Path, output: Path, settings: StoreSettings = TWO) -> Outcome:
    (unit,) = (unit for unit in find_units(path.parent, settings["spatial_dims"])[0] if unit.path == path)
    (outcome,) = examine(unit, settings, output, "salt")
    return outcome


def assert_stored(outcome: Outcome, output: Path, expected: np.ndarray) -> None:
    stored = LoadStored()(output / outcome.stored).numpy()
    assert stored.shape == expected.shape
    np.testing.assert_allclose(stored, expected, atol=np.ptp(expected) / 65535 + 1e-3)


def test_a_radiograph_is_stored_as_inference_sees_it(tmp_path: Path) -> None:
    grey().resize((300, 200)).save(tmp_path / "a.png")
    save_radiograph(tmp_path / "b.dcm", PhotometricInterpretation="MONOCHROME1", PatientID="4711")
    for name, shape, notes in (("a.png", [200, 300], ""), ("b.dcm", [24, 20], "MONOCHROME1 was inverted")):
        outcome = examined(tmp_path / name, tmp_path / "out")
        assert (outcome.shape, outcome.reason, outcome.detail) == (shape, "", notes)
        assert bool(outcome.patient) == name.endswith("dcm")
        expected = Compose([LoadRadiograph(), ResizeRadiograph([20, 30])])(tmp_path / name)
        assert_stored(outcome, tmp_path / "out", expected.numpy())


@needs_shared
@pytest.mark.parametrize("name", ["ct/example_ct_3mm.nii.gz", "ct_dicom/head_tilted", "ct_dicom/trunk_20slices"])
def test_a_volume_is_stored_as_inference_sees_it(tmp_path: Path, name: str) -> None:
    settings = check_settings(3, [], [3, 3.5, 7])
    outcome = examined((SHARED / name).resolve(), tmp_path, settings)
    read = LoadVolume()(SHARED / name)
    expected = Compose([Orientation("RAS", labels=None), Spacing([3, 3.5, 7], mode="bilinear")])(read)
    assert_stored(outcome, tmp_path, expected.numpy())
    assert list(outcome.shape) == list(read.shape[1:])
    np.testing.assert_allclose(outcome.spacing, np.linalg.norm(read.affine[:3, :3], axis=0), atol=1e-5)


def test_a_spacing_of_minus_one_keeps_the_files_own(tmp_path: Path) -> None:
    turned = np.array([[0, -2, 0, 5], [0, 0, 3, 0], [-1, 0, 0, 0], [0, 0, 0, 1.0]])
    values = voxels()
    volume(values, turned)(tmp_path / "a.nii")
    outcome = examined(tmp_path / "a.nii", tmp_path, check_settings(3, [], [-1, -1, -1]))
    # Columns of the file run down, left and front: along right, front, head are −y, z, −x.
    expected = values.transpose(1, 2, 0)[::-1, :, ::-1]
    np.testing.assert_array_equal(LoadStored()(tmp_path / outcome.stored)[0], expected)


def test_a_full_disk_is_no_fault_of_the_image(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    values = np.random.default_rng(0).integers(0, 60000, (200, 250)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    settings = check_settings(2, values.shape, [])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for bytes_left in (100, 50_000, 100_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, limits[1]))
            with pytest.raises(ValueError, match=r"cannot be written .*disk full"):
                examined(tmp_path / "a.png", tmp_path / "out", settings)
            assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert examined(tmp_path / "a.png", tmp_path / "out", settings).stored


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("write", "settings"), [(write_bad_radiographs, TWO), (write_bad_volumes, THREE)])
def test_inference_says_of_every_file_what_prepare_says(
    tmp_path: Path, write: Callable[[Path], object], settings: StoreSettings
) -> None:
    folder, dims = tmp_path / "images", settings["spatial_dims"]
    write(folder)
    prepared = {}
    units, others = find_units(folder, dims)
    for unit in units:
        for outcome in examine(unit, settings, tmp_path / "out", "salt", keep_masks=True):
            place = unit.path if unit.path.is_dir() else unit.path.parent
            prepared |= {place / name: (outcome.reason, outcome.detail) for name in outcome.files}
    found = examine_folder(folder, dims)
    seen = ResizeRadiographd("image", settings["size"]) if dims == 2 else ResampleVolumed("image", settings["spacing"])
    done = [Accounted(Compose([seen]), [1] * dims)(item) for item in found.items()]
    inferred = {
        path: (item["reason"], item["note"])
        for item, study in zip(done, found.studies, strict=True)
        for path in study.files
    } | {path: (one.reason, one.detail) for one in found.refusals for path in one.files}
    assert {path: inferred.pop(path)[0] for path in others} == dict.fromkeys(others, "no image")
    assert inferred == prepared
    assert len({reason for reason, _ in prepared.values()}) > 7


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_of_any_kind_are_outcomes(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    Image.fromarray(draws.integers(0, 255, (12, 10), np.uint8)).save(tmp_path / "whole.tif")
    volume()(tmp_path / "whole.nii")
    for name, settings, header in (("whole.tif", TWO, None), ("whole.nii", THREE, 348)):
        whole = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
        path = tmp_path / f"damaged{Path(name).suffix}"
        reasons = set()
        for _ in range(80):
            damaged = whole.copy()
            damaged[draws.integers(0, header or len(whole), 4)] = draws.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            (outcome,) = examine(Unit(path, (path,)), settings, tmp_path / "out", "salt")
            assert bool(outcome.stored) != bool(outcome.reason)
            reasons.add(outcome.reason)
        assert {"", "unreadable"} <= reasons


def test_the_same_image_in_other_files_has_the_same_content(tmp_path: Path) -> None:
    image = grey()
    for name in ("a.png", "b.bmp", "c.tif"):
        image.save(tmp_path / name)
    image.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "d.png")
    outcomes = [examined(tmp_path / name, tmp_path / "out") for name in ("a.png", "b.bmp", "c.tif", "d.png")]
    assert len({outcome.content for outcome in outcomes}) == 2
    assert len({outcome.stored for outcome in outcomes}) == 2
    (tmp_path / "series").mkdir()
    save_series(tmp_path / "series")
    own = examined(tmp_path / "series", tmp_path / "out", THREE)
    other = examined(tmp_path / "series", tmp_path / "out", check_settings(3, [], [2, 2, 2]))
    assert own.content == other.content
    assert own.stored != other.stored


def test_a_fingerprint_changes_with_all_that_matters(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    grey().save(path)
    unit = Unit(path, (path,))
    prints = [fingerprint(unit, TWO, "salt")]
    assert fingerprint(unit, TWO, "salt") == prints[0]
    prints += [fingerprint(unit, TWO, "other"), fingerprint(unit, check_settings(2, [20, 31], []), "salt")]
    os.utime(path, ns=(1, 1))
    prints.append(fingerprint(unit, TWO, "salt"))
    path.write_bytes(b"")
    os.utime(path, ns=(1, 1))
    prints.append(fingerprint(unit, TWO, "salt"))
    path.unlink()
    prints.append(fingerprint(unit, TWO, "salt"))
    assert len(set(prints)) == len(prints)
