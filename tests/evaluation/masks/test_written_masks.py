"""Masks drawn in files of every kind of grid come back onto it, through reading, resampling, windows and writing."""

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from torch import Tensor

from medssl.evaluation import MaskInferer, WrittenMasks, one_file, prepare_with_grids, write_dicom_seg
from medssl.readers import Study, examine_folder
from medssl.transforms import Grid, View

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
Network = Callable[[Tensor], Tensor]


def segmented(study: Study, view: View, network: Network, writer: WrittenMasks, classes: int, **how: Any) -> Any:
    """What the bundle does with one study: its batch, as it is once the writer has seen it, and the sizes."""
    item = view.files("whole")({"image": study, "file": str(study.path)})
    assert not item["reason"], item["note"]
    batch = torch.utils.data.default_collate([dict(item)])
    image, _, _, grids = prepare_with_grids(batch, "cpu")
    inferer = MaskInferer(view.image_size, classes, normalise=view.spatial_dims == 3 and view.window is None, **how)
    with torch.no_grad():
        output = {"pred": inferer(image, network, **grids)}
    writer.add(SimpleNamespace(state=SimpleNamespace(output=output, batch=batch)))  # type: ignore[arg-type]
    return batch, output["pred"][0].tolist()


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def drawn(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """HU: a ball of 40 in 0, with a smaller one of 80, off the middle, so that no turn is hidden."""
    places = np.stack(np.indices(shape)) * np.reshape(spacing, (3, 1, 1, 1))
    size = np.multiply(shape, spacing)
    values = np.zeros(shape, np.float32)
    for middle, radius, grey in ((0.45, 0.34, 40.0), (0.6, 0.15, 80.0)):
        centre = size * np.array([middle, middle - 0.05, middle + 0.05])
        scaled = (places - centre.reshape(3, 1, 1, 1)) / (radius * size).reshape(3, 1, 1, 1)
        values[(scaled**2).sum(axis=0) < 1] = grey
    return values


def by_value(images: Tensor) -> Tensor:
    """Logits of a network that knows the drawing: the ball, inner one included, and the inner one alone."""
    hu = (images + 1) * 50  # of the window 0 .. 100
    return torch.cat([hu - 20, hu - 60], dim=1)


def affine_of(axes: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * np.array(spacing), (-20.0, 33.0, 5.0)
    return affine


def oblique() -> np.ndarray:
    one, other = np.radians((14.0, -9.0))
    first = np.array([[np.cos(one), -np.sin(one), 0], [np.sin(one), np.cos(one), 0], [0, 0, 1]])
    second = np.array([[1, 0, 0], [0, np.cos(other), -np.sin(other)], [0, np.sin(other), np.cos(other)]])
    return first @ second


GRIDS = {
    "as is": (np.eye(3), (1.0, 1.0, 1.0)),
    "flipped": (np.diag([-1.0, -1.0, 1.0]), (0.8, 0.8, 1.5)),
    "permuted": (np.eye(3)[:, [2, 0, 1]] * np.array([1, -1, 1]), (1.4, 0.9, 1.1)),
    "oblique": (oblique(), (1.0, 1.0, 1.0)),
    "oblique, permuted, flipped, anisotropic": (
        oblique() @ np.eye(3)[:, [1, 2, 0]] * np.array([-1, 1, -1]),
        (0.7, 0.7, 3),
    ),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("one", [True, False])
def test_a_drawn_mask_comes_back_onto_the_grid_of_its_file(name: str, one: bool, tmp_path: Path) -> None:
    axes, spacing = GRIDS[name]
    shape = tuple(int(48 / side) for side in spacing)
    values, affine = drawn(shape, spacing), affine_of(axes, spacing)
    (tmp_path / "images").mkdir()
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "images" / "a.nii.gz")
    (study,) = examine_folder(tmp_path / "images", 3).studies
    view = View(3, (24, 24, 24), (0.0, 100.0), (1.0, 1.0, 1.0), "CT")
    writer = WrittenMasks(tmp_path / "masks", ["ball", "inner"], tmp_path / "images", one)
    batch, sizes = segmented(study, view, by_value, writer, 2, exclusive=one)
    truth = [values > 20, values > 60]
    if one:  # a voxel of both is of the class that is surer, which is the ball
        assert batch["mask"] == ["masks/a.nii.gz"]
        written = [nibabel.load(tmp_path / "masks" / "a.nii.gz")]
        masks = [np.asarray(written[0].dataobj) > 0]
        truth = truth[:1]
    else:
        assert batch["mask"] == ["masks/a"]
        written = [nibabel.load(tmp_path / "masks" / "a" / f"{name}.nii.gz") for name in ("ball", "inner")]
        masks = [np.asarray(each.dataobj) == 1 for each in written]
    for image, mask, real, size in zip(written, masks, truth, sizes, strict=False):
        assert image.shape == shape
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)
        assert dice(mask, real) > 0.95
        assert size == pytest.approx(mask.sum() * np.prod(spacing) / 1000, rel=1e-5)


def test_what_leans_in_its_file_leans_in_the_mask(tmp_path: Path) -> None:
    affine = np.array([[1.0, 0, 0.3, 0], [0, 1, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]])
    values = drawn((48, 44, 30), (1.0, 1.0, 1.5))
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii")
    (study,) = examine_folder(tmp_path, 3).studies
    view = View(3, (24, 24, 24), (0.0, 100.0), (1.0, 1.0, 1.0), "CT")
    segmented(study, view, by_value, WrittenMasks(tmp_path / "out", ["ball", "inner"], tmp_path), 2)
    image = nibabel.load(tmp_path / "out" / "a" / "inner.nii.gz")
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert dice(np.asarray(image.dataobj) == 1, values > 60) > 0.95


def test_a_volume_smaller_than_the_box_is_padded_and_comes_back(tmp_path: Path) -> None:
    values = drawn((20, 26, 18), (2.0, 2.0, 2.0))
    nibabel.save(nibabel.Nifti1Image(values, affine_of(np.diag([1.0, -1, -1]), (2.0, 2, 2))), tmp_path / "a.nii")
    (study,) = examine_folder(tmp_path, 3).studies
    view = View(3, (32, 32, 32), (0.0, 100.0), (2.0, 2.0, 2.0), "CT")
    segmented(study, view, by_value, WrittenMasks(tmp_path / "out", ["ball", "inner"], tmp_path), 2)
    found = np.asarray(nibabel.load(tmp_path / "out" / "a" / "ball.nii.gz").dataobj)
    assert np.array_equal(found == 1, values > 20)


def test_of_a_radiograph_the_masks_are_pictures_of_its_size(tmp_path: Path) -> None:
    grey = np.zeros((90, 61), np.uint8)
    grey[20:60, 10:40], grey[30:45, 15:30] = 100, 200
    Image.fromarray(grey).save(tmp_path / "a.png")
    (study,) = examine_folder(tmp_path, 2).studies

    def network(images: Tensor) -> Tensor:
        low = images.amin()  # outside
        return torch.cat([images - low - 0.6, images - images.amax() + 0.6], dim=1)

    writer = WrittenMasks(tmp_path / "out", ["lung/left", "lung:left"], tmp_path)
    _, sizes = segmented(study, View(2, (64, 64)), network, writer, 2)
    found = np.asarray(Image.open(tmp_path / "out" / "a" / "lung_left.png"))
    inner = np.asarray(Image.open(tmp_path / "out" / "a" / "lung_left_2.png"))
    assert found.shape == grey.shape
    assert set(np.unique(found)) == {0, 255}
    assert dice(found > 0, grey > 0) > 0.95
    assert sizes == [(found > 0).sum(), (inner > 0).sum()]


def test_no_two_images_share_a_place(tmp_path: Path) -> None:
    writer = WrittenMasks(tmp_path / "masks", ["a"], tmp_path)
    places = [writer._path(tmp_path / name) for name in ("x/a.nii.gz", "x/a.mha", "x/A.nii", "y/a.nii.gz", ".")]
    names = [place.relative_to(tmp_path / "masks").as_posix() for place in places]
    assert names == ["x/a", "x/a_2", "x/A_3", "y/a", tmp_path.name]


def test_the_table_says_which_number_and_which_file_a_class_has(tmp_path: Path) -> None:
    for one, expected in ((True, ["1", "2"]), (False, ["1", "1"])):
        writer = WrittenMasks(tmp_path / f"{one}", ["liver", "a/b"], tmp_path, one)
        writer.begin(None)  # type: ignore[arg-type]
        with (tmp_path / f"{one}" / "classes.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["number"] for row in rows] == expected
        assert [row["class"] for row in rows] == ["liver", "a/b"]
        assert [row["file"] for row in rows] == (["", ""] if one else ["liver", "a_b"])


def test_one_file_is_for_classes_that_share_no_voxel() -> None:
    assert one_file("auto", ["a", "b"], {}, disjoint=True)
    assert one_file("auto", ["a"], {}, disjoint=False)
    assert not one_file("auto", ["a", "b"], {}, disjoint=False)
    assert one_file("one", ["a", "b"], {}, disjoint=False)
    assert not one_file("each", ["a"], {}, disjoint=True)
    with pytest.raises(ValueError, match=r"lungs contains left: give --masks each"):
        one_file("one", ["lungs", "left"], {"lungs": ["left"]}, disjoint=False)
    with pytest.raises(ValueError, match="must be one of auto, one, each"):
        one_file("many", ["a"], {}, disjoint=False)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared real images")
@pytest.mark.parametrize(
    ("folder", "spacing"), [("ct_seg/sts_gtv", (2.0, 2.0, 3.0)), ("mr_seg/msd_hippocampus", (1.0, 1.0, 1.0))]
)
def test_masks_of_real_images_come_back(folder: str, spacing: tuple[float, float, float], tmp_path: Path) -> None:
    tried = 0
    for label in sorted((SHARED / folder / "labels").glob("*.nii.gz"))[:12]:
        image = nibabel.load(label)
        mask = np.asarray(image.dataobj) == 1
        if mask.sum() < 500 or tried == 2:
            continue
        tried += 1
        # The mask itself stands for the image, in HU, on the real grid.
        nibabel.save(nibabel.Nifti1Image(np.where(mask, 40, 0).astype(np.int16), image.affine), tmp_path / label.name)
    assert tried
    view = View(3, (64, 64, 64), (0.0, 100.0), spacing, "CT")
    writer = WrittenMasks(tmp_path / "out", ["ball", "inner"], tmp_path)
    for study in examine_folder(tmp_path, 3, skip=tmp_path / "out").studies:
        segmented(study, view, by_value, writer, 2)
        original = nibabel.load(study.path)
        found = nibabel.load(tmp_path / "out" / study.path.name.removesuffix(".nii.gz") / "ball.nii.gz")
        assert found.shape == original.shape
        np.testing.assert_allclose(found.affine, original.affine, atol=1e-4)
        assert dice(np.asarray(found.dataobj) == 1, np.asarray(original.dataobj) == 40) > 0.95


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared real images")
@pytest.mark.parametrize("series", ["trunk_20slices", "head_tilted"])
def test_a_series_gets_dicom_seg_on_its_own_slices(series: str, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    shutil.copytree(SHARED / "ct_dicom" / series, tmp_path / "in" / series)
    if series == "trunk_20slices":  # whose data sets were emptied of it
        for file in (tmp_path / "in" / series).iterdir():
            emptied = pydicom.dcmread(file)
            assert not emptied.StudyInstanceUID
            emptied.StudyInstanceUID = "1.2.3"
            emptied.save_as(file)
    found = examine_folder(tmp_path / "in", 3)
    (study,) = found.studies

    def bone(images: Tensor) -> Tensor:
        return (images + 1) * 500 - 200  # above 200 HU in the window 0 .. 1000

    view = View(3, (64, 64, 16), (0.0, 1000.0), (-1, -1, -1), "CT")
    writer = WrittenMasks(tmp_path / "masks", ["bone"], tmp_path / "in", True, found.studies, write_dicom_seg)
    batch, _ = segmented(study, view, bone, writer, 1, exclusive=True)
    assert "no DICOM SEG" not in batch["note"][0]
    written = highdicom.seg.segread(tmp_path / "masks" / f"{series}.dcm")
    assert [each.SegmentLabel for each in written.SegmentSequence] == ["bone"]
    sources = {
        each.file_meta.MediaStorageSOPInstanceUID if not each.SOPInstanceUID else each.SOPInstanceUID: each
        for each in map(pydicom.dcmread, study.files)
    }
    uids = list(sources)
    masks = written.get_pixels_by_source_instance(uids, combine_segments=False, assert_missing_frames_are_empty=True)
    scores = []
    for uid, mask in zip(uids, masks[..., 0].astype(bool), strict=True):
        source = sources[uid]
        real = source.pixel_array * float(source.RescaleSlope) + float(source.RescaleIntercept) > 200
        if real.sum() > 500:
            scores.append(dice(mask, real))
    assert len(scores) > 5
    # A straightened gantry tilt moves slices by parts of a pixel, linearly and back to the nearest.
    assert min(scores) > (0.95 if series == "trunk_20slices" else 0.85), scores


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared real images")
def test_a_series_of_no_study_gets_a_note_instead_of_dicom_seg(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    found = examine_folder(SHARED / "ct_dicom" / "trunk_20slices", 3)
    (study,) = found.studies
    reading = study.read()
    assert reading.affine is not None
    bits = np.ones(reading.values.shape, np.uint8)
    said = write_dicom_seg(study, bits, Grid(bits.shape, reading.affine), ["all"], tmp_path / "mask")
    assert said == "no DICOM SEG: its headers lack StudyInstanceUID"
    assert not list(tmp_path.iterdir())
