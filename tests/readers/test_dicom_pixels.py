"""Frames of every transfer syntax that a decoder reads, and of every layout, have the values that were written."""

import logging
from collections.abc import Iterator
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import picture, radiograph, save
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medssl.errors import UnusableImageError
from medssl.readers.dicom_display import apply_palette, modality_step
from medssl.readers.dicom_file import is_dicom, read_dataset, read_header
from medssl.readers.dicom_pixels import pixel_format, read_frames
from medssl.readers.grey_values import invert, stored_range
from medssl.readers.radiograph import read_radiograph

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
FILES = [
    path.relative_to(FOLDER).as_posix()
    for path in sorted(FOLDER.rglob("*"))
    if path.is_file() and is_dicom(path) and "Rows" in read_header(path, ["Rows"])[0]
]
OTHERWISE = {  # where SimpleITK 2.5 has other values
    "SC_rgb_rle_16bit.dcm": "it mixes the bytes of deep colour in RLE; DCMTK has ours",
    "SC_rgb_rle_16bit_2frame.dcm": "the same",
    "SC_rgb_rle_32bit.dcm": "the same",
    "SC_rgb_rle_32bit_2frame.dcm": "the same",
    "rtdose_expb.dcm": "it swaps the bytes of 32 bits as if they were 16",
    "liver_1frame.dcm": "it shows single bits as 0 and 255",
    "liver_expb_1frame.dcm": "the same",
    "examples_palette.dcm": "it keeps the upper 8 of the palette's 16 bits",
}
# The drawn picture below, 9 × 8 pixels of 12 bits, as OpenJPH encodes it.
HIGH_THROUGHPUT = bytes.fromhex(
    "ff4fff5100294000000000090000000800000000000000000000000900000008000000000000000000010f0101ff50000800020000000aff52"
    "000c00020001000504044001ff5c00132088909090909090909090909090888888ff64001700014f70656e4a50482056657220302e32362e33"
    "2eff90000a0000000000740001ff93c000267bf50507740000c0001280c202877400a00009e0000900442dd400c23400fe177300c000124000"
    "1570000480fe00230088561400450018c0e75600fe002300c0002480005a30000940fe80030040575d73e60a60ee0103f210094bf34900f8c0"
    "2a9400ffd9"
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    logging.disable(logging.ERROR)  # pydicom logs each decoder that fails
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pydicoms_files_have_simpleitks_values(name: str) -> None:
    path = FOLDER / name
    try:
        theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO"))
    except RuntimeError:
        pytest.skip("SimpleITK does not read it")
    dataset, _ = read_dataset(path)
    form, _ = pixel_format(path, dataset)
    stored = np.stack([frame for frame, _ in read_frames(path, dataset, form, range(form.number_of_frames))])
    inputs = stored_range(form.bits_stored, form.is_signed)
    step, _ = modality_step(dataset, inputs)
    values = (
        apply_palette(stored, dataset, inputs)
        if form.photometric_interpretation == "PALETTE COLOR"
        else step.apply(stored)
    )
    if form.photometric_interpretation == "MONOCHROME1":  # which ITK inverts within what can be stored
        values = invert(values, *step.outputs)
    if name in OTHERWISE:
        assert not np.allclose(values, theirs.reshape(values.shape)), "no longer otherwise"
    else:
        np.testing.assert_allclose(values, theirs.reshape(values.shape), rtol=1e-9)


def test_deep_palettes_keep_their_upper_bits() -> None:
    path = FOLDER / "examples_palette.dcm"
    dataset, _ = read_dataset(path)
    form, _ = pixel_format(path, dataset)
    stored, _ = next(read_frames(path, dataset, form, [0]))
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0]
    np.testing.assert_array_equal(apply_palette(stored, dataset, (0, 255)) >> 8, theirs)


