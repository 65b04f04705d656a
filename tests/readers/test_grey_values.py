"""The pipeline of grey values against PS3.3 C.11 written out pixel by pixel, and against DCMTK's rendering."""

import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path

import numpy as np
import pytest
from dicom_files import lut, picture, radiograph, save
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medssl.readers.grey_values import Window
from medssl.readers.radiograph import read_radiograph

needs_dcmtk = pytest.mark.skipif(not shutil.which("dcmj2pnm"), reason="Debian's dcmtk is not installed")
SHAPE = (5, 7)
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
SLOPES = ("1", "-1", "2", "-10", "0.25", "-1.5", "0.000244", "1e-3", "37.5")
INTERCEPTS = ("0", "-1024", "40950", "0.5", "-3.25")

Range = tuple[float, float]
Function = Callable[[float], float]
Tags = dict[str, object]


def stored_value(cell: int, bits: int, high_bit: int, signed: bool) -> int:
    value = cell >> (high_bit - bits + 1) & (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def entry(value: float, first: int, entries: Sequence[int]) -> int:
    return entries[min(max(round(value) - first, 0), len(entries) - 1)]


def windowed(x: float, window: Window, low: float, high: float) -> float:
    c, w = window.centre, window.width
    if window.function == "SIGMOID":
        exponent = -4 * (x - c) / w
        return low if exponent > 700 else (high - low) / (1 + math.exp(exponent)) + low
    if window.function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return low
        return high if x > c + w / 2 else ((x - c) / w + 0.5) * (high - low) + low
    if x <= c - 0.5 - (w - 1) / 2:
        return low
    return high if x > c - 0.5 + (w - 1) / 2 else ((x - (c - 0.5)) / (w - 1) + 0.5) * (high - low) + low


@st.composite
def tables(
    draw: st.DrawFn, inputs: Range, depths: Sequence[int], forms: Sequence[str]
) -> tuple[Callable, Function, int]:
    """What makes a LUT's item in a byte order, what it does to a value, and its highest output."""
    depth, length = draw(st.sampled_from(depths)), draw(st.sampled_from((1, 2, 5, 256, 1000, 65536)))
    least, most = (-32768, 32767) if inputs[0] < 0 else (0, 65535)  # what the first value may be in 16 bits
    lowest = max(math.ceil(inputs[0]), least)
    first = draw(st.integers(lowest, max(min(math.floor(inputs[1]), most), lowest)))
    entries = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 1 << depth, length)
    form = draw(st.sampled_from(forms))
    if form in ("packed", "OB") and (depth > 8 or length <= 2):
        form = "OW"
    if form == "US" and length == 65536:  # longer than the element's length can say
        form = "OW"
    listed = entries.tolist()
    return (
        lambda big: lut(first, entries, depth, form, big=big),
        lambda value: entry(value, first, listed),
        (1 << depth) - 1,
    )


@st.composite
def modalities(draw: st.DrawFn, inputs: Range, forms: Sequence[str], big: bool) -> tuple[Tags, Function, Range]:
    """Tags of a modality LUT, a rescale or neither, what they do to a value, and what may come out."""
    choice = draw(st.sampled_from(("none", "rescale", "LUT")))
    if choice == "rescale":
        slope, intercept = draw(st.sampled_from(SLOPES)), draw(st.sampled_from(INTERCEPTS))
        low, high = sorted(end * float(slope) + float(intercept) for end in inputs)
        tags: Tags = {"RescaleSlope": slope, "RescaleIntercept": intercept}
        return tags, lambda value: value * float(slope) + float(intercept), (low, high)
    if choice == "LUT" and inputs[1] < 1 << 16:
        make, function, top = draw(tables(inputs, (8, 16), forms))
        return {"ModalityLUTSequence": [make(big)]}, function, (0, top)
    return {}, lambda value: value, inputs


