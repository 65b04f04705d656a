import locale
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from medssl.errors import UnusableImageError
from medssl.readers.itk_formats import read_itk
from medssl.readers.suffixes import ITK_SUFFIXES
from medssl.readers.volume import read_volume

VALUES = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype("<i2")  # x, y, z
SIDES, ORIGIN = (0.8, 0.9, 2.5), (-10.0, 20.0, -30.5)
DIRECTION = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
STRAIGHT = np.eye(3)


def saved(path: Path, values: np.ndarray = VALUES, direction: np.ndarray = STRAIGHT) -> Path:
    image = SimpleITK.GetImageFromArray(values.T)
    image.SetSpacing(SIDES)
    image.SetOrigin(ORIGIN)
    image.SetDirection(direction.ravel().tolist())
    SimpleITK.WriteImage(image, str(path))
    return path


def nrrd(path: Path, *fields: str, values: np.ndarray = VALUES, kind: str = "short") -> Path:
    sizes = " ".join(map(str, values.shape))
    lines = ["NRRD0004", f"type: {kind}", f"dimension: {values.ndim}", f"sizes: {sizes}", "encoding: raw"]
    path.write_bytes("\n".join([*lines, "endian: little", *fields, "", ""]).encode() + values.tobytes(order="F"))
    return path


