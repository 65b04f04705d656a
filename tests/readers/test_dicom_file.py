"""DICOM files that lack what should stand before their data set, or state it wrongly."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import picture, radiograph, save
from PIL import Image
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medssl.errors import UnusableImageError
from medssl.readers.dicom_file import PIXELS, is_dicom, read_dataset, read_header
from medssl.readers.radiograph import read_radiograph

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
PLAIN = SYNTAXES[:3]
IMAGE = picture().astype(np.uint16)
TAGS = ["Rows", "Columns", "BitsAllocated", "PatientID"]


def whole(folder: Path, syntax: UID) -> bytes:
    data = radiograph(IMAGE, syntax, PatientID="17", WindowCenter="2000", WindowWidth="9000")
    return save(folder / "whole", data).read_bytes()


def behind_meta(content: bytes) -> bytes:
    """The data set alone."""
    length = int.from_bytes(content[140:144], "little")  # of the meta header, which its first element states
    return content[144 + length :]


def state(content: bytes, syntax: str) -> bytes:
    """The meta header with another transfer syntax."""
    data_set = behind_meta(content)
    stated = syntax.encode() + b"\0" * (len(syntax) % 2)
    element = b"\2\0\x10\0UI" + len(stated).to_bytes(2, "little") + stated if syntax else b""
    return content[:128] + b"DICM\2\0\0\0UL\4\0" + len(element).to_bytes(4, "little") + element + data_set


BEGINNINGS: dict[str, Callable[[bytes], bytes]] = {
    "sound": lambda content: content,
    "no preamble": lambda content: content[132:],
    "no preamble but its mark": lambda content: content[128:],
    "no meta header": behind_meta,
    "a preamble, no meta header": lambda content: content[:132] + behind_meta(content),
    "no transfer syntax": lambda content: state(content, ""),
    "damaged mark": lambda content: content[:128] + b"XXXX" + content[132:],
}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("name", BEGINNINGS)
def test_whatever_its_beginning_lacks(tmp_path: Path, name: str, syntax: UID) -> None:
    if syntax.is_deflated and name == "no meta header":
        pytest.skip("nothing tells a deflated data set from any other compressed data")
    path = tmp_path / "0001"
    path.write_bytes(BEGINNINGS[name](whole(tmp_path, syntax)))
    assert is_dicom(path)
    dataset, notes = read_dataset(path)
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert dataset.PatientID == "17"
    assert bool(notes) == (name not in ("sound", "damaged mark"))
    reading = read_radiograph(path)
    np.testing.assert_allclose(reading.values, read_radiograph(tmp_path / "whole").values)
    assert reading.notes == notes
    header, notes, is_whole = read_header(path, TAGS)
    assert (header.PatientID, is_whole, "PixelData" in header) == ("17", True, False)
    assert len(header) == len(TAGS)
    path.write_bytes(path.read_bytes()[:-200])
    assert not read_header(path, TAGS)[2]
    with pytest.raises(UnusableImageError, match="copy it again"):
        read_radiograph(path)


@pytest.mark.parametrize("written", PLAIN, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("stated", [*SYNTAXES, JPEG2000Lossless, UID("1.2.3.4")], ids=lambda syntax: syntax.name)
def test_a_wrong_transfer_syntax(tmp_path: Path, stated: UID, written: UID) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(state(whole(tmp_path, written), stated))
    reading = read_radiograph(path)
    np.testing.assert_allclose(reading.values, read_radiograph(tmp_path / "whole").values)
    assert bool(reading.notes) == (stated != written)


@pytest.mark.parametrize("stated", ["", ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_pixels_say_what_they_are(tmp_path: Path, stated: str) -> None:
    data = radiograph(IMAGE)
    data.compress(RLELossless)
    path = save(tmp_path / "file.dcm", data)
    path.write_bytes(state(path.read_bytes(), stated))
    reading = read_radiograph(path)
    np.testing.assert_array_equal(reading.values, IMAGE)
    assert "RLE Lossless" in " ".join(reading.notes)


def test_pixels_of_ges_own_syntax_are_big_endian(tmp_path: Path) -> None:
    data = radiograph(IMAGE, ImplicitVRLittleEndian, PixelData=IMAGE.astype(">u2").tobytes())
    path = save(tmp_path / "file.dcm", data)
    path.write_bytes(state(path.read_bytes(), "1.2.840.113619.5.2"))
    np.testing.assert_array_equal(read_radiograph(path).values, IMAGE)


@pytest.mark.parametrize("behind", [b"\0" * 4096, b"rubbish" * 99, b"\xfc\xff\xfc\xffOB\0\0\xff\xff\xff\xff1"])
@pytest.mark.parametrize("compressed", [False, True])
def test_what_follows_the_pixels_does_not_matter(tmp_path: Path, behind: bytes, compressed: bool) -> None:
    data = radiograph(IMAGE)
    if compressed:
        data.compress(RLELossless)
    path = save(tmp_path / "file.dcm", data)
    path.write_bytes(path.read_bytes() + behind)
    np.testing.assert_array_equal(read_radiograph(path).values, IMAGE)


def test_compressed_pixels_without_their_end(tmp_path: Path) -> None:
    data = radiograph(IMAGE)
    data.compress(RLELossless)
    path = save(tmp_path / "file.dcm", data)
    path.write_bytes(path.read_bytes().removesuffix(b"\xfe\xff\xdd\xe0\0\0\0\0"))
    np.testing.assert_array_equal(read_radiograph(path).values, IMAGE)


def test_other_files_are_not_dicom(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "picture.png")
    Image.fromarray(IMAGE).save(tmp_path / "picture.tif")
    Image.fromarray(IMAGE.astype(np.uint8)).save(tmp_path / "picture.jpg")
    for order in "<>":
        values = np.zeros((9, 9, 9), np.int16)
        header = nibabel.Nifti1Header(endianness=order)
        nibabel.Nifti1Image(values, np.eye(4), header).to_filename(tmp_path / f"volume{order == '<'}.nii")
    random = np.random.default_rng(0)
    for number in range(300):
        first = bytes([random.choice([2, 8, 16, 32, 40]), 0]) if number % 2 else b""
        (tmp_path / f"random {number}").write_bytes(first + random.bytes(1000))
    (tmp_path / "offsets").write_bytes(np.arange(8, 4096, 8, dtype="<u4").tobytes())
    for name, content in {"empty": b"", "zeros": bytes(999), "text": b"image,patient\n" * 99, "short": b"\2\0"}.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    assert not [path.name for path in tmp_path.iterdir() if is_dicom(path)]
    for name in ("empty", "zeros", "text", "picture.png"):
        with pytest.raises(UnusableImageError, match=name) as caught:
            read_dataset(tmp_path / name)
        assert caught.value.reason == "damaged"


def test_a_file_cut_anywhere_is_refused_in_a_sentence(tmp_path: Path) -> None:
    content = whole(tmp_path, ExplicitVRLittleEndian)
    path = tmp_path / "cut.dcm"
    for length in (*range(1, 700, 13), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UnusableImageError, match=r"cut\.dcm") as caught:
            read_radiograph(path)
        assert "force" not in str(caught.value)


def test_headers_are_pydicoms(tmp_path: Path) -> None:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_dicom(path)]
    assert len(files) > 100
    for path in files:
        ours, _ = read_dataset(path)
        theirs = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        assert ours.keys() - PIXELS.keys() == theirs.keys(), path
        assert ours.file_meta.get("MediaStorageSOPClassUID") == theirs.file_meta.get("MediaStorageSOPClassUID")