@st.composite
def views(
    draw: st.DrawFn, values: Sequence[float], inputs: Range, forms: Sequence[str], big: bool
) -> tuple[dict, Function]:
    """Tags of a VOI LUT, a window or neither, and what they do to a value."""
    choice = draw(st.sampled_from(("none", "window", "LUT")))
    if choice == "LUT" and max(map(abs, inputs)) < 30000:
        make, function, _ = draw(tables(inputs, (8, 10, 12, 16), forms))
        return {"VOILUTSequence": [make(big)]}, function
    if choice == "window":
        centre = f"{draw(st.sampled_from(sorted(values))):.9g}"
        width = f"{max((max(values) - min(values)) * draw(st.floats(0.1, 2)), 1):.9g}"
        window = Window(float(centre), float(width), draw(st.sampled_from(("LINEAR", "LINEAR_EXACT", "SIGMOID"))))
        tags: Tags = {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": window.function}
        return tags, lambda value: windowed(value, window, *inputs)
    return {}, lambda value: value


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[FileDataset, list[float]]:
    """A radiograph with all that may be done to its values, and what comes out."""
    syntax, allocated, signed = draw(st.sampled_from(SYNTAXES)), draw(st.sampled_from((8, 16, 32))), draw(st.booleans())
    forms = ("OW", "packed") if syntax.is_implicit_VR else ("US", "OW", "packed", "OB")
    big = not syntax.is_little_endian
    bits = draw(st.integers(1, allocated))
    high_bit = draw(st.sampled_from((bits - 1, allocated - 1)))
    count = math.prod(SHAPE)
    cells = draw(st.lists(st.integers(0, (1 << allocated) - 1), min_size=count, max_size=count))
    stored = [stored_value(cell, bits, high_bit, signed) for cell in cells]
    inputs = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)

    modality_tags, rescaled, outputs = draw(modalities(inputs, forms, big))
    values = [rescaled(value) for value in stored]
    view_tags, seen = draw(views(values, outputs, forms, big))
    shown = [seen(value) for value in values]

    limits = [draw(st.sampled_from(stored)) for _ in range(draw(st.integers(0, 2)))] if allocated < 32 else []
    own = [not limits or not min(limits) <= value <= max(limits) for value in stored]
    own = own if any(own) else [True] * count
    if len(set(map(np.float32, compress(shown, own)))) == 1 < len(set(compress(stored, own))):
        shown = values  # a view that shows nothing is left out
    least, most = min(compress(shown, own)), max(compress(shown, own))
    photometric = draw(st.sampled_from(("MONOCHROME1", "MONOCHROME2")))
    if photometric == "MONOCHROME1":
        shown = [least + most - value for value in shown]
    expected = [value if is_own else least for value, is_own in zip(shown, own, strict=True)]

    tags: Tags = {"HighBit": high_bit, "PixelRepresentation": int(signed), "PhotometricInterpretation": photometric}
    for tag, limit in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), limits, strict=False):
        tags[tag] = ("SS" if signed else "US", limit)
    image = np.array(cells, dtype=f"u{allocated // 8}").reshape(SHAPE)
    return radiograph(image, syntax, bits, **tags, **modality_tags, **view_tags), expected


@settings(max_examples=300, deadline=None)
@given(pipelines())
def test_every_pipeline_is_the_standards(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[FileDataset, list[float]]
) -> None:
    data, expected = drawn
    path = save(tmp_path_factory.getbasetemp() / "pipeline.dcm", data)
    values = read_radiograph(path).values.ravel()
    np.testing.assert_allclose(values, expected, rtol=3e-6, atol=2e-6 * max(map(abs, expected)) + 1e-6)


@pytest.mark.parametrize("form", ["US", "OW", "packed", "OB"])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_every_form_of_a_lut_in_every_byte_order(tmp_path: Path, syntax: UID, form: str) -> None:
    curve = np.arange(4095) ** 2 >> 16  # an odd number of entries
    if form == "OB" and syntax.is_implicit_VR:
        pytest.skip("nothing says there that they are bytes")
    big = not syntax.is_little_endian
    tags = {"RescaleSlope": "0.3", "RescaleIntercept": "-7", "VOILUTSequence": [lut(-7, curve, 8, form, big=big)]}
    data = radiograph(picture().astype(np.uint16), syntax, 12, **tags)
    values = read_radiograph(save(tmp_path / "file.dcm", data)).values
    np.testing.assert_array_equal(values, curve[np.rint(picture() * 0.3 - 7).astype(int) + 7])


