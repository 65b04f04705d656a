"""The studies of an input or a folder, by the number of dimensions."""

from __future__ import annotations

from pathlib import Path

from .radiograph_studies import find_radiographs, radiograph_studies
from .study import Found
from .units import Unit
from .volume_studies import find_volumes, volume_studies


def studies_of(unit: Unit, spatial_dims: int) -> Found:
    """What an input holds: radiographs (2) or volumes (3)."""
    return radiograph_studies(unit) if spatial_dims == 2 else volume_studies(unit)


def examine_folder(folder: str | Path, spatial_dims: int, skip: str | Path | None = None) -> Found:
    """Every study under a folder, and everything else with the reason why it is none.

    Args:
        folder: searched to the bottom; hidden files and folders are passed over.
        spatial_dims: 2 for radiographs, 3 for volumes.
        skip: a folder below it to pass over, the one that is written to.

    Raises:
        MissingFileError: there is no such folder.
        UserError: a folder may not be looked into.
    """
    return find_radiographs(folder, skip) if spatial_dims == 2 else find_volumes(folder, skip)