def meta(path: Path, *fields: str, values: np.ndarray = VALUES, kind: str = "MET_SHORT") -> Path:
    sizes = " ".join(map(str, values.shape))
    lines = ["ObjectType = Image", f"NDims = {values.ndim}", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    ends = [f"DimSize = {sizes}", f"ElementType = {kind}", "ElementDataFile = LOCAL", ""]
    path.write_bytes("\n".join([*lines, *fields, *ends]).encode() + values.tobytes(order="F"))
    return path


def ras(direction: np.ndarray, sides: tuple[float, ...] = SIDES, origin: tuple[float, ...] = ORIGIN) -> np.ndarray:
    """The affine to RAS of what is stated in LPS."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction @ np.diag(sides), origin
    affine[:2] *= -1
    return affine


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".NRRD"])
def test_volumes_lie_where_the_file_says(tmp_path: Path, suffix: str) -> None:
    reading = read_volume(saved(tmp_path / f"a b{suffix}", direction=DIRECTION))
    np.testing.assert_array_equal(reading.values, VALUES)
    np.testing.assert_allclose(reading.affine, ras(DIRECTION), atol=1e-6)
    assert (reading.values.dtype, reading.notes) == (np.float32, ())


@pytest.mark.parametrize("suffix", sorted(ITK_SUFFIXES))
def test_reading_leaves_the_locale_of_the_process_as_it_was(suffix: str, tmp_path: Path) -> None:
    before = locale.setlocale(locale.LC_ALL)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.arange(60.0).reshape(3, 4, 5)), str(tmp_path / f"x{suffix}"))
    read_volume(tmp_path / f"x{suffix}")
    assert locale.setlocale(locale.LC_ALL) == before


@pytest.mark.parametrize("suffix", [".gipl", ".gipl.gz", ".vtk"])
def test_formats_without_directions_say_so(tmp_path: Path, suffix: str) -> None:
    reading = read_volume(saved(tmp_path / f"x{suffix}", direction=DIRECTION))
    np.testing.assert_array_equal(reading.values, VALUES)
    np.testing.assert_allclose(reading.affine, ras(STRAIGHT), atol=1e-5)
    assert reading.notes == ("orientation not stated: axes taken to run to the left, back and head",)


def test_minc_is_ras(tmp_path: Path) -> None:
    """SimpleITK 2.5 writes and reads its numbers as they are, which in MINC are to the right and to the front."""
    reading = read_volume(saved(tmp_path / "x.mnc", direction=DIRECTION))
    np.testing.assert_array_equal(reading.values, VALUES)
    np.testing.assert_allclose(reading.affine, np.diag([-1, -1, 1, 1]) @ ras(DIRECTION), atol=1e-6)
    assert "axes taken as MINC defines them" in reading.notes[0]


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_every_kind_of_number_is_kept(tmp_path: Path, kind: str) -> None:
    values = np.abs(VALUES // 10).astype(kind)
    for suffix in (".nrrd", ".mha"):
        np.testing.assert_array_equal(read_itk(saved(tmp_path / f"{kind}{suffix}", values)).values, values)


VECTORS = "space directions: (0.8,0,0) (0,0.9,0) (0,0,2.5)"
IN_PLACE = ("space origin: (-10,20,-30.5)", VECTORS)
SIZE = "ElementSpacing = 0.8 0.9 2.5"
AXES, PLACE = "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = -10 20 -30.5"
ONES, NOWHERE = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
UNKNOWN_AXES = "orientation not stated: axes taken"
UNKNOWN_SIZE = "voxel size not stated, or not of all axes: 1 × 1 × 1 mm assumed"
RIGHT_FRONT = np.diag([-1.0, -1, 1])  # as LPS has it
LEFT_FRONT = np.diag([1.0, -1, 1])


@pytest.mark.parametrize(
    ("fields", "affine", "notes"),
    [
        (("space: left-posterior-superior", *IN_PLACE), ras(STRAIGHT), []),
        (("space: LPS", *IN_PLACE), ras(STRAIGHT), []),
        (("space: right-anterior-superior", *IN_PLACE), ras(RIGHT_FRONT, origin=(10, -20, -30.5)), []),
        (("space: left-anterior-superior", *IN_PLACE), ras(LEFT_FRONT, origin=(-10, -20, -30.5)), []),
        (("space dimension: 3", *IN_PLACE), ras(STRAIGHT), [UNKNOWN_AXES]),
        (("space: scanner-xyz", *IN_PLACE), ras(STRAIGHT), [UNKNOWN_AXES]),
        (("space: 3D-right-handed", *IN_PLACE), ras(STRAIGHT), [UNKNOWN_AXES]),
        (("spacings: 0.8 0.9 2.5",), ras(STRAIGHT, origin=NOWHERE), [UNKNOWN_AXES]),
        (("spacings: 0.8 0.9 nan",), ras(STRAIGHT, (0.8, 0.9, 1), NOWHERE), ["voxel size not stated", UNKNOWN_AXES]),
        (
            ("spacings: -0.8 0.9 2.5",),
            ras(np.diag([-1.0, 1, 1]), origin=NOWHERE),
            [UNKNOWN_AXES, "an axis of negative spacing"],
        ),
        ((), ras(STRAIGHT, ONES, NOWHERE), [UNKNOWN_SIZE, UNKNOWN_AXES]),
        (
            ("space: LPS", "space directions: (0.8,0,0) (0,0.9,0) none"),
            ras(STRAIGHT, (0.8, 0.9, 1), NOWHERE),
            ["voxel size not stated", UNKNOWN_AXES],
        ),
        (
            ("space: LPS", "space directions: (800,0,0) (0,900,0) (0,0,2500)", 'space units: "um" "um" "um"'),
            ras(STRAIGHT, origin=NOWHERE),
            ["voxels of 800 × 900 × 2500 um converted to mm"],
        ),
        (("space: LPS", *IN_PLACE, 'space units: "mm" "mm" "mm"'), ras(STRAIGHT), []),
        (("space: LPS", *IN_PLACE, 'space units: "um" "um" "um"'), ras(STRAIGHT), ["um cannot be: mm assumed"]),
        (
            ("space: LPS", *IN_PLACE, 'space units: "ell" "ell" "ell"'),
            ras(STRAIGHT),
            ["unit of length ell: mm assumed"],
        ),
    ],
)
def test_what_an_nrrd_does_not_state_is_said(
    tmp_path: Path, fields: tuple[str, ...], affine: np.ndarray, notes: list[str]
) -> None:
    assert_reading(nrrd(tmp_path / "x.nrrd", *fields), affine, notes)


@pytest.mark.parametrize(
    ("fields", "affine", "notes"),
    [
        ((SIZE, AXES, PLACE), ras(STRAIGHT), []),
        (
            ("ElementSize = 0.8 0.9 2.5", "Orientation = 1 0 0 0 1 0 0 0 1", "Position = -10 20 -30.5"),
            ras(STRAIGHT),
            [],
        ),
        ((SIZE, PLACE), ras(STRAIGHT), [UNKNOWN_AXES]),
        ((AXES, PLACE), ras(STRAIGHT, ONES), [UNKNOWN_SIZE]),
        ((SIZE, "TransformMatrix = 0 1 0 1 0 0 0 0 1", PLACE), ras(np.eye(3)[[1, 0, 2]]), []),
        (
            ("ElementSpacing = 800 900 2500", AXES, "Offset = -10000 20000 -30500", "DistanceUnits = um"),
            ras(STRAIGHT),
            ["um converted to mm"],
        ),
        (
            ("ElementSpacing = 80 0.9 2.5", AXES, PLACE),
            ras(STRAIGHT, (80, 0.9, 2.5)),
            ["voxels of 80 × 0.9 × 2.5 mm: too small or too large to be right"],
        ),
    ],
)
def test_what_a_metaimage_does_not_state_is_said(
    tmp_path: Path, fields: tuple[str, ...], affine: np.ndarray, notes: list[str]
) -> None:
    assert_reading(meta(tmp_path / "x.mha", *fields), affine, notes)


def assert_reading(path: Path, affine: np.ndarray, notes: list[str]) -> None:
    reading = read_itk(path)
    np.testing.assert_array_equal(reading.values, VALUES)
    np.testing.assert_allclose(reading.affine, affine, atol=1e-6)
    assert len(reading.notes) == len(notes), reading.notes
    assert all(part in said for part, said in zip(notes, reading.notes, strict=True)), reading.notes


def test_a_metaimage_says_its_modality_and_scale(tmp_path: Path) -> None:
    scale = ("ElementToIntensityFunctionSlope = 2", "ElementToIntensityFunctionOffset = -1024")
    reading = read_itk(meta(tmp_path / "x.mha", SIZE, AXES, "Modality = MET_MOD_CT", *scale))
    np.testing.assert_array_equal(reading.values, VALUES * 2.0 - 1024)
    assert reading.modality == "CT"
    assert reading.notes == ("values scaled by its ElementToIntensityFunction: × 2 + -1024",)


def test_a_vtk_file_without_spacing_says_so(tmp_path: Path) -> None:
    numbers = " ".join(map(str, VALUES.ravel(order="F")))
    head = "# vtk DataFile Version 3.0\nx\nASCII\nDATASET STRUCTURED_POINTS\nDIMENSIONS 5 6 7\nPOINT_DATA 210\n"
    (tmp_path / "x.vtk").write_text(f"{head}SCALARS s short 1\nLOOKUP_TABLE default\n{numbers}\n")
    assert_reading(tmp_path / "x.vtk", ras(STRAIGHT, ONES, NOWHERE), [UNKNOWN_SIZE, UNKNOWN_AXES])


LAST_OF_ONE = np.moveaxis(VALUES[None], 0, -1)


@pytest.mark.parametrize(
    ("values", "fields"),
    [(LAST_OF_ONE, ("space: LPS", VECTORS + " none", "kinds: domain domain domain list")), (LAST_OF_ONE, ())],
)
def test_axes_of_one_voxel_behind_the_third_do_not_count(
    tmp_path: Path, values: np.ndarray, fields: tuple[str, ...]
) -> None:
    np.testing.assert_array_equal(read_itk(nrrd(tmp_path / "x.nrrd", *fields, values=values)).values, VALUES)


TWICE = np.stack([VALUES, VALUES])


@pytest.mark.parametrize(
    ("write", "reason", "sentence"),
    [
        (lambda path: nrrd(path, values=np.moveaxis(TWICE, 0, -1)), "not a volume", r"shape \(5, 6, 7, 2\)"),
        (
            lambda path: nrrd(path, "kinds: vector domain domain domain", values=TWICE),
            "not a volume",
            "2 values a voxel",
        ),
        (lambda path: nrrd(path, values=VALUES[0]), "not a volume", "three axes"),
        (lambda path: nrrd(path, "spacings: 0.8 0.9 0"), "wrong affine", "spacing"),
        (lambda path: nrrd(path, "space: LPS", VECTORS.replace("2.5", "0")), "wrong affine", "spacing"),
        (lambda path: nrrd(path, "Segment0_ID:=Segment_1"), "label map", "segmentation of 3D Slicer"),
        (lambda path: nrrd(path, values=np.full((4, 4, 4), np.nan, "<f4"), kind="float"), "not finite", "64 voxels"),
        (lambda path: path.write_bytes(b""), "unreadable", "damaged"),
        (lambda path: path.write_bytes(b"NRRD0004\ntype: short\n\n"), "unreadable", "damaged"),
        (lambda path: nrrd(path, values=VALUES).write_bytes(path.read_bytes()[:-40]), "unreadable", "damaged"),
        (lambda path: path.write_text("NRRD0004\ndata file: gone.raw\n"), "unreadable", r"gone\.raw .* is not there"),
    ],
)
def test_what_is_no_grey_volume_is_refused_by_name(tmp_path: Path, write: object, reason: str, sentence: str) -> None:
    write(tmp_path / "x.nrrd")  # type: ignore[operator]
    with pytest.raises(UnusableImageError, match=sentence) as error:
        read_itk(tmp_path / "x.nrrd")
    assert error.value.reason == reason
    assert re.search(r"x\.nrrd", str(error.value))
    assert "\n" not in str(error.value)


def test_what_is_of_another_kind_or_lacks_its_voxels_is_refused(tmp_path: Path) -> None:
    header = saved(tmp_path / "x.mhd")
    (tmp_path / "x.raw").unlink()
    with pytest.raises(UnusableImageError, match=r"x\.mhd names x\.raw as the file of its voxels"):
        read_volume(header)
    meta(tmp_path / "cut.mha", SIZE).write_bytes((tmp_path / "cut.mha").read_bytes()[:-100])
    meta(tmp_path / "rgb.mha", "ElementNumberOfChannels = 3", values=np.stack([VALUES] * 3))
    (tmp_path / "poly.vtk").write_text(
        "# vtk DataFile Version 3.0\nx\nASCII\nDATASET POLYDATA\nPOINTS 1 float\n0 0 0\n"
    )
    for name in ("cut.mha", "rgb.mha", "poly.vtk"):
        with pytest.raises(UnusableImageError, match=name):
            read_volume(tmp_path / name)
    (tmp_path / "x.docx").write_bytes(b"PK")
    with pytest.raises(UnusableImageError, match=r"x\.docx is no volume \(\.nii, .*\.nrrd"):
        read_volume(tmp_path / "x.docx")


def test_the_same_volume_is_the_same_in_every_format(tmp_path: Path) -> None:
    """NIfTI by nibabel beside all that ITK writes of the same image."""
    read = [read_volume(saved(tmp_path / f"x{suffix}", direction=DIRECTION)) for suffix in (".nii.gz", ".nrrd", ".mha")]
    for reading in read[1:]:
        np.testing.assert_array_equal(reading.values, read[0].values)
        np.testing.assert_allclose(reading.affine, read[0].affine, atol=1e-5)  # float32 in NIfTI
    np.testing.assert_allclose(nibabel.load(tmp_path / "x.nii.gz").affine, ras(DIRECTION), atol=1e-5)  # type: ignore[attr-defined]
