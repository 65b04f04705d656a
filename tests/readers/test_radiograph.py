"""DICOM radiographs whose headers are incomplete or impossible in part: a note, not a refusal, and the right values."""

from pathlib import Path

import numpy as np
import pytest
from dicom_files import lut, picture, radiograph, save
from pydicom.uid import (
    BasicTextSRStorage,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RTDoseStorage,
    SegmentationStorage,
)

from medssl.errors import UnusableImageError
from medssl.readers.radiograph import read_radiograph

IMAGE = picture().astype(np.uint16)


def read(folder: Path, image: np.ndarray = IMAGE, **tags: object) -> tuple[np.ndarray, str]:
    """Values of a 12-bit radiograph with such tags, and its notes."""
    reading = read_radiograph(save(folder / "file.dcm", radiograph(image, bits=12, **tags)))
    return reading.values, "; ".join(reading.notes)


def window(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    return (((values - (centre - 0.5)) / (width - 1)) + 0.5).clip(0, 1) * 4095


def raw(value: str) -> tuple[str, str]:
    """A value that pydicom refuses to write as a number."""
    return "LO", value


IMPOSSIBLE_WINDOWS = {
    "width 0": ("2048", "0"),
    "width below 1": ("2048", "0.9"),
    "width below 0": ("2048", "-4096"),
    "no number": (raw("wide"), raw("4096")),
    "empty": ("", ""),
    "no width": ("2048", ""),
    "no centre": ("", "4096"),
    "infinite": (raw("2048"), raw("inf")),
    "not a number": (raw("nan"), raw("4096")),
    "above all values": ("60000", "100"),
    "below all values": ("-60000", "100"),
    "two that are impossible": (["2048", ""], ["0", "4096"]),
}


@pytest.mark.parametrize("name", IMPOSSIBLE_WINDOWS)
def test_an_impossible_window_is_left_out_and_said(tmp_path: Path, name: str) -> None:
    centre, width = IMPOSSIBLE_WINDOWS[name]
    values, notes = read(tmp_path, WindowCenter=centre, WindowWidth=width)
    np.testing.assert_array_equal(values, IMAGE)
    assert "window 1" in notes
    assert "left out" in notes


@pytest.mark.parametrize(
    ("centre", "width"),
    [(["", "2000"], ["", "900"]), (["60000", "2000"], ["9", "900"]), (["1", "2000", "5"], ["0", "900", "9"])],
)
def test_the_first_usable_window_counts(tmp_path: Path, centre: list[str], width: list[str]) -> None:
    values, notes = read(tmp_path, WindowCenter=centre, WindowWidth=width)
    np.testing.assert_allclose(values, window(IMAGE, 2000, 900), rtol=1e-5, atol=1e-3)
    assert "window 1 " in notes
    values, notes = read(tmp_path, WindowCenter=["2000", "1"], WindowWidth=["900", "0"])
    np.testing.assert_allclose(values, window(IMAGE, 2000, 900), rtol=1e-5, atol=1e-3)
    assert not notes


def test_decimal_commas_are_points(tmp_path: Path) -> None:
    values, notes = read(tmp_path, WindowCenter=raw("2000,5"), WindowWidth="900")
    np.testing.assert_allclose(values, window(IMAGE, 2000.5, 900), rtol=1e-5, atol=1e-3)
    assert "comma" in notes
    values, notes = read(tmp_path, RescaleSlope=raw("0,5"), RescaleIntercept=raw("1,25"))
    np.testing.assert_allclose(values, IMAGE * 0.5 + 1.25)
    assert notes.count("comma") == 2


@pytest.mark.parametrize("function", ["", "linear", "WIDE"])
def test_an_unknown_function_of_a_window_is_linear(tmp_path: Path, function: str) -> None:
    values, notes = read(tmp_path, WindowCenter="2000", WindowWidth="900", VOILUTFunction=function)
    np.testing.assert_allclose(values, window(IMAGE, 2000, 900), rtol=1e-5, atol=1e-3)
    assert ("LINEAR" in notes) == (function != "linear")


@pytest.mark.parametrize(
    ("tags", "slope", "intercept", "said"),
    [
        ({"RescaleSlope": "", "RescaleIntercept": ""}, 1, 0, ("RescaleSlope", "RescaleIntercept")),
        ({"RescaleSlope": "2", "RescaleIntercept": ""}, 2, 0, ("RescaleIntercept",)),
        ({"RescaleSlope": "2"}, 2, 0, ("RescaleIntercept",)),
        ({"RescaleIntercept": "-9"}, 1, -9, ("RescaleSlope",)),
        ({"RescaleSlope": "0", "RescaleIntercept": "5"}, 1, 5, ("RescaleSlope",)),
        ({"RescaleSlope": raw("x"), "RescaleIntercept": raw("nan")}, 1, 0, ("RescaleSlope", "RescaleIntercept")),
        ({"RescaleSlope": ["2", "3"], "RescaleIntercept": "1"}, 2, 1, ("RescaleSlope",)),
        ({"RescaleSlope": ("FD", 2.5), "RescaleIntercept": ("SS", -7)}, 2.5, -7, ()),
    ],
)
def test_an_impossible_rescale_is_assumed_and_said(
    tmp_path: Path, tags: dict[str, object], slope: float, intercept: float, said: tuple[str, ...]
) -> None:
    values, notes = read(tmp_path, **tags)
    np.testing.assert_allclose(values, IMAGE * float(slope) + intercept)
    assert bool(notes) == bool(said)
    assert all(f"{tag} " in notes for tag in said)


def test_luts_in_forms_that_are_not_the_standards(tmp_path: Path) -> None:
    curve = (np.arange(4096) ** 2 >> 12).astype(int)
    for item, said in (
        (lut(0, curve, 12, count=65536), "4096 entries of 65536"),  # fewer than announced
        (lut(0, curve[:3000], 12, count=4096), "3000 entries of 4096"),
        (lut(0, curve, 8), ""),  # deeper than announced
        (lut(0, curve, 0), ""),
        (lut(0, curve, 12, count=3000), ""),  # more than announced
    ):
        count = int(item.LUTDescriptor[0]) & 0xFFFF or 65536
        values, notes = read(tmp_path, VOILUTSequence=[item])
        entries = curve[: min(count, len(item["LUTData"].value))]
        np.testing.assert_array_equal(values, entries[IMAGE.clip(0, len(entries) - 1)])
        assert said in notes
    incomplete = lut(0, curve, 12)
    del incomplete.LUTData
    values, notes = read(tmp_path, VOILUTSequence=[incomplete], WindowCenter="2000", WindowWidth="900")
    np.testing.assert_allclose(values, window(IMAGE, 2000, 900), rtol=1e-5, atol=1e-3)
    assert "VOI LUT 1 is incomplete" in notes
    flat = lut(0, np.full(4096, 7), 12)
    values, notes = read(tmp_path, VOILUTSequence=[flat, lut(0, curve, 12)])
    np.testing.assert_array_equal(values, curve[IMAGE])
    assert "VOI LUT 1 left out" in notes


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_a_first_value_below_zero_whatever_its_vr(tmp_path: Path, vr: str) -> None:
    curve = np.arange(4096)[::-1].copy()
    item = lut(-1024, curve, 12)
    if vr == "US":
        item.add_new("LUTDescriptor", "US", [4096, 65536 - 1024, 12])
    tags = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "VOILUTSequence": [item]}
    assert np.array_equal(read(tmp_path, **tags)[0], curve[IMAGE])


