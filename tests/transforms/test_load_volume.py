import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor, NibabelReader, PydicomReader, list_data_collate
from monai.transforms import Compose, Orientationd, ScaleIntensityRanged, Spacingd
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from medssl.errors import UnusableImageError
from medssl.readers.reading import Reading
from medssl.transforms.image_tensor import image_tensor
from medssl.transforms.load_volume import LoadVolume, LoadVolumed, ResampleVolume, ResampleVolumed

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder of real images at {SHARED}")

STORED = np.random.default_rng(0).integers(0, 3000, (6, 5, 7), dtype=np.int16)  # slices, rows, columns


def save_slice(
    path: Path, stored: np.ndarray, position: tuple[float, float, float], series: str, **tags: object
) -> None:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID = "CT", series
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelSpacing, dataset.ImagePositionPatient = [0.7, 0.9], list(position)
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, 1, "MONOCHROME2"
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.PixelData = stored.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def save_series(folder: Path, places: list[float], shift: float = 0, **tags: object) -> Path:
    """A CT series whose file names and instance numbers run against the positions."""
    folder.mkdir()
    series = generate_uid()
    for index, place in enumerate(places):
        path = folder / f"{len(places) - index}.dcm"
        values = {"InstanceNumber": len(places) - index, **tags}
        save_slice(path, STORED[index % 6], (-10, -20 + index * shift, place), series, **values)
    return folder


def test_series_is_stacked_by_position_in_hu_with_its_affine(tmp_path: Path) -> None:
    volume = LoadVolume()(save_series(tmp_path / "series", [100, 102, 104, 106, 108, 110]))
    assert isinstance(volume, MetaTensor)
    assert volume.dtype == torch.float32
    np.testing.assert_array_equal(volume[0].numpy(), STORED.transpose(2, 1, 0) - 1024.0)
    expected = [[-0.9, 0, 0, 10], [0, -0.7, 0, 20], [0, 0, 2, 100], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected)


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    folder = save_series(tmp_path / "series", [0, 1])
    save_slice(
        folder / "0.dcm", STORED[2], (-10, -20, 2), pydicom.dcmread(folder / "1.dcm").SeriesInstanceUID, RescaleSlope=2
    )
    np.testing.assert_array_equal(LoadVolume()(folder)[0, :, :, 2].numpy(), STORED[2].T * 2.0 - 1024)


