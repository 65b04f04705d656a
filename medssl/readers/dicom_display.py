"""What a DICOM header asks to be done to its grey values before they are shown.

What is missing, empty or impossible in it costs a note, not the image.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut

from .dicom_numbers import number, numbers, text, unread, written
from .grey_values import FUNCTIONS, LINEAR, Window, apply_window, look_up, look_up_table, rescale

Range = tuple[float, float]
Notes = tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One thing that is done to grey values.

    Attributes:
        name: what asks for it, for notes; empty where nothing is done.
        apply: [...] → [...].
        outputs: the lowest and the highest value that may come out.
    """

    name: str
    apply: Callable[[np.ndarray], np.ndarray]
    outputs: Range


def modality_step(dataset: Dataset, inputs: Range) -> tuple[Step, Notes]:
    """The modality LUT or the rescale (PS3.3 C.11.1), and what had to be assumed for it.

    Args:
        dataset: the header, or what holds for one frame.
        inputs: the lowest and the highest value that may be stored.
    """
    items, notes = _items(dataset, "ModalityLUTSequence")
    if items:
        step, notes = _table_step(items[0], "modality LUT", "LUT", inputs)
        if step:
            return step, notes
    if "RescaleSlope" not in dataset and "RescaleIntercept" not in dataset:
        return Step("", lambda values: values, inputs), notes
    slope, slope_notes = _factor(dataset, "RescaleSlope", 1)
    intercept, intercept_notes = _factor(dataset, "RescaleIntercept", 0)
    low, high = sorted(slope * value + intercept for value in inputs)
    step = Step("rescale", lambda values: rescale(values, slope, intercept), (low, high))
    return step, notes + slope_notes + intercept_notes


def voi_choices(dataset: Dataset, inputs: Range) -> Iterator[Step | str]:
    """The VOI LUTs and then the windows (PS3.3 C.11.2), one of which is to be applied; a note for one that is unusable.

    As for `modality_step`, with the outputs of that one as inputs.
    """
    items, notes = _items(dataset, "VOILUTSequence")
    yield from notes
    for place, item in enumerate(items, 1):
        step, notes = _table_step(item, f"VOI LUT {place}", "LUT", inputs)
        yield from notes
        if step:
            yield step
    yield from _windows(dataset, inputs)


def _windows(dataset: Dataset, inputs: Range) -> Iterator[Step | str]:
    centres, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not centres and not widths:
        return
    yield from _commas(dataset, "WindowCenter", "WindowWidth")
    function = text(dataset, "VOILUTFunction") if "VOILUTFunction" in dataset else LINEAR
    if function not in FUNCTIONS:
        yield f"VOILUTFunction is {_shown(dataset, 'VOILUTFunction')}, taken as {LINEAR}"
        function = LINEAR
    for place, (centre, width) in enumerate(zip_longest(centres, widths), 1):
        if centre is None or width is None:
            tag = "WindowCenter" if centre is None else "WindowWidth"
            yield f"window {place} left out: {tag} is {_shown(dataset, tag)}"
        elif not (window := Window(centre, width, function)).is_possible:
            yield f"window {place} left out: a width of {width:g} is impossible"
        else:
            apply = partial(apply_window, window=window, low=inputs[0], high=inputs[1])
            yield Step(f"window {place} (centre {centre:g}, width {width:g})", apply, inputs)


def is_inverted(dataset: Dataset, photometric: str) -> tuple[bool, Notes]:
    """Whether high values are dark.

    A Presentation LUT Shape (PS3.3 C.11.6) says so before the Photometric Interpretation (C.7.6.3.1.2), as in DCMTK.
    """
    dark_is_high = photometric == "MONOCHROME1"
    shape = text(dataset, "PresentationLUTShape")
    if shape == "IDENTITY" and dark_is_high:
        return False, ("MONOCHROME1 was not inverted, since its PresentationLUTShape is IDENTITY",)
    if shape == "INVERSE" and not dark_is_high:
        return True, ("inverted, since its PresentationLUTShape is INVERSE",)
    return dark_is_high, ("MONOCHROME1 was inverted",) if dark_is_high else ()


