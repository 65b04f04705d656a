"""For callers of the first edition: `Datalist.labelled`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .datalist_file import DatalistFile


def read_labelled(
    datalist: str | Path, split: str, classes: Sequence[str], exclusive: bool, may_be_empty: bool = False
) -> list[dict[str, Any]]:
    """For callers of the first edition: `Datalist.labelled`."""
    return DatalistFile.read(datalist).labelled(split, classes, exclusive, may_be_empty)
