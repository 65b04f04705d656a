import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    UltrasoundImageStorage,
    generate_uid,
)
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medssl.errors import UnusableImageError
from medssl.readers.dicom_series import SetAside, Stack, decode_slices, find_stacks, read_stack
from medssl.readers.dicom_slices import read_slices

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")) / "ct_dicom"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder of real series at {SHARED}")

SHAPE, SPACING = (46, 54), (1.1, 0.9)  # rows, columns; 50 mm each way
AXIAL = np.array([[1.0, 0, 0], [0, 1, 0]])
OBLIQUE = Rotation.from_euler("xyz", [25, -40, 70], degrees=True).apply(AXIAL)
PLACES = [float(place) for place in range(-20, 21)]
FEW = PLACES[18:23]


def blob(world: np.ndarray) -> np.ndarray:
    """A soft ellipsoid about (3, −2, 1) mm in LPS, nearly nothing where slices end: HU of points [..., 3]."""
    return 1000 * np.exp(-0.5 * (((world - [3, -2, 1]) / [5.0, 6.0, 5.5]) ** 2).sum(axis=-1))


def save_slice(
    path: Path,
    place: float,
    shift: Sequence[float] = (0, 0),
    cosines: np.ndarray = AXIAL,
    add: float = 0,
    **tags: object,
) -> Path:
    """The blob where a plane cuts it: at ``place`` mm along the normal, moved by ``shift`` mm down and to the right."""
    columns, rows = cosines
    corner = place * np.cross(columns, rows) + (shift[0] - 25) * rows + (shift[1] - 24) * columns
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1], 0:1][:2, ..., 0]
    world = corner + row[..., None] * SPACING[0] * rows + column[..., None] * SPACING[1] * columns
    slope = float(tags.setdefault("RescaleSlope", 0.5))  # type: ignore[arg-type]
    stored = np.round((blob(world) + add + 1000) / slope).astype(np.int16)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID, dataset.ImageType = "CT", "1.2.3", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns = SHAPE
    dataset.PixelSpacing = list(SPACING)
    dataset.ImagePositionPatient = [f"{value:.6f}" for value in corner]
    dataset.ImageOrientationPatient = [f"{value:.9f}" for value in cosines.ravel()]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, 1, "MONOCHROME2"
    dataset.RescaleIntercept, dataset.PixelData = -1000, stored.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_series(
    folder: Path, places: Sequence[float] = PLACES, tilt: Sequence[float] = (0, 0), name: str = "", **values: object
) -> list[Path]:
    """Slices in files whose names run across the places; with ``tilt`` each is moved by that many mm a mm."""
    folder.mkdir(exist_ok=True)
    mixed = np.random.default_rng(0).permutation(len(places))
    return [
        save_slice(folder / f"{name}{number}.dcm", place, np.multiply(tilt, place), **values)  # type: ignore[arg-type]
        for number, place in zip(mixed, places, strict=True)
    ]


def found(folder: Path) -> tuple[list[Stack], dict[str, SetAside]]:
    """`find_stacks` of a folder; every file must be in exactly one place."""
    files = sorted(folder.iterdir())
    stacks, aside = find_stacks(files)
    assert Counter(file for stack in stacks for file in stack.files) + Counter(one.file for one in aside) == Counter(
        files
    )
    return stacks, {one.file.name: one for one in aside}