def test_padding_is_black_and_rules_nothing(tmp_path: Path) -> None:
    inner = (IMAGE >> 2) + 500
    for padding, photometric in ((0, "MONOCHROME1"), (0, "MONOCHROME2"), (4095, "MONOCHROME1"), (4095, "MONOCHROME2")):
        image = inner.copy()
        image[:, :5] = padding
        for tags in ({}, {"WindowCenter": "1000", "WindowWidth": "600"}):
            values, notes = read(
                tmp_path, image, PhotometricInterpretation=photometric, PixelPaddingValue=("US", padding), **tags
            )
            alone, _ = read(tmp_path, inner[:, 5:], PhotometricInterpretation=photometric, **tags)
            np.testing.assert_allclose(values[:, 5:], alone, rtol=1e-6)
            assert (values[:, :5] == alone.min()).all()
            assert "padding" in notes
    image[0, :5] = [0, 1, 2, 3, 4]
    image[1:, :5] = inner[1:, :5]
    values, _ = read(tmp_path, image, PixelPaddingValue=("US", 0), PixelPaddingRangeLimit=("US", 4))
    assert (values[0, :5] == inner[1:].min()).all()
    values, notes = read(tmp_path, inner, PixelPaddingValue=("US", 0))
    np.testing.assert_array_equal(values, inner)
    assert not notes