@pytest.mark.parametrize(
    ("places", "tags", "message"),
    [
        ([0, 2, 4, 10, 12], {}, "a gap of 6.0 mm where slices are 2.00 mm apart"),
        ([0, 2, 2, 4], {}, "slices that overlap"),
        ([0], {}, "the only slice"),
        ([0, 2, 4], {"shift": -2.1}, "shifted against each other by up to 4.2 mm"),
        ([0, 2, 4], {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localiser"),
        ([0, 2, 4], {"RescaleIntercept": None}, "lacks RescaleIntercept"),
        ([0, 2, 4], {"ImagePositionPatient": None}, "lacks ImagePositionPatient"),
        ([0, 2, 4], {"NumberOfFrames": 2, "Rows": 2}, "2 frames but not where"),
    ],
)
def test_series_that_form_no_box_are_refused(tmp_path: Path, places: list[float], tags: dict, message: str) -> None:
    folder = save_series(tmp_path / "series", places, **tags)
    with pytest.raises(UnusableImageError, match=message) as caught:
        LoadVolume()(folder)
    assert str(folder) in str(caught.value)


def test_what_was_put_right_is_in_the_metadata_which_collates(tmp_path: Path) -> None:
    tilted = LoadVolume()(save_series(tmp_path / "tilted", [0, 2, 4], shift=0.7))
    assert tilted.meta["notes"] == "gantry tilt of 19.3° straightened"
    even = LoadVolume()(save_series(tmp_path / "even", [0, 2, 4]))
    assert even.meta["notes"] == ""
    assert tilted.shape == (1, 7, 7, 3)  # two rows more than the slices
    batch = list_data_collate([{"image": tilted[:, :, :5]}, {"image": even}])
    assert batch["image"].shape == (2, 1, 7, 5, 3)


def test_a_folder_of_two_volumes_is_refused_and_the_slices_of_one_are_read(tmp_path: Path) -> None:
    folder = save_series(tmp_path / "series", [0, 2, 4])
    first = sorted(folder.iterdir())
    alone = LoadVolume()(folder)
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    save_slice(folder / "scout.dcm", STORED[0], (-10, -20, 6), generate_uid(), **scout)
    torch.testing.assert_close(LoadVolume()(folder).as_tensor(), alone.as_tensor(), rtol=0, atol=0)
    for place in (0, 2):
        save_slice(folder / f"second {place}.dcm", STORED[place], (-10, -20, place), "1.2.3")
    with pytest.raises(UnusableImageError, match=r"holds 2 volumes \(7 × 5 × 3, 7 × 5 × 2\): give the slices of one"):
        LoadVolume()(folder)
    listed = LoadVolume()([str(path) for path in first])
    torch.testing.assert_close(listed.as_tensor(), alone.as_tensor(), rtol=0, atol=0)
    assert listed.meta["filename_or_obj"] == str(first[0])
    with pytest.raises(ValueError, match="empty list"):
        LoadVolume()([])


def test_damaged_slices_are_refused_and_notes_are_not(tmp_path: Path) -> None:
    folder = save_series(tmp_path / "series", [0, 2, 4])
    (folder / "note.txt").write_text("a note")
    assert LoadVolume()(folder).shape == (1, 7, 5, 3)
    whole = (folder / "2.dcm").read_bytes()
    for damaged in (b"", whole[:-20], whole[:200]):
        (folder / "2.dcm").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"2\.dcm"):
            LoadVolume()(folder)
    for number, path in enumerate(sorted(folder.glob("*.dcm"))):
        path.rename(folder / f"1.2.840.{number}")
    with pytest.raises(ValueError, match=r"1\.2\.840\.1 lies among slices and cannot be used \(damaged\)"):
        LoadVolume()(folder)
    for path in folder.glob("1*"):
        path.unlink()
    with pytest.raises(ValueError, match="no DICOM slices"):
        LoadVolume()(folder)


def test_nifti_is_read_as_monai_reads_it(tmp_path: Path) -> None:
    affine = np.array([[0, -1.5, 0, 7], [2, 0, 0, 8], [0, 0, 3, 9], [0, 0, 0, 1.0]])
    nifti = nibabel.Nifti1Image(STORED, affine)
    nifti.header.set_slope_inter(0.5, -1000)
    nibabel.save(nifti, tmp_path / "scaled.nii.gz")
    volume = LoadVolume()(tmp_path / "scaled.nii.gz")
    reader = NibabelReader()
    array, meta = reader.get_data(reader.read(tmp_path / "scaled.nii.gz"))
    np.testing.assert_allclose(volume[0].numpy(), array, rtol=1e-6)
    np.testing.assert_array_equal(volume.affine, meta["affine"])
    assert volume.meta["space"] == meta["space"]
    nibabel.save(nibabel.Nifti1Image(STORED[..., None], affine), tmp_path / "one_time.nii")
    assert LoadVolume()(tmp_path / "one_time.nii").shape == (1, *STORED.shape)


def test_what_is_no_volume_is_refused_by_name(tmp_path: Path) -> None:
    values = STORED.astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(np.stack([values] * 2, axis=-1), np.eye(4)), tmp_path / "four_axes.nii")
    values[0, 0, :2] = np.nan, np.inf
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "nan.nii.gz")
    nibabel.save(nibabel.Nifti1Image(STORED[0], np.eye(4)), tmp_path / "flat.nii")
    for suffix in (".nii", ".nii.gz"):
        path = tmp_path / f"cut{suffix}"
        nibabel.save(nibabel.Nifti1Image(STORED, np.eye(4)), path)
        path.write_bytes(path.read_bytes()[:-60])
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "text.nii").write_text("not an image")
    (tmp_path / "other.mha").write_text("not an image")
    save_slice(tmp_path / "slice.dcm", STORED[0], (0, 0, 0), generate_uid())
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=path.name):
            LoadVolume()(path)
    with pytest.raises(ValueError, match="2 voxels"):
        LoadVolume()(tmp_path / "nan.nii.gz")
    with pytest.raises(FileNotFoundError, match="missing"):
        LoadVolume()(tmp_path / "missing.nii")


