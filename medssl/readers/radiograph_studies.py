"""The radiographs of an input or a folder, without a volume's readers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .radiograph import read_radiograph
from .study import Found, file_study, look_through
from .units import Unit


def radiograph_studies(unit: Unit) -> Found:
    """The study of a picture or DICOM file."""
    return file_study(unit, partial(read_radiograph, unit.path))


def find_radiographs(folder: str | Path, skip: str | Path | None = None) -> Found:
    """Every radiograph under a folder, and every file that is none; see `look_through`."""
    return look_through(folder, 2, radiograph_studies, skip)
