import gzip
import re
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medssl.errors import UnusableImageError
from medssl.readers.nifti import read_nifti

VALUES = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
SIDES = (0.8, 0.9, 2.5)
# Where the fields of a NIfTI-1 header stand (nifti1.h), and what they hold.
FIELDS = {
    "intent_code": (68, "<h"),
    "pixdim": (76, "<8f"),
    "slope": (112, "<2f"),
    "unit": (123, "<B"),
    "codes": (252, "<2h"),  # qform, sform
    "quatern": (256, "<3f"),
    "sform": (280, "<12f"),
}
RIGHT_FORWARD_UP = (0.8, 0, 0, 10, 0, 0.9, 0, 20, 0, 0, 2.5, 30)
PIXDIM = (1, *SIDES, 1, 1, 1, 1)
SOUND = {"unit": (2,), "codes": (0, 1), "sform": RIGHT_FORWARD_UP, "pixdim": PIXDIM, "slope": (1, 0)}


def saved(folder: Path, values: np.ndarray = VALUES, name: str = "x.nii", **fields: tuple[float, ...]) -> Path:
    """A volume whose header is sound but for the named fields."""
    path = folder / name
    nibabel.save(nibabel.Nifti1Image(values, None), path)
    whole = bytearray(path.read_bytes())
    for field, numbers in {**SOUND, **fields}.items():
        place, form = FIELDS[field]
        struct.pack_into(form, whole, place, *numbers)
    path.write_bytes(whole)
    return path


def matrix(right: float, front: float, up: float, *origin: float) -> np.ndarray:
    affine = np.diag([right, front, up, 1.0])
    affine[:3, 3] = origin or (0, 0, 0)
    return affine


def test_a_sound_header_needs_no_note(tmp_path: Path) -> None:
    reading = read_nifti(saved(tmp_path))
    assert reading.notes == ()
    assert (reading.values.dtype, reading.modality) == (np.float32, "")
    np.testing.assert_array_equal(reading.values, VALUES)
    np.testing.assert_allclose(reading.affine, matrix(*SIDES, 10, 20, 30), rtol=1e-6)


LOST = matrix(-0.8, 0.9, 2.5, 0.8 * 2, -0.9 * 2.5, -2.5 * 3)  # nibabel's, about the middle
STATED = matrix(*SIDES, 10, 20, 30)
TURNED = np.array([[0, -0.9, 0, 10], [0.8, 0, 0, 20], [0, 0, 2.5, 30], [0, 0, 0, 1]])


def pixdim(*sides: float) -> dict[str, tuple[float, ...]]:
    return {"pixdim": (1, *sides, 1, 1, 1, 1)}


def sform(affine: np.ndarray) -> dict[str, tuple[float, ...]]:
    return {"sform": tuple(affine[:3].ravel())} | pixdim(*np.linalg.norm(affine[:3, :3], axis=0))