RENDERED: dict[str, tuple[Tags, list[str]]] = {  # tags, and how DCMTK is told to use them
    "as it is": ({}, ["+Wm"]),
    "window": ({"WindowCenter": "1800", "WindowWidth": "900"}, ["+Wi", "1"]),
    "window of one value": ({"WindowCenter": "1800", "WindowWidth": "1"}, ["+Wi", "1"]),
    "sigmoid": ({"WindowCenter": "1800", "WindowWidth": "900", "VOILUTFunction": "SIGMOID"}, ["+Wi", "1"]),
    "negative slope": (
        {"RescaleSlope": "-10", "RescaleIntercept": "40950", "WindowCenter": "20000", "WindowWidth": "15000"},
        ["+Wi", "1"],
    ),
    "Hounsfield": (
        {"RescaleSlope": "1", "RescaleIntercept": "-1024", "WindowCenter": "40", "WindowWidth": "400"},
        ["+Wi", "1"],
    ),
    "modality LUT": ({"ModalityLUTSequence": [lut(0, np.arange(65535, -1, -16), 16)]}, ["+Wm"]),
    "VOI LUT, 8 bits": ({"VOILUTSequence": [lut(0, np.arange(4096) ** 2 >> 16, 8)]}, ["+Wl", "1"]),
    "VOI LUT, 8 bits packed": ({"VOILUTSequence": [lut(0, np.arange(4096) ** 2 >> 16, 8, "packed")]}, ["+Wl", "1"]),
    "VOI LUT, 12 bits, of a part": ({"VOILUTSequence": [lut(700, np.arange(0, 4096, 2), 12, "OW")]}, ["+Wl", "1"]),
    "VOI LUT, 16 bits, from below zero": (
        {"RescaleSlope": "1", "RescaleIntercept": "-1024", "VOILUTSequence": [lut(-1024, np.arange(4096) * 15, 16)]},
        ["+Wl", "1"],
    ),
    "dark is high": ({"PresentationLUTShape": "INVERSE"}, ["+Wm"]),
    "bright is high": ({"PresentationLUTShape": "IDENTITY"}, ["+Wm"]),
}


@needs_dcmtk
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("name", RENDERED)
def test_it_looks_as_dcmtk_renders_it(tmp_path: Path, name: str, photometric: str) -> None:
    tags, options = RENDERED[name]
    data = radiograph(picture().astype(np.uint16), bits=12, PhotometricInterpretation=photometric, **tags)
    _compare_with_dcmtk(save(tmp_path / "file.dcm", data), options)


@needs_dcmtk
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 7, 8, 9, 11, 12, 15, 16])
def test_stored_bits_are_those_of_dcmtk(tmp_path: Path, bits: int, signed: bool) -> None:
    image = picture(top=(1 << bits) - 1) - (1 << bits - 1) * signed
    for high_bit in {bits - 1, 15}:
        cells = (image & (1 << bits) - 1) << (high_bit - bits + 1) | (1 << high_bit - bits + 1) - 1  # other bits set
        data = radiograph(cells.astype(np.uint16), bits=bits, HighBit=high_bit, PixelRepresentation=int(signed))
        _compare_with_dcmtk(save(tmp_path / f"{high_bit}.dcm", data), ["+Wm"])
        np.testing.assert_array_equal(read_radiograph(tmp_path / f"{high_bit}.dcm").values, image)


def _compare_with_dcmtk(path: Path, options: Sequence[str]) -> None:
    rendered = path.with_suffix(".png")
    subprocess.run(["dcmj2pnm", *options, "+on2", str(path), str(rendered)], check=True, capture_output=True)
    theirs = np.asarray(Image.open(rendered)).astype(float)
    ours = read_radiograph(path).values.astype(float)
    slope, intercept = np.polyfit(ours.ravel(), theirs.ravel(), 1)  # it fills 16 bits
    assert slope > 0
    np.testing.assert_allclose(ours * slope + intercept, theirs, atol=2)