@pytest.mark.parametrize("kind", ["u1", "u2", "i2"])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_every_compression(tmp_path: Path, syntax: UID, bits: int, kind: str) -> None:
    if bits > 8 * np.dtype(kind).itemsize:
        pytest.skip("wider than its type")
    low, high = stored_range(bits, kind == "i2")
    image = (low + picture(top=high - low)).astype(kind)
    path = save(tmp_path / "file.dcm", radiograph(image, bits=bits))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    reading = read_radiograph(path)
    np.testing.assert_array_equal(reading.values, image)
    assert not reading.notes


def test_high_throughput_jpeg_2000(tmp_path: Path) -> None:
    image = (np.add.outer(3 * np.arange(8), np.arange(9)) * 4095 // 33).clip(0, 4095).astype(np.uint16)
    data = radiograph(image, HTJ2KLossless, 12, PixelData=encapsulate([HIGH_THROUGHPUT]))
    data["PixelData"].is_undefined_length = True
    np.testing.assert_array_equal(read_radiograph(save(tmp_path / "file.dcm", data)).values, image)
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless  # as which some writers state it
    reading = read_radiograph(save(tmp_path / "file.dcm", data))
    np.testing.assert_array_equal(reading.values, image)
    assert reading.notes


@pytest.mark.parametrize("syntax", [MPEG2MPML, UID("1.2.840.10008.1.2.4.999"), UID("1.2.826.0.1.3680043.2.1")])
def test_a_compression_that_no_decoder_knows_is_named(tmp_path: Path, syntax: UID) -> None:
    data = radiograph(picture().astype(np.uint16), PixelData=encapsulate([b"\0\0\1\xb3" * 20]))
    data["PixelData"].is_undefined_length = True
    path = save(tmp_path / "file.dcm", data)
    old, new = (f"{uid}{chr(0) * (len(uid) % 2)}".encode() for uid in (ExplicitVRLittleEndian, syntax))
    content = path.read_bytes().replace(
        b"UI" + len(old).to_bytes(2, "little") + old, b"UI" + len(new).to_bytes(2, "little") + new
    )
    path.write_bytes(content)
    with pytest.raises(UnusableImageError, match=syntax.name) as caught:
        read_radiograph(path)
    assert "copy it again" not in str(caught.value)
    assert caught.value.reason == "unreadable"


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPEG2000.dcm", "JPEG-lossy.dcm"])
def test_damaged_headers_of_compressed_images_end_no_process(name: str) -> None:
    dataset, _ = read_dataset(FOLDER / name)
    form, _ = pixel_format(FOLDER / name, dataset)
    value = dataset.PixelData
    start = value.find(b"\xff\xd8") if b"\xff\xd8" in value else value.find(b"\xff\x4f")
    for place in range(start + 2, start + 60):
        if value[place] == 0xFF:
            dataset.PixelData = value[:place] + b"\x51" + value[place + 1 :]
            with pytest.raises(UnusableImageError, match="damaged"):
                next(read_frames(FOLDER / name, dataset, form, [0]))


@pytest.mark.parametrize("allocated", [1, 4, 12, 20, 24, 32])
@pytest.mark.parametrize("signed", [False, True])
def test_cells_of_any_width(tmp_path: Path, allocated: int, signed: bool) -> None:
    low, high = stored_range(allocated, signed)
    image = low + picture(top=high - low)
    bits = (image[..., None] >> np.arange(allocated)) & 1
    packed = np.packbits(bits.reshape(-1).astype(np.uint8), bitorder="little").tobytes()
    data = radiograph(picture().astype(np.uint16), PixelData=packed + bytes(len(packed) % 2))
    data.BitsAllocated = data.BitsStored = allocated
    data.HighBit, data.PixelRepresentation = allocated - 1, int(signed)
    values = read_radiograph(save(tmp_path / "file.dcm", data)).values
    np.testing.assert_allclose(values, image, rtol=1e-7)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("keyword", "vr", "kind"), [("FloatPixelData", "OF", "f4"), ("DoubleFloatPixelData", "OD", "f8")]
)
def test_floating_point_pixels(tmp_path: Path, keyword: str, vr: str, kind: str, syntax: UID) -> None:
    image = (picture() / 7 - 50).astype(kind)
    data = radiograph(picture().astype(np.uint16), syntax, WindowCenter="100", WindowWidth="200")
    del data.PixelData, data.BitsStored, data.HighBit, data.PixelRepresentation
    data.BitsAllocated = 8 * image.dtype.itemsize
    data.add_new(keyword, vr, image.astype(f"{'<' if syntax.is_little_endian else '>'}{kind}").tobytes())
    path = save(tmp_path / "file.dcm", data)
    np.testing.assert_allclose(read_radiograph(path, voi_lut=False).values, image, rtol=1e-6)
    low, high = image.min(), image.max()
    shown = low + (high - low) * ((image - 99.5) / 199 + 0.5).clip(0, 1)
    np.testing.assert_allclose(read_radiograph(path).values, shown, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("planar", [0, 1])
def test_colour(tmp_path: Path, kind: str, planar: int, syntax: UID) -> None:
    grey = picture(top=250).astype(kind)
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1)
    order = "<" if syntax.is_little_endian else ">"
    data = radiograph(colour, syntax, PlanarConfiguration=planar)
    if planar:
        data.PixelData = np.moveaxis(colour, -1, 0).astype(f"{order}{kind}").tobytes()
    if kind == "u1" and not syntax.is_little_endian:
        data["PixelData"].VR = "OB"
    reading = read_radiograph(save(tmp_path / "file.dcm", data))
    np.testing.assert_allclose(reading.values, colour @ [0.299, 0.587, 0.114], rtol=1e-6)
    assert reading.notes == ("colour was turned to grey",)
    data = radiograph(np.stack([grey] * 3, axis=-1), ExplicitVRLittleEndian)
    reading = read_radiograph(save(tmp_path / "file.dcm", data))
    np.testing.assert_array_equal(reading.values, grey)
    assert not reading.notes