def padding_limits(dataset: Dataset, signed: bool) -> Range | None:
    """The stored values between which pixels are padding (PS3.3 C.7.5.1.1.2); None where nothing is said of any."""
    values = [
        number(dataset, f"{kind}PixelPadding{tag}")
        for kind in ("", "Float", "DoubleFloat")
        for tag in ("Value", "RangeLimit")
        if f"{kind}PixelPadding{tag}" in dataset
    ]
    limits = [_as_stored(value, signed) for value in values if value is not None]
    return (min(limits), max(limits)) if limits else None


def apply_palette(stored: np.ndarray, dataset: Dataset, inputs: Range) -> np.ndarray:
    """Indices [rows, columns] to colours [rows, columns, 3] (PS3.3 C.7.6.3.1.5)."""
    names = (f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue"))
    steps = [_table_step(dataset, name, name, inputs)[0] for name in names]
    if None in steps:
        return apply_color_lut(stored, dataset)  # segmented ones
    return np.stack([step.apply(stored) for step in steps if step], axis=-1)


def _factor(dataset: Dataset, tag: str, otherwise: float) -> tuple[float, Notes]:
    value = number(dataset, tag)
    if value is None or (value == 0 and tag == "RescaleSlope"):
        return otherwise, (f"{tag} is {_shown(dataset, tag)}, taken as {otherwise:g}",)
    several = len(set(numbers(dataset, tag))) > 1
    notes = (f"{tag} is {_shown(dataset, tag)}, taken as {value:g}",) if several else ()
    return value, (*_commas(dataset, tag), *notes)


def _commas(dataset: Dataset, *tags: str) -> Notes:
    return tuple(
        f"{tag} is {_shown(dataset, tag)}, its comma taken as a point" for tag in tags if "," in written(dataset, tag)
    )


def _shown(dataset: Dataset, tag: str) -> str:
    return repr(written(dataset, tag)) if written(dataset, tag) else "empty" if tag in dataset else "missing"


def _items(dataset: Dataset, keyword: str) -> tuple[list[Dataset], Notes]:
    try:
        return list(dataset.get(keyword) or []), ()
    except Exception:  # of a damaged sequence pydicom raises nearly anything
        return [], (f"{keyword} cannot be read: left out",)


def _table_step(item: Dataset, name: str, keyword: str, inputs: Range) -> tuple[Step | None, Notes]:
    words, little, vr = _raw(item, f"{keyword}Descriptor")
    numbers_of_table = np.frombuffer(words[:6], f"{'<' if little else '>'}{'i2' if vr == 'SS' else 'u2'}").tolist()
    entries, little, vr = _raw(item, f"{keyword}Data")
    table = look_up_table(numbers_of_table, entries, little, vr != "OB", inputs) if len(words) >= 6 else None
    if table is None:
        return None, (f"{name} is incomplete: left out",)
    announced = numbers_of_table[0] & 0xFFFF or 1 << 16
    notes = (f"{name} has {len(table.entries)} entries of {announced}",) if len(table.entries) < announced else ()
    return Step(name, partial(look_up, table=table), (0, 2**table.bits - 1)), notes


def _raw(item: Dataset, keyword: str) -> tuple[bytes, bool, str]:
    """An element's value as it stands in the file, whether it is little endian, and its VR."""
    element = unread(item, keyword)
    value = None if element is None else element.value
    if isinstance(element, RawDataElement):
        return value or b"", element.is_little_endian, element.VR or "OW"
    if isinstance(value, int | MultiValue):  # read as numbers before
        value = (np.atleast_1d(np.asarray(value)) & 0xFFFF).astype("<u2").tobytes()
    return value if isinstance(value, bytes) else b"", True, "OW"


def _as_stored(value: float, signed: bool) -> float:
    """Sixteen bits that were written as if they had no sign, or as if they had one."""
    if signed and (1 << 15) <= value < (1 << 16):
        return value - (1 << 16)
    return value + (1 << 16) if not signed and -(1 << 15) <= value < 0 else value