def assert_is_blob(stack: Stack, tolerance: float, add: float = 0) -> None:
    """Each voxel has the blob's value at its own place in space."""
    reading = read_stack(stack)
    volume, affine = reading.values, reading.affine
    assert affine is not None
    assert volume.dtype == np.float32
    assert volume.shape == stack.shape
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    assert np.linalg.det(affine[:3, :3]) == pytest.approx(sides.prod())  # perpendicular, and not mirrored
    ras = np.moveaxis(np.indices(volume.shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    expected = blob(ras * [-1, -1, 1]) + add
    assert expected.max() > 900 + add
    np.testing.assert_allclose(volume, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("cosines", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize(
    ("places", "tilt", "tolerance", "notes"),
    [
        (PLACES, (0, 0), 0.3, []),
        (PLACES, (0.3, 0), 6, ["gantry tilt of 16.7° straightened"]),
        (PLACES, (-0.2, 0.25), 10, ["gantry tilt of 17.8° straightened"]),
        (
            PLACES[:18] + PLACES[19:30] + PLACES[31:],
            (0, 0),
            20,
            ["2 missing slices interpolated (after number 18, 29 of 39)"],
        ),
        (
            PLACES[:18] + PLACES[19:],
            (0.3, 0),
            20,
            ["gantry tilt", "1 missing slice interpolated (after number 18 of 40)"],
        ),
        (
            PLACES[:20] + [place + 0.3 for place in PLACES[20:]],
            (0, 0),
            7,
            ["slices 1.00 to 1.30 mm apart resampled to 1.01"],
        ),
        (
            [place + 0.1 * (-1) ** place for place in PLACES],
            (0, 0),
            7,
            ["slices 0.80 to 1.20 mm apart resampled to 1."],
        ),
    ],
    ids=["even", "tilted", "tilted both ways", "missing", "tilted and missing", "one wider step", "irregular"],
)
def test_crooked_series_are_put_right_in_space(
    tmp_path: Path,
    cosines: np.ndarray,
    places: list[float],
    tilt: tuple[float, float],
    tolerance: float,
    notes: list[str],
) -> None:
    save_series(tmp_path / "series", places, tilt, cosines=cosines)
    (stack,), aside = found(tmp_path / "series")
    assert not aside
    assert len(stack.notes) == len(notes)
    assert all(note.startswith(start) for note, start in zip(stack.notes, notes, strict=True))
    assert_is_blob(stack, tolerance)
    assert stack.shape[2] in (41, 42)


def test_nothing_is_cut_and_what_no_slice_covers_is_lowest(tmp_path: Path) -> None:
    save_series(tmp_path / "series", [0, 1, 2, 3, 4], tilt=(0.55, 0), add=500)  # half a row a slice
    (stack,), _ = found(tmp_path / "series")
    volume = read_stack(stack).values
    assert stack.shape == (54, 48, 5)
    np.testing.assert_array_equal(volume[:, -2:, 0], volume.min())
    np.testing.assert_array_equal(volume[:, :2, -1], volume.min())
    for number in (0, 2, 4):  # moved by whole rows
        stored = pydicom.dcmread(stack.files[number]).pixel_array.T * 0.5 - 1000
        np.testing.assert_allclose(volume[:, number // 2 : number // 2 + 46, number], stored, atol=0.01)


def test_copies_are_left_out(tmp_path: Path) -> None:
    files = save_series(tmp_path / "series")
    for number in (4, 9):
        shutil.copy(files[number], tmp_path / "series" / f"z copy of {number}.dcm")
    (stack,), aside = found(tmp_path / "series")
    assert stack.notes == ("2 duplicate slices left out",)
    assert {name: one.reason for name, one in aside.items()} == dict.fromkeys(
        ["z copy of 4.dcm", "z copy of 9.dcm"], "duplicate slice"
    )
    assert_is_blob(stack, 0.3)


@pytest.mark.parametrize(
    ("tag", "values", "offset"),
    [
        ("AcquisitionNumber", (1, 2), 0),
        ("AcquisitionNumber", (1, 2), 0.25),
        ("EchoNumbers", (1, 2), 0),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), 0),
        ("ConvolutionKernel", ("B30f", "B70f"), 0),
        ("ContentTime", ("101500", "101545.5"), 0),
    ],
)
def test_volumes_of_one_series_are_told_apart(tmp_path: Path, tag: str, values: tuple, offset: float) -> None:
    for number, value in enumerate(values):
        places = [place + number * offset for place in FEW]
        save_series(tmp_path / "series", places, name=f"{number} ", add=100 * number, **{tag: value})
    stacks, aside = found(tmp_path / "series")
    assert not aside
    for number, stack in enumerate(stacks):
        assert stack.notes == (f"volume {number + 1} of 2 in its series, told apart by {tag}",)
        assert_is_blob(stack, 0.3, add=100 * number)


def test_acquisitions_that_follow_each_other_are_one_volume(tmp_path: Path) -> None:
    save_series(tmp_path / "series", PLACES[:20], name="lower ", AcquisitionNumber=1)
    save_series(
        tmp_path / "series", [PLACES[20] + 0.5 * step for step in range(41)], name="upper ", AcquisitionNumber=2
    )
    (stack,), aside = found(tmp_path / "series")
    assert not aside
    assert stack.notes == ("slices 0.50 to 1.00 mm apart resampled to 0.50 mm",)
    assert_is_blob(stack, 5.5)


def test_volumes_that_nothing_tells_apart_are_set_aside(tmp_path: Path) -> None:
    for number in (0, 1):
        save_series(tmp_path / "series", FEW, name=f"{number} ", add=100 * number)
    stacks, aside = found(tmp_path / "series")
    assert not stacks
    assert {one.reason for one in aside.values()} == {"slices that overlap"}


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("places", "values", "reason", "detail"),
    [
        ([0, 2.5, 5, 7.5, 37.5, 40], {}, "uneven slices", "a gap of 30.0 mm where slices are 2.50 mm apart"),
        (FEW, {"tilt": (1.2, 0)}, "shifted slices", "up to 4.8 mm"),
        ([3], {}, "single slice", "only slice"),
        (FEW, {"cosines": np.array([[1, 0, 0], [0.1, 0.995, 0]])}, "skewed axes", "not perpendicular"),
        (FEW, {"RescaleIntercept": None}, "missing tags", "lacks RescaleIntercept"),
        (FEW, {"ImagePositionPatient": None}, "missing tags", "lacks ImagePositionPatient"),
        (FEW, {"PixelSpacing": [0, 1]}, "wrong tags", "PixelSpacing cannot be right"),
        (FEW, {"RescaleIntercept": "nan"}, "wrong tags", "RescaleIntercept cannot be right"),
        (FEW, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localiser", "scout"),
        (FEW, {"SOPClassUID": SecondaryCaptureImageStorage}, "secondary capture", "screenshot"),
        (FEW, {"SOPClassUID": SegmentationStorage}, "segmentation", "no scan"),
        (FEW, {"Modality": "RTDOSE"}, "dose", "no scan"),
        (FEW, {"SamplesPerPixel": 3, "BitsAllocated": 8, "Columns": 36}, "colour image", "grey"),
    ],
)
def test_what_cannot_be_put_right_is_set_aside_with_its_reason(
    tmp_path: Path, places: list[float], values: dict, reason: str, detail: str
) -> None:
    save_series(tmp_path / "series", places, **values)
    stacks, aside = found(tmp_path / "series")
    assert not stacks
    assert {one.reason for one in aside.values()} == {reason}
    assert all(detail in one.detail for one in aside.values())


def test_shifts_that_are_no_tilt_are_set_aside(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for number, place in enumerate(PLACES):
        save_slice(tmp_path / "series" / f"{number}.dcm", place, shift=(3 * (number > 20), 0))
    stacks, aside = found(tmp_path / "series")
    assert not stacks
    assert {one.reason for one in aside.values()} == {"shifted slices"}
    assert "up to 3.0 mm, and not evenly" in aside["0.dcm"].detail


def test_what_lies_beside_a_series_is_set_aside_alone(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    files = save_series(folder)
    whole = files[7].read_bytes()
    files[7].write_bytes(whole[:-20])
    (folder / "empty.dcm").touch()
    (folder / "text.dcm").write_text("no DICOM at all, only its name" * 20)
    (folder / "cut.dcm").write_bytes(whole[:300])
    (folder / "link.dcm").symlink_to(folder / "gone")
    os.mkfifo(folder / "pipe.dcm")
    save_slice(folder / "scout.dcm", 0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], cosines=AXIAL[::-1])
    save_slice(folder / "sagittal.dcm", 0, cosines=AXIAL[::-1])
    save_slice(folder / "other series.dcm", 0, SeriesInstanceUID="1.2.4")
    save_slice(folder / "wide.dcm", 30, PixelSpacing=[2, 2])
    save_slice(folder / "frames.dcm", 0, NumberOfFrames=2, Rows=23)
    report = pydicom.dcmread(files[0], stop_before_pixels=True)
    for tag in ("Rows", "Columns"):
        delattr(report, tag)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.save_as(folder / "report.dcm")
    (stack,), aside = found(folder)
    assert {name: one.reason for name, one in aside.items()} == {
        files[7].name: "damaged",
        "empty.dcm": "damaged",
        "text.dcm": "damaged",
        "cut.dcm": "damaged",
        "link.dcm": "damaged",
        "pipe.dcm": "damaged",
        "scout.dcm": "localiser",
        "sagittal.dcm": "localiser",
        "other series.dcm": "single slice",
        "wide.dcm": "other matrix",
        "frames.dcm": "frames without position",
        "report.dcm": "no image",
    }
    assert stack.notes[0] == "1 missing slice interpolated (after number 7 of 40)"
    assert stack.notes[1].startswith("a file beside it cannot be used and may be one of its slices (")
    assert stack.notes[1].endswith(" and 5 more)")
    assert_is_blob(stack, 8)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_no_length_of_a_cut_file_raises_or_loses_it(tmp_path: Path) -> None:
    path = save_slice(tmp_path / "slice.dcm", 0)
    whole = path.read_bytes()
    for length in [*range(0, 1200, 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        stacks, aside = found(tmp_path)
        assert not stacks
        assert aside["slice.dcm"].reason == "damaged"


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    for number, place in enumerate(PLACES):
        save_slice(tmp_path / f"{number}.dcm", place, RescaleSlope=[0.5, 0.75, 2][number % 3])
    (stack,), _ = found(tmp_path)
    assert_is_blob(stack, 1.01)


def test_other_modalities_need_no_rescale_and_are_noted(tmp_path: Path) -> None:
    save_series(tmp_path / "series", FEW, Modality="MR", RescaleIntercept=None)
    (stack,), _ = found(tmp_path / "series")
    assert stack.notes == ("modality MR: values are not HU",)
    assert_is_blob(stack, 0.3, add=1000)


def rewritten(file: Path, **changes: str) -> Path:
    """A file with some elements' values replaced as text, whatever their kind allows."""
    dataset = pydicom.dcmread(file)
    for keyword, value in changes.items():
        tag = pydicom.tag.Tag(keyword)
        padded = value.encode() + b" " * (len(value) % 2)
        dataset[tag] = RawDataElement(tag, pydicom.datadict.dictionary_VR(tag), len(padded), padded, 0, False, True)
    dataset.save_as(file)
    return file


def test_files_without_preamble_or_meta_header_are_slices_too(tmp_path: Path) -> None:
    files = save_series(tmp_path / "series", FEW)
    files[0].write_bytes(files[0].read_bytes()[132:])
    bare = pydicom.dcmread(files[2])
    with files[2].open("wb") as stream:
        write_dataset(DicomFileLike(stream), bare)
    (stack,), aside = found(tmp_path / "series")
    assert not aside
    assert len(stack.notes) == 2
    assert all("missing, read as" in note and note.endswith("(1 of 5)") for note in stack.notes)
    assert_is_blob(stack, 0.3)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_what_is_written_oddly_is_read_and_noted(tmp_path: Path) -> None:
    for file in save_series(tmp_path / "series", FEW):
        rewritten(file, PixelSpacing="1,1\\0,9", RescaleIntercept="-1000,0", AcquisitionNumber="", NumberOfFrames="")
    (stack,), _ = found(tmp_path / "series")
    assert stack.notes == ("decimal commas in PixelSpacing, RescaleIntercept read as points",)
    assert_is_blob(stack, 0.3)


def test_a_modality_that_is_not_stated_is_that_of_the_class(tmp_path: Path) -> None:
    save_series(tmp_path / "ct", FEW, Modality=None)
    (stack,), _ = found(tmp_path / "ct")
    assert stack.notes == ("Modality missing, CT by its SOP class",)
    assert (stack.modality, read_stack(stack).modality) == ("CT", "CT")
    save_series(tmp_path / "without", FEW, Modality="", RescaleIntercept=None)
    _, aside = found(tmp_path / "without")
    assert {one.reason for one in aside.values()} == {"missing tags"}
    save_series(tmp_path / "other", FEW, Modality=None, SOPClassUID=UltrasoundImageStorage)
    (stack,), _ = found(tmp_path / "other")
    assert (stack.modality, stack.notes) == ("", ("modality unknown: values are not HU",))


def test_other_units_than_hu_are_noted(tmp_path: Path) -> None:
    for kind, notes in (("HU", ()), ("OD", ("RescaleType is OD: values may be no HU",))):
        save_series(tmp_path / kind, FEW, RescaleType=kind)
        assert found(tmp_path / kind)[0][0].notes == notes


def test_a_modality_lut_takes_the_place_of_the_rescale(tmp_path: Path) -> None:
    """PS3.3 C.11.1.1: entry number (stored − first) of the table, its ends beyond."""
    first, entries = 1000, (np.arange(3000) * 7 % 4001).astype(np.uint16)
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData, table.ModalityLUTType = [len(entries), first, 16], entries.tobytes(), "US"
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    for file in save_series(tmp_path / "series", FEW, RescaleIntercept=None):
        dataset = pydicom.dcmread(file)
        del dataset.RescaleSlope
        dataset.ModalityLUTSequence = [table]
        dataset.save_as(file)
    (stack,), _ = found(tmp_path / "series")
    reading = read_stack(stack)
    assert reading.notes == ("values went through its modality LUT",)
    for number, file in enumerate(stack.files):
        stored = np.frombuffer(pydicom.dcmread(file).PixelData, "<i2").reshape(SHAPE).astype(int)
        expected = entries[(stored - first).clip(0, len(entries) - 1)]
        np.testing.assert_array_equal(reading.values[:, :, number].T, expected)


@pytest.mark.parametrize("high_bit", [11, 13])
def test_only_the_stored_bits_count(tmp_path: Path, high_bit: int) -> None:
    """12 bits below or above others, which hold an overlay (PS3.5 8.1.1)."""
    stored = np.random.default_rng(0).integers(0, 4096, (5, *SHAPE))
    noise = np.random.default_rng(1).integers(0, 2**16, stored.shape)
    mask = 0xFFF << (high_bit - 11)
    cells = ((stored << (high_bit - 11)) | (noise & ~mask)).astype("<u2")
    files = save_series(tmp_path / "series", FEW, BitsStored=12, HighBit=high_bit, PixelRepresentation=0)
    for file, own in zip(files, cells, strict=True):
        dataset = pydicom.dcmread(file)
        dataset.PixelData = own.tobytes()
        dataset.save_as(file)
    (stack,), _ = found(tmp_path / "series")
    np.testing.assert_array_equal(read_stack(stack).values, stored.transpose(2, 1, 0) * 0.5 - 1000)


def test_padding_is_never_bright(tmp_path: Path) -> None:
    """Dark padding stays as it is; 63536 is −2000 that lost its sign."""
    stored = np.random.default_rng(0).integers(100, 3000, (5, *SHAPE))
    outside = np.hypot(*(np.indices(SHAPE) - [[[23]], [[27]]])) > 20
    for name, padding, signed in (("dark", -2000, 1), ("bright", 63536, 0)):
        files = save_series(tmp_path / name, FEW, PixelRepresentation=signed)
        for file, own in zip(files, stored, strict=True):
            dataset = pydicom.dcmread(file)
            dataset.PixelData = (np.where(outside, padding, own) & 0xFFFF).astype("<u2").tobytes()
            dataset.add_new("PixelPaddingValue", "SS" if signed else "US", padding)
            dataset.save_as(file)
        reading = read_stack(found(tmp_path / name)[0][0])
        values = reading.values.transpose(2, 1, 0)
        np.testing.assert_array_equal(values[:, ~outside], stored[:, ~outside] * 0.5 - 1000)
        if name == "dark":
            assert (reading.notes, set(values[:, outside].flat)) == ((), {-2000})
        else:
            assert reading.notes == ("bright padding made as dark as the darkest pixel of its slice",)
            np.testing.assert_array_equal(values[:, outside].max(axis=1), values[:, ~outside].min(axis=1))


# Grey files of pydicom's that SimpleITK reads and that are no slices.
NO_SLICES = {
    "JPEG-lossy.dcm": "secondary capture",
    "JPEG2000.dcm": "secondary capture",
    "JPEGLSNearLossless_08.dcm": "secondary capture",
    "JPEGLSNearLossless_16.dcm": "secondary capture",
    "JPGExtended.dcm": "secondary capture",
    "image_dfl.dcm": "secondary capture",
    "badVR.dcm": "dose",
    "rtdose.dcm": "dose",
    "rtdose_expb.dcm": "dose",
    "rtdose_rle.dcm": "dose",
    "liver_1frame.dcm": "segmentation",
    "liver_expb_1frame.dcm": "segmentation",
    "6154": "missing tags",  # three computed radiographs
    "6247": "missing tags",
    "6278": "missing tags",
    "6293": "localiser",
    "6924": "localiser",
}


def test_slices_have_the_values_that_simpleitk_reads() -> None:
    compared, refused = 0, {}
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            reader = SimpleITK.ImageFileReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileName(str(file))
            reader.ReadImageInformation()
            if reader.GetNumberOfComponents() > 1:
                continue  # a volume is grey
            expected = SimpleITK.GetArrayFromImage(reader.Execute())
        except RuntimeError:
            continue
        try:
            slices = read_slices(file)
        except UnusableImageError as error:
            refused[file.name] = error.reason
            continue
        np.testing.assert_allclose(np.stack(list(decode_slices(slices, []))), expected, atol=1e-3, err_msg=str(file))
        compared += 1
    assert refused == NO_SLICES
    assert compared > 35


def test_deflated_files_are_read(tmp_path: Path) -> None:
    for file in save_series(tmp_path / "series", FEW):
        header = pydicom.dcmread(file)
        header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        header.save_as(file)
    (stack,), _ = found(tmp_path / "series")
    assert_is_blob(stack, 0.3)


def test_pixels_that_do_not_decode_are_named_when_read(tmp_path: Path) -> None:
    files = save_series(tmp_path / "series", FEW)
    header = pydicom.dcmread(files[3])
    header.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    header.PixelData = pydicom.encaps.encapsulate([b"no picture at all"])
    header.save_as(files[3])
    (stack,), _ = found(tmp_path / "series")
    with pytest.raises(ValueError, match=files[3].name):
        read_stack(stack)


def save_enhanced(path: Path, slices: list[Path], phases: Sequence[int]) -> None:
    """One multi-frame file of single slices, all that varies in its functional groups."""
    frames = [pydicom.dcmread(file) for file in slices]
    dataset = pydicom.dcmread(slices[0])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    for tag in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"):
        delattr(dataset, tag)
    shared, groups = pydicom.Dataset(), []
    measures, plane = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, plane.ImageOrientationPatient = frames[0].PixelSpacing, frames[0].ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    for frame, phase in zip(frames, phases, strict=True):
        group, position, rescale, content = (pydicom.Dataset() for _ in range(4))
        position.ImagePositionPatient = frame.ImagePositionPatient
        rescale.RescaleSlope, rescale.RescaleIntercept = frame.RescaleSlope, frame.RescaleIntercept
        content.TemporalPositionIndex = phase
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        group.PixelValueTransformationSequence = [rescale]
        groups.append(group)
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], groups
    dataset.NumberOfFrames, dataset.PixelData = len(frames), b"".join(frame.PixelData for frame in frames)
    dataset.save_as(path)


def test_enhanced_multi_frame_files_are_volumes(tmp_path: Path) -> None:
    mixed = list(np.random.default_rng(1).permutation(PLACES[14:28]))
    slices = save_series(tmp_path / "slices", mixed, tilt=(0.3, 0), cosines=OBLIQUE)
    (tmp_path / "enhanced").mkdir()
    save_enhanced(tmp_path / "enhanced" / "all.dcm", slices, [1] * len(slices))
    (stack,), _ = found(tmp_path / "enhanced")
    assert stack.files == (tmp_path / "enhanced" / "all.dcm",)
    assert_is_blob(stack, 6)
    (single,), _ = found(tmp_path / "slices")
    np.testing.assert_array_equal(read_stack(stack).values, read_stack(single).values)
    later = save_series(tmp_path / "later", mixed, tilt=(0.3, 0), cosines=OBLIQUE, add=50)
    both = [file for pair in zip(slices, later, strict=True) for file in pair]
    save_enhanced(tmp_path / "enhanced" / "all.dcm", both, [1, 2] * len(slices))
    stacks, aside = found(tmp_path / "enhanced")
    assert not stacks
    assert aside["all.dcm"].reason == "several volumes"


@needs_shared
def test_a_real_tilted_head_is_straightened_as_scipy_would() -> None:
    files = sorted((SHARED / "head_tilted").iterdir())
    (stack,), aside = find_stacks(files)
    assert not aside
    assert stack.notes == ("gantry tilt of 18.5° straightened",)
    reading = read_stack(stack)
    volume, affine = reading.values, reading.affine
    assert affine is not None
    # The same by the sheared affine of the stored slices: straight box → world → stored voxel, trilinear.
    headers = sorted((pydicom.dcmread(file) for file in files), key=lambda header: header.ImagePositionPatient[2])
    stored = np.stack([header.pixel_array for header in headers]).astype(np.float32) - 1024
    sheared = np.eye(4)
    cosines, first, last = headers[0].ImageOrientationPatient, headers[0], headers[-1]
    sheared[:3, 2], sheared[:3, 1] = np.multiply(cosines[:3], 0.482421875), np.multiply(cosines[3:], 0.482421875)
    sheared[:3, 0] = np.subtract(last.ImagePositionPatient, first.ImagePositionPatient) / (len(headers) - 1)
    sheared[:3, 3] = first.ImagePositionPatient
    to_stored = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ sheared) @ affine
    some = np.random.default_rng(0).integers(0, volume.shape, (200_000, 3))
    points = to_stored[:3, :3] @ some.T + to_stored[:3, 3:]
    points[0] = points[0].round(4)  # slices lie on slices, but for rounding
    expected = ndimage.map_coordinates(stored, points, order=1, mode="grid-constant", cval=stored.min())
    inside = ((points[1] >= 0) & (points[1] <= 511)) | (points[1] < -1) | (points[1] > 512)  # not in an edge pixel
    assert inside.mean() > 0.99
    np.testing.assert_allclose(volume[tuple(some.T)][inside], expected[inside], atol=1.5)
    # Bone lies over bone: neighbouring slices agree better than the tilted ones did.
    bone = volume[:, :, 20:40] > 300
    tilted = stored[20:40] > 300
    overlap = [(mask[:-1] & mask[1:]).sum() / mask[1:].sum() for mask in (np.moveaxis(bone, 2, 0), tilted)]
    assert overlap[0] > overlap[1]


@needs_shared
def test_every_compressed_syntax_decodes_to_the_same_volume() -> None:
    volumes = {}
    for folder in sorted((SHARED / "compressed_syntaxes").iterdir()):
        (stack,), aside = find_stacks(sorted(folder.iterdir()))
        assert not aside
        volumes[folder.name] = read_stack(stack).values
    first, *others = volumes.values()
    assert len(others) == 4
    assert first.std() > 10
    for other in others:
        np.testing.assert_array_equal(first, other)


@needs_shared
def test_real_slices_that_are_gone_are_noted_or_refused(tmp_path: Path) -> None:
    files = sorted((SHARED / "trunk_20slices").iterdir())
    whole = read_stack(find_stacks(files)[0][0])
    (stack,), _ = find_stacks(files[:7] + files[8:])
    assert stack.notes[0].startswith("1 missing slice interpolated")
    reading = read_stack(stack)
    volume, affine = reading.values, reading.affine
    assert affine is not None
    np.testing.assert_allclose(affine, whole.affine)
    differs = np.flatnonzero((volume != whole.values).any(axis=(0, 1)))
    assert len(differs) == 1  # all others stay as they are
    gone = differs[0]
    np.testing.assert_array_equal(volume[..., gone], (whole.values[..., gone - 1] + whole.values[..., gone + 1]) / 2)
    stacks, aside = find_stacks(files[:6] + files[9:])
    assert not stacks
    assert {one.reason for one in aside} == {"uneven slices"}
