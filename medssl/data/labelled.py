"""For callers of the first edition: `Datalist.labelled`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .datalist import Datalist


def read_labelled(
    datalist: str | Path, split: str, classes: Sequence[str], exclusive: bool, may_be_empty: bool = False
) -> list[dict[str, Any]]:
    """For callers of the first edition: `Datalist.labelled`."""
    return Datalist.read(datalist).labelled(split, classes, exclusive, may_be_empty)