def test_signed_padding_that_is_written_without_its_sign(tmp_path: Path) -> None:
    image = (IMAGE.astype(np.int16) - 1000).clip(-900)
    image[:, :5] = -2000
    data = radiograph(image, ImplicitVRLittleEndian, PixelPaddingValue=("US", 65536 - 2000))
    values = read_radiograph(save(tmp_path / "file.dcm", data)).values
    assert (values[:, :5] == image[:, 5:].min()).all()
    np.testing.assert_array_equal(values[:, 5:], image[:, 5:])


def test_bits_beside_the_value_are_left_out_and_said(tmp_path: Path) -> None:
    values, notes = read(tmp_path, IMAGE | 0x3000)
    np.testing.assert_array_equal(values, IMAGE)
    assert "12" in notes


def test_monochrome1_with_a_presentation_of_its_own(tmp_path: Path) -> None:
    inverted = IMAGE.max() + IMAGE.min() - IMAGE
    for photometric, shape, expected, said in (
        ("MONOCHROME1", "INVERSE", inverted, "MONOCHROME1 was inverted"),
        ("MONOCHROME1", "IDENTITY", IMAGE, "not inverted"),
        ("MONOCHROME2", "INVERSE", inverted, "INVERSE"),
        ("MONOCHROME2", "IDENTITY", IMAGE, ""),
        ("MONOCHROME1", "", inverted, "MONOCHROME1 was inverted"),
    ):
        values, notes = read(tmp_path, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
        np.testing.assert_array_equal(values, expected)
        assert said in notes


def test_a_header_of_rubbish_costs_no_image(tmp_path: Path) -> None:
    values, notes = read(
        tmp_path,
        WindowCenter=("SQ", []),
        WindowWidth=("OB", b"\xff\xfe"),
        VOILUTFunction=("US", 7),
        RescaleSlope=("OB", b"\0\1"),
        RescaleIntercept=("UT", "rubbish"),
        ModalityLUTSequence=("LO", "none"),
        VOILUTSequence=("OB", b"12"),
        PixelPaddingValue=("LO", "black"),
        PresentationLUTShape=("US", 3),
    )
    np.testing.assert_array_equal(values, IMAGE)
    assert notes


@pytest.mark.parametrize(
    ("kind", "modality", "reason"),
    [
        (SegmentationStorage, "SEG", "not a radiograph"),
        (RTDoseStorage, "RTDOSE", "not a radiograph"),
        ("", "CT", "not a radiograph"),
        ("", "US", "not a radiograph"),
        (BasicTextSRStorage, "SR", "no pixels"),
        (MediaStorageDirectoryStorage, "", "no pixels"),
        ("", "DX", "unreadable"),
    ],
)
def test_other_kinds_are_refused_by_what_they_are(tmp_path: Path, kind: str, modality: str, reason: str) -> None:
    data = radiograph(IMAGE, Modality=modality)
    if kind:
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    if reason != "not a radiograph":
        del data.PixelData
    if reason == "no pixels":
        del data.Rows
    with pytest.raises(UnusableImageError, match=r"file\.dcm") as caught:
        read_radiograph(save(tmp_path / "file.dcm", data))
    assert caught.value.reason == reason


def test_the_modality_is_recorded(tmp_path: Path) -> None:
    for modality in ("DX", "CR", "MG", ""):
        data = radiograph(IMAGE, Modality=modality)
        assert read_radiograph(save(tmp_path / "file.dcm", data)).modality == modality
