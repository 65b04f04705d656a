"""The studies of an input or a folder, by the number of dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medssl.errors import UserError

from .dicom_series import find_stacks
from .radiograph_studies import find_radiographs, radiograph_studies
from .study import Found
from .units import Unit, find_units
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


def list_studies(folder: str | Path, spatial_dims: int) -> list[dict[str, Any]]:
    """Every image under a folder, ready for a MONAI dataset.

    Args:
        folder: searched to the bottom.
        spatial_dims: 2 for radiographs; 3 for NIfTI volumes and folders of DICOM slices.

    Returns:
        For each study its path as ``image`` (the paths of its slices, for a volume of DICOM files) and a name as
        ``file``: the path, to which a folder that holds several volumes adds the first file of each.

    Raises:
        MissingFileError: there is no such folder.
        UserError: it holds no image.
    """
    units, _ = find_units(Path(folder), spatial_dims)
    studies = [study for unit in units for study in _studies(unit)]
    if not studies:
        kind = "radiographs" if spatial_dims == 2 else "volumes (NIfTI files, folders of DICOM slices)"
        raise UserError(f"There are no {kind} in {folder}.")
    return studies


def _studies(unit: Unit) -> list[dict[str, Any]]:
    if unit.path.is_file():
        return [{"image": str(unit.path), "file": str(unit.path)}]
    stacks, _ = find_stacks(unit.files)
    names = [unit.path / stack.files[0].name if len(stacks) > 1 else unit.path for stack in stacks]
    return [
        {"image": [str(path) for path in stack.files], "file": str(name)}
        for stack, name in zip(stacks, names, strict=True)
    ]
