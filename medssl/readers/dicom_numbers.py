"""What stands in a DICOM header, however it is written there: what is no number costs that number, not the file."""

import math
from collections.abc import Iterable

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset


def unread(dataset: Dataset, keyword: str) -> RawDataElement | DataElement | None:
    """An element as it stands in the file, or as it was read before; None where there is none."""
    try:
        return dataset.get_item(keyword)
    except Exception:  # pydicom's, of an empty one whose kind it does not know
        return None


def written(dataset: Dataset, keyword: str) -> str:
    """An element's value as text; several values with backslashes between them, nothing where there is none."""
    if keyword not in dataset:
        return ""
    try:
        value = dataset[keyword].value
    except Exception:  # each kind of value raises its own, and one that is wrong takes the others with it
        value = getattr(unread(dataset, keyword), "value", None)
    if isinstance(value, bytes):
        value = value.decode("latin1")
    parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return "\\".join("" if part is None else str(part).strip("\0 ") for part in parts)


def text(dataset: Dataset, keyword: str) -> str:
    """The first value of an element, in capitals; empty where there is none."""
    return written(dataset, keyword).partition("\\")[0].strip().upper()


def numbers(dataset: Dataset, keyword: str) -> tuple[float | None, ...]:
    """The values of an element: None for one that is empty or no finite number; a decimal comma is a point."""
    return tuple(map(_number, written(dataset, keyword).split("\\"))) if keyword in dataset else ()


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first of the `numbers`; None where there is none."""
    return next(iter(numbers(dataset, keyword)), None)


def whole_number(dataset: Dataset, keyword: str) -> int | None:
    """The first of the `numbers`, if it is whole."""
    value = number(dataset, keyword)
    return None if value is None or not value.is_integer() else int(value)


def _number(part: str) -> float | None:
    try:
        value = float(part.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