def test_colour_that_is_stated_as_shared_and_is_not(tmp_path: Path) -> None:
    colour = np.stack([picture(top=255), np.full((24, 20), 128), np.full((24, 20), 128)], axis=-1).astype(np.uint8)
    data = radiograph(colour, PhotometricInterpretation="YBR_FULL_422")
    reading = read_radiograph(save(tmp_path / "file.dcm", data))
    np.testing.assert_allclose(reading.values, colour[..., 0], atol=0.01)
    assert "YBR_FULL" in " ".join(reading.notes)


def test_pixels_of_another_length_than_announced(tmp_path: Path) -> None:
    image = picture(23, 19).astype(np.uint8)  # an odd number of bytes
    content = image.tobytes()
    for behind in (b"", b"\0", bytes(99), content):
        data = radiograph(image, PixelData=content + behind + bytes((len(content) + len(behind)) % 2))
        reading = read_radiograph(save(tmp_path / "file.dcm", data))
        np.testing.assert_array_equal(reading.values, image)
        assert ("2 frames" in " ".join(reading.notes)) == (behind == content)
    data.PixelData = content[:-3]
    with pytest.raises(UnusableImageError, match="ends before its pixels"):
        read_radiograph(save(tmp_path / "file.dcm", data))


@pytest.mark.parametrize(
    "tag",
    ["SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"],
)
@pytest.mark.parametrize("wrong", [None, "", "99"])
def test_what_a_header_does_not_say_of_its_pixels_is_assumed_and_said(
    tmp_path: Path, tag: str, wrong: str | None
) -> None:
    image = picture().astype(np.uint16)
    data = radiograph(image)
    del data[tag]
    if wrong is not None:
        data.add_new(tag, "LO", wrong)
    reading = read_radiograph(save(tmp_path / "file.dcm", data))
    np.testing.assert_array_equal(reading.values, image)
    assert tag in " ".join(reading.notes)


def test_without_rows_there_is_no_image(tmp_path: Path) -> None:
    data = radiograph(picture().astype(np.uint16))
    del data.Rows
    with pytest.raises(UnusableImageError, match="how many rows and columns"):
        read_radiograph(save(tmp_path / "file.dcm", data))
