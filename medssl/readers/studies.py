"""The studies of a folder, for inference on images that no datalist names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medssl.errors import UserError

from .dicom_series import find_stacks
from .units import Unit, find_units


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