@pytest.mark.parametrize(
    ("fields", "affine", "note"),
    [
        ({"codes": (0, 0)}, LOST, "orientation not stated.*left, front and head, voxels of 0.8 × 0.9 × 2.5"),
        ({"codes": (0, 0), **pixdim(-0.8, 0.9, 2.5)}, LOST, "orientation not stated"),
        ({"codes": (1, 0)}, matrix(*SIDES), None),
        ({"codes": (1, 0), **pixdim(-0.8, 0.9, 2.5)}, matrix(*SIDES), "pixdim -0.8 × 0.9 × 2.5 taken as positive"),
        ({"codes": (1, 1)}, STATED, None),  # origins may differ
        ({"codes": (1, 1), "sform": TURNED[:3].ravel()}, TURNED, "sform and qform disagree .*the sform is used"),
        ({"codes": (1, 1), **pixdim(1, 1, 5)}, STATED, "disagree .*of 1 × 1 × 5"),
        ({"codes": (1, 1), "quatern": (1, 1, 0)}, STATED, "its qform cannot be right, the sform is used"),
        ({"codes": (1, 1), "sform": (0,) * 12}, matrix(*SIDES), "its sform cannot be right, the qform is used"),
        (pixdim(1, 1, 5), STATED, "pixdim says voxels of 1 × 1 × 5, the sform 0.8 × 0.9 × 2.5"),
        (pixdim(0, 0, 0), STATED, "pixdim says voxels of 0 × 0 × 0"),
        (sform(np.eye(4)), np.eye(4), "affine is the identity, as where the true one was lost"),
        ({"unit": (0,)}, STATED, "unit of length not stated: mm assumed"),
        ({"unit": (0x18,)}, STATED, "unit of length not stated"),  # a unit of time alone
        ({"unit": (3,)}, STATED, "voxels of 0.8 × 0.9 × 2.5 micron cannot be: mm assumed"),
        ({"unit": (1,)}, STATED, "metre cannot be: mm assumed"),
        ({"unit": (3,), **sform(1e3 * STATED)}, STATED, "voxels of 800 × 900 × 2500 micron converted to mm"),
        ({"unit": (1,), **sform(1e-3 * STATED)}, STATED, "metre converted to mm"),
        (sform(matrix(80, 0.9, 2.5)), matrix(80, 0.9, 2.5), "voxels of 80 × 0.9 × 2.5 mm: too small or too large"),
        (sform(matrix(0.8, 0.9, 1e-4)), matrix(0.8, 0.9, 1e-4), "too small or too large"),
    ],
)
def test_what_a_header_does_not_state_or_states_wrongly_is_said(
    tmp_path: Path, fields: dict[str, tuple[float, ...]], affine: np.ndarray, note: str | None
) -> None:
    reading = read_nifti(saved(tmp_path, **fields))
    np.testing.assert_allclose(reading.affine, affine, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(reading.values, VALUES)
    if note is None:
        assert reading.notes == ()
    else:
        (said,) = reading.notes
        assert re.search(note, said), said


@pytest.mark.parametrize(
    ("fields", "reason", "sentence"),
    [
        ({"codes": (0, 0), "pixdim": (1, 0.8, 0.9, 0, 1, 1, 1, 1)}, "wrong affine", "voxel size of 0.8 × 0.9 × 0"),
        ({"codes": (1, 0), "pixdim": (1, 0.8, np.nan, 2.5, 1, 1, 1, 1)}, "wrong affine", "0.8 × nan × 2.5"),
        ({"codes": (1, 0), "pixdim": (1, 0.8, 0.9, 0, 1, 1, 1, 1)}, "wrong affine", "0.8 × 0.9 × 0"),
        ({"sform": (0,) * 12}, "wrong affine", "axes that span no space"),
        ({"sform": (np.nan,) * 12}, "wrong affine", "axes that span no space"),
        ({"codes": (1, 0), "quatern": (1, 1, 0)}, "unreadable", "cannot be read as NIfTI"),
        ({"slope": (2, np.nan)}, "unreadable", "invalid intercept"),
        ({"intent_code": (1002,)}, "label map", "says of itself that it is a label map"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(
    tmp_path: Path, fields: dict[str, tuple[float, ...]], reason: str, sentence: str
) -> None:
    with pytest.raises(UnusableImageError, match=sentence) as error:
        read_nifti(saved(tmp_path, **fields))
    assert error.value.reason == reason
    assert "x.nii" in str(error.value)


@pytest.mark.parametrize(
    ("slope", "factor", "note"),
    [
        ((2, -7), (2, -7), ""),
        ((-0.5, 1), (-0.5, 1), ""),
        ((0, 0), (1, 0), ""),  # the standard's way to say that there is none
        ((0, 5), (1, 0), "scl_slope 0 with scl_inter 5 is no scale"),
        ((np.nan, 0), (1, 0), "scl_slope nan"),
        ((np.inf, 0), (1, 0), "scl_slope inf"),
    ],
)
def test_stored_values_are_scaled(
    tmp_path: Path, slope: tuple[float, float], factor: tuple[float, float], note: str
) -> None:
    reading = read_nifti(saved(tmp_path, slope=slope))
    np.testing.assert_array_equal(reading.values, VALUES * np.float32(factor[0]) + np.float32(factor[1]))
    assert "".join(reading.notes).startswith(note)
    assert bool(reading.notes) == bool(note)


def test_forms_of_the_file(tmp_path: Path) -> None:
    sound = saved(tmp_path)
    (tmp_path / "Y.NII.GZ").write_bytes(gzip.compress(sound.read_bytes()))
    image = nibabel.load(sound)
    for name, kind in (
        ("p.hdr", nibabel.Nifti1Pair),
        ("q.img.gz", nibabel.Nifti1Pair),
        ("two.nii", nibabel.Nifti2Image),
    ):
        nibabel.save(kind(image.dataobj, image.affine, image.header), tmp_path / name)  # type: ignore[attr-defined]
    for name in ("Y.NII.GZ", "p.hdr", "p.img", "q.img.gz", "two.nii"):
        reading = read_nifti(tmp_path / name)
        np.testing.assert_array_equal(reading.values, VALUES)
        np.testing.assert_allclose(reading.affine, image.affine, rtol=1e-6)
        assert reading.notes == ()
    nibabel.save(nibabel.AnalyzeImage(VALUES, LOST), tmp_path / "a.img")
    reading = read_nifti(tmp_path / "a.hdr")
    np.testing.assert_array_equal(reading.values, VALUES)
    np.testing.assert_allclose(reading.affine, LOST, rtol=1e-6)
    assert "states no orientation: axes taken" in reading.notes[0]


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_name_that_is_wrong_about_compression_is_noted(tmp_path: Path, kind: type) -> None:
    image = kind(VALUES, STATED)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "x.nii")
    whole = (tmp_path / "x.nii").read_bytes()
    for name, content, note in (("a.nii", gzip.compress(whole), "it is compressed"), ("b.nii.gz", whole, "it is not")):
        (tmp_path / name).write_bytes(content)
        reading = read_nifti(tmp_path / name)
        np.testing.assert_array_equal(reading.values, VALUES)
        np.testing.assert_allclose(reading.affine, STATED, rtol=1e-6)
        assert reading.notes[0].startswith(note)
        assert len(reading.notes) == 1


@pytest.mark.parametrize(
    ("values", "reason", "sentence"),
    [
        (np.zeros((4, 5), np.int16), "not a volume", r"shape \(4, 5\)"),
        (np.zeros((4, 5, 6, 2), np.int16), "not a volume", "three axes: save one volume a file"),
        (np.zeros((4, 5, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])), "not a volume", "3 values a voxel"),
        (np.zeros((4, 5, 6), np.complex64), "not a volume", "2 values a voxel"),
        (np.full((4, 5, 6), np.nan, np.float32), "not finite", "120 voxels that are NaN or infinite"),
        (np.full((4, 5, 6), 1e300), "not finite", "NaN or infinite"),
    ],
)
def test_what_is_no_grey_volume_is_refused(tmp_path: Path, values: np.ndarray, reason: str, sentence: str) -> None:
    with pytest.raises(UnusableImageError, match=sentence) as error:
        read_nifti(saved(tmp_path, values))
    assert error.value.reason == reason


def test_axes_of_one_voxel_behind_the_third_do_not_count(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_nifti(saved(tmp_path, VALUES[..., None, None])).values, VALUES)


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    whole = saved(tmp_path).read_bytes()
    packed = gzip.compress(whole)
    contents = {"a.nii": b"", "b.nii": whole[:200], "c.nii": whole[:-9], "d.nii.gz": packed[:-20], "e.hdr": whole[:348],
                "f.nii": b"text" * 200, "g.nii.gz": b"\0" * 400}  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnusableImageError, match=name) as error:
            read_nifti(tmp_path / name)
        assert error.value.reason == "unreadable"