@needs_shared
def test_real_series_agree_with_monai_after_orientation() -> None:
    orient = Orientationd("image", axcodes="RAS", labels=None)
    folders = [SHARED / "ct_dicom" / "trunk_20slices", *(SHARED / "ct_dicom" / "compressed_syntaxes").iterdir()]
    for folder in folders:
        ours = orient(LoadVolumed("image")({"image": str(folder)}))["image"]
        reader = PydicomReader()
        array, meta = reader.get_data(reader.read(folder))
        monai = MetaTensor(torch.from_numpy(array.astype(np.float32))[None], affine=torch.from_numpy(meta["affine"]))
        monai = orient({"image": monai})["image"]
        torch.testing.assert_close(ours.as_tensor(), monai.as_tensor(), rtol=0, atol=0)
        torch.testing.assert_close(ours.affine, monai.affine)


@needs_shared
def test_a_real_tilted_head_is_loaded_straight() -> None:
    head = LoadVolume()(SHARED / "ct_dicom" / "head_tilted")
    assert head.meta["notes"] == "gantry tilt of 18.5° straightened"
    axes = head.affine[:3, :3] / head.pixdim
    torch.testing.assert_close(axes.T @ axes, torch.eye(3, dtype=axes.dtype), rtol=0, atol=1e-4)


@needs_shared
def test_the_chain_of_the_bundles_runs_on_real_volumes() -> None:
    chain = Compose(
        [
            LoadVolumed("image"),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(6.0, 6.0, 6.0)),
            ScaleIntensityRanged("image", -1000, 1000, 0, 1, clip=True),
        ]
    )
    paths = [*sorted((SHARED / "ct").iterdir()), *sorted((SHARED / "ct_sts" / "images").iterdir())[:2]]
    for path in [*paths, SHARED / "ct_dicom" / "trunk_20slices"]:
        image = chain({"image": path})["image"]
        assert image.ndim == 4
        assert nibabel.aff2axcodes(image.affine.numpy()) == ("R", "A", "S")
        np.testing.assert_allclose(image.pixdim, 6, rtol=1e-5)
        assert image.min() >= 0
        assert image.max() <= 1
        assert image.std() > 0.01


def volume(shape: tuple[int, ...], affine: np.ndarray, name: str = "a/ct.nii") -> MetaTensor:
    values = np.random.default_rng(1).normal(0, 100, shape).astype(np.float32)
    return image_tensor(Reading(values, affine), name)


@pytest.mark.parametrize("spacing", [(2, 2, 3), (-1, -1, -1), (1.3, -1, 0.9)])
def test_volumes_are_resampled_as_monai_does(spacing: tuple[float, ...]) -> None:
    turn = Rotation.from_euler("xyz", [20, -15, 100], degrees=True).as_matrix() * [0.8, -1.1, 2.5]
    affine = np.block([[turn, np.array([[3.0], [-20], [7]])], [np.zeros((1, 3)), np.ones((1, 1))]])
    image = volume((20, 18, 12), affine)
    chain = Compose([Orientationd("x", "RAS", labels=None), Spacingd("x", spacing, mode="bilinear")])
    expected = chain({"x": image.clone()})["x"]
    resampled = ResampleVolumed("x", spacing)({"x": image})["x"]
    np.testing.assert_array_equal(resampled.numpy(), expected.numpy())
    np.testing.assert_array_equal(resampled.affine, expected.affine)
    sides = np.linalg.norm(resampled.affine.numpy()[:3, :3], axis=0)
    own = np.array([1.1, 0.8, 2.5])  # its second axis runs most to the right, its first most to the front
    np.testing.assert_allclose(sides, np.where(np.array(spacing) > 0, spacing, own), rtol=1e-6)


@pytest.mark.parametrize(
    ("affine", "reason", "sentence"),
    [
        (np.diag([1, 1, 0, 1.0]), "wrong affine", r"axes of ct\.nii do not span a space"),
        (np.array([[1, 1, 0, 0], [0, 0.001, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "wrong affine", "do not span"),
        (np.diag([1000, 1000, 1000, 1.0]), "too large", r"of 2 × 2 × 2 mm ct\.nii has 4000 × 4000 × 4000 voxels"),
        (np.diag([1, 1, 0.1, 1.0]), "too small", "has 4 × 4 × 1 voxels"),
    ],
)
def test_what_cannot_be_resampled_is_refused_by_name(affine: np.ndarray, reason: str, sentence: str) -> None:
    with pytest.raises(UnusableImageError, match=sentence) as error:
        ResampleVolume((2, 2, 2))(volume((8, 8, 8), affine))
    assert error.value.reason == reason
