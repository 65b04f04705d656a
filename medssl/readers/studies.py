"""The studies of an input or a folder, by the number of dimensions."""

from functools import partial
from pathlib import Path

from .radiograph import radiograph_studies
from .study import Found, look_through
from .units import Unit
from .volume import volume_studies


def studies_of(unit: Unit, spatial_dims: int) -> Found:
    """What an input holds: radiographs (2) or volumes (3)."""
    return radiograph_studies(unit) if spatial_dims == 2 else volume_studies(unit)


def examine_folder(folder: str | Path, spatial_dims: int, skip: str | Path | None = None) -> Found:
    """Every study under a folder, and everything else with the reason why it is none; see `find_units`."""
    return look_through(folder, spatial_dims, partial(studies_of, spatial_dims=spatial_dims), skip)
