"""The phantoms: repeatable, each finding where it belongs, and files that the readers of the field accept."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from medssl.errors import UserError
from medssl.phantoms import (
    CHEST_FINDINGS,
    HEAD_CLASSES,
    HEAD_FINDINGS,
    SCANNERS,
    Scanner,
    draw_head,
    draw_head_masks,
    draw_radiograph,
    write,
    write_phantoms,
    write_segmented_heads,
)
from medssl.phantoms.head_anatomy import HeadAnatomy

SIZE = 96
SMALL_HEAD = (48, 48, 24)
SPACING = (224 / 48, 224 / 48, 160 / 24)


def radiograph(findings: list[str], seed: int) -> np.ndarray:
    return draw_radiograph(findings, np.random.default_rng(seed), SIZE)


def head(findings: list[str], seed: int) -> np.ndarray:
    return draw_head(findings, np.random.default_rng(seed), SMALL_HEAD, SPACING).astype(float)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((directory / "images").iterdir())}


def test_names_follow_chest_xray14() -> None:
    assert CHEST_FINDINGS == (
        "Infiltration", "Effusion", "Atelectasis", "Nodule", "Consolidation", "Pneumothorax",
        "Cardiomegaly", "Fibrosis", "Pleural_Thickening", "Mass", "Emphysema",
    )  # fmt: skip
    with pytest.raises(ValueError, match="Fracture"):
        draw_radiograph(["Fracture"], np.random.default_rng(0), 32)
    with pytest.raises(ValueError, match="Nodule"):
        draw_head(["Nodule"], np.random.default_rng(0))


def test_radiograph_is_a_picture_repeatable_and_varied() -> None:
    first, again, other = radiograph(["Mass"], 1), radiograph(["Mass"], 1), radiograph(["Mass"], 2)
    assert first.dtype == np.float32
    assert first.shape == (SIZE, SIZE)
    assert 0 <= first.min() < first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.05


@pytest.mark.parametrize("finding", CHEST_FINDINGS)
def test_chest_finding_changes_the_picture_and_the_right_way(finding: str) -> None:
    changes = [radiograph([finding], seed) - radiograph([], seed) for seed in range(12)]
    strongest = np.array([np.sort(np.abs(change).ravel())[-SIZE:].mean() for change in changes])
    assert np.median(strongest) > 0.04  # visible: the hundred pixels that change most
    # Compared with the typical pixel, which moves with the window alone; squares stress the finding itself.
    changed = [change - np.median(change) for change in changes]
    brighter = np.mean([(np.clip(c, 0, None) ** 2).sum() for c in changed])
    darker = np.mean([(np.clip(-c, 0, None) ** 2).sum() for c in changed])
    if finding in ("Pneumothorax", "Emphysema"):
        assert darker > brighter
    else:
        assert brighter > darker


def test_effusion_lies_low_and_cardiomegaly_in_the_middle() -> None:
    def centre(finding: str) -> np.ndarray:
        change = sum(np.clip(radiograph([finding], seed) - radiograph([], seed) - 0.05, 0, None) for seed in range(20))
        grid = np.mgrid[:SIZE, :SIZE] / SIZE
        return np.array([(axis * change).sum() / change.sum() for axis in grid])

    row, _ = centre("Effusion")
    assert row > 0.55
    row, column = centre("Cardiomegaly")
    assert row > 0.5
    assert 0.45 < column < 0.75  # the heart lies on the patient's left, at the image's right


def test_chest_knows_up_from_down_and_left_from_right() -> None:
    mean = np.mean([radiograph([], seed) for seed in range(30)], axis=0)
    third = SIZE // 3
    assert mean[-third:].mean() > mean[third:-third].mean()  # abdomen below the lungs
    heart = mean[SIZE // 2 : -third]
    right_of_image, left_of_image = heart[:, SIZE // 2 + 4 : SIZE // 2 + 20], heart[:, SIZE // 2 - 20 : SIZE // 2 - 4]
    assert right_of_image.mean() > left_of_image.mean() + 0.02


def test_scanners_differ_in_the_image_and_not_in_the_disease() -> None:
    """Every scanner shows the same lesion at the same place, at its own grey values."""

    def drawn(findings: list[str], seed: int, scanner: Scanner | None) -> np.ndarray:
        return draw_radiograph(findings, np.random.default_rng(seed), SIZE, scanner=scanner)

    same_place = {name: replace(scanner, zoom=(1.0, 1.0)) for name, scanner in SCANNERS.items()}
    for seed in range(4):
        np.testing.assert_array_equal(drawn([], seed, None), drawn([], seed, Scanner()))
        changes = [drawn(["Mass"], seed, each) - drawn([], seed, each) for each in same_place.values()]
        assert np.corrcoef([change.ravel() for change in changes]).min() > 0.6
    looks = {name: [drawn([], seed, each) for seed in range(12)] for name, each in same_place.items()}
    middle = {name: np.mean([each[24:72, 24:72] for each in images]) for name, images in looks.items()}
    assert middle["north"] < middle["west"] < middle["south"]
    bright = {name: np.mean([each > 0.96 for each in images], axis=0) for name, images in looks.items()}
    low, high = slice(int(0.82 * SIZE), None), slice(0, int(0.2 * SIZE))
    assert bright["south"][low].sum() > 3 * bright["south"][high].sum()
    assert bright["north"][high].sum() > 3 * bright["north"][low].sum()


def test_hospitals_share_no_patient(tmp_path: Path) -> None:
    for name, first in (("north", 0), ("south", 1000)):
        write_phantoms(tmp_path / name, "chest", 4, size=24, first_patient=first, progress=False)
    north, south = (pd.read_csv(tmp_path / name / "labels.csv") for name in ("north", "south"))
    assert set(north["patient"]).isdisjoint(south["patient"])
    assert south["patient"][0] == "phantom-01000"
    assert set(files(tmp_path / "north").values()).isdisjoint(files(tmp_path / "south").values())


def test_head_has_the_tissues_in_hounsfield_units() -> None:
    volume = draw_head([], np.random.default_rng(3))
    assert volume.dtype == np.int16
    assert volume.shape == (64, 64, 32)
    assert np.median(volume[:3]) == pytest.approx(-1000, abs=20)
    middle = volume[27:37, 27:37, 14:22]
    assert 5 < np.median(middle) < 45  # brain and ventricles
    assert 700 < np.percentile(volume, 99.5) < 1500  # skull, with the partial volume of thick voxels
    brain = volume[(volume > -20) & (volume < 100)]
    assert 24 < np.median(brain) < 45
    np.testing.assert_array_equal(volume, draw_head([], np.random.default_rng(3)))


def test_head_is_ras() -> None:
    mean = np.mean([head([], seed) for seed in range(6)], axis=0)
    assert mean[:, :, :4].mean() > mean[:, :, -2:].mean()  # face and base below, air above the vertex
    low = mean[16:32, :, 6:10]
    assert low[:, 28:42].mean() < low[:, 8:20].mean()  # air spaces of the face in front of the posterior fossa


@pytest.mark.parametrize("finding", HEAD_FINDINGS)
def test_bleeding_is_blood_inside_the_skull(finding: str) -> None:
    for seed in range(4):
        without, change = head([], seed), head([finding], seed) - head([], seed)
        tissue = (without > -50) & (without < 120)
        blood = tissue & (change > 15)
        assert 2 <= blood.sum() < 0.25 * tissue.sum()
        assert 45 < np.percentile((without + change)[blood], 90) < 110
        assert np.abs(change[without < -500]).max() < 100  # nothing outside


def test_image_depends_on_seed_and_number_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "ALONE", 5)  # eight are drawn by other processes
    for name, count, seed in (("few", 3, 7), ("more", 8, 7), ("other", 3, 8)):
        write_phantoms(tmp_path / name, "chest", count, seed=seed, size=32, progress=False)
    few, more, other = (files(tmp_path / name) for name in ("few", "more", "other"))
    assert few == {name: more[name] for name in few}
    assert set(few.values()).isdisjoint(other.values())


def test_png_is_16_bit_and_the_table_accounts_for_every_file(tmp_path: Path) -> None:
    path = write_phantoms(tmp_path, "chest", 300, seed=1, size=24, progress=False)
    table = pd.read_csv(path)
    assert list(table.columns) == ["image", "patient", *CHEST_FINDINGS]
    assert set(table["image"]) == set(files(tmp_path))
    assert table["patient"].value_counts().between(1, 4).all()
    labels = table[list(CHEST_FINDINGS)].to_numpy()
    assert np.isin(labels, (0, 1)).all()
    assert ((labels.mean(0) > 0.06) & (labels.mean(0) < 0.3)).all()
    assert 0.15 < (labels.sum(1) == 0).mean() < 0.4
    with Image.open(tmp_path / "images" / table["image"][0]) as image:
        pixels = np.asarray(image)
    assert pixels.dtype == np.uint16
    assert pixels.max() > 30000
    assert len(np.unique(pixels)) > 256


def test_dicom_reads_and_monochrome1_is_inverted(tmp_path: Path) -> None:
    for image_format in ("dicom", "png"):
        write_phantoms(tmp_path / image_format, "chest", 4, size=40, image_format=image_format, progress=False)
    kinds = set()
    for path in sorted((tmp_path / "dicom" / "images").iterdir()):
        data = pydicom.dcmread(path)
        stored = data.pixel_array.astype(float) / 4095
        kinds.add(data.PhotometricInterpretation)
        assert data.BitsStored == 12
        assert list(data.PixelSpacing) == [10, 10]
        assert data.PatientID.startswith("phantom-")
        shown = 1 - stored if data.PhotometricInterpretation == "MONOCHROME1" else stored
        with Image.open(tmp_path / "png" / "images" / (path.stem + ".png")) as image:
            np.testing.assert_allclose(shown, np.asarray(image) / 65535, atol=2e-4)
    assert kinds == {"MONOCHROME1", "MONOCHROME2"}


def test_nifti_carries_its_spacing(tmp_path: Path) -> None:
    path = write_phantoms(tmp_path, "head", 2, size=(32, 28, 20), progress=False)
    table = pd.read_csv(path)
    assert list(table.columns) == ["image", "patient", *HEAD_FINDINGS]
    volume = nibabel.Nifti1Image.from_filename(tmp_path / "images" / table["image"][0])
    assert volume.shape == (32, 28, 20)
    assert volume.get_data_dtype() == np.int16
    np.testing.assert_allclose(volume.header.get_zooms(), (7, 8, 8))
    assert nibabel.aff2axcodes(volume.affine) == ("R", "A", "S")


def test_foreign_files_are_refused_and_own_ones_replaced(tmp_path: Path) -> None:
    write_phantoms(tmp_path, "chest", 5, size=24, progress=False)
    write_phantoms(tmp_path, "chest", 2, size=24, progress=False)
    assert len(files(tmp_path)) == 2
    (tmp_path / "images" / "patient.png").write_text("mine")
    with pytest.raises(UserError, match=r"patient\.png.*new or empty"):
        write_phantoms(tmp_path, "chest", 2, size=24, progress=False)
    assert len(files(tmp_path)) == 3
    table = tmp_path / "another" / "labels.csv"
    table.parent.mkdir()
    table.write_text("image,label\n")
    with pytest.raises(UserError, match=r"labels\.csv"):
        write_phantoms(table.parent, "chest", 2, size=24, progress=False)
    assert table.read_text() == "image,label\n"


@pytest.mark.parametrize(
    "wrong", [{"kind": "knee"}, {"count": 0}, {"size": 8}, {"size": (32, 48)}, {"image_format": "nifti"}]
)
def test_what_cannot_be_is_refused(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"phantom|count"):
        write_phantoms(**{"directory": tmp_path / "new", "kind": "chest", "count": 1, "progress": False} | wrong)
    assert not (tmp_path / "new").exists()


def test_masks_of_heads_say_what_was_drawn(tmp_path: Path) -> None:
    size, spacing = (32, 32, 24), (7.0, 7.0, 160 / 24)
    anatomy = HeadAnatomy.random(np.random.default_rng(1))
    for findings in ([], ["Subdural", "Intraventricular"]):
        plain = draw_head(findings, np.random.default_rng(0), size, spacing, anatomy)
        image, masks = draw_head_masks(findings, np.random.default_rng(0), size, spacing, anatomy)
        np.testing.assert_array_equal(image, plain)
        skull, brain, ventricles, bleeding = masks
        assert bleeding.any() == bool(findings)
        assert not (brain & ventricles).any()
        assert not (skull & brain).any()
        mean = {name: float(image[mask].mean()) for name, mask in zip(HEAD_CLASSES, masks, strict=True) if mask.any()}
        assert mean["skull"] > 250 > 70 > mean["brain"]
        assert findings or mean["ventricles"] < mean["brain"]
        assert not findings or mean["bleeding"] > mean["brain"]


def test_hospitals_send_what_they_outlined(tmp_path: Path) -> None:
    path = write_segmented_heads(tmp_path / "heads", 4, {"a": ["skull"], "b": ["brain", "bleeding"]}, size=(16, 16, 16))
    assert path.name == "sources.yaml"
    found = sorted(
        file.relative_to(tmp_path / "heads" / "b" / "masks").name for file in path.parent.glob("b/masks/*/*")
    )
    assert found == ["bleeding.nii.gz", "bleeding.nii.gz", "brain.nii.gz", "brain.nii.gz"]
    assert len(list(path.parent.glob("a/images/*"))) == 2
    with pytest.raises(UserError, match="not empty"):
        write_segmented_heads(tmp_path / "heads", 2)
    with pytest.raises(UserError, match="no class 'liver'"):
        write_segmented_heads(tmp_path / "new", 2, {"a": ["liver"]})
