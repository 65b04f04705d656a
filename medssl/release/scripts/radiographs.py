"""The radiographs of a folder, for inference on images that no datalist names."""

from pathlib import Path

from medssl.errors import UserError
from medssl.readers.units import find_units


def list_radiographs(folder: str | Path) -> list[dict[str, str]]:
    """Every radiograph (PNG, JPEG, TIFF, BMP or DICOM file) under a folder, ready for a MONAI dataset.

    Returns:
        For each its path as ``image`` and, because a transform loads ``image``, as ``file`` too.

    Raises:
        MissingFileError: there is no such folder.
        UserError: it holds no radiograph.
    """
    units, _ = find_units(Path(folder), spatial_dims=2)
    if not units:
        raise UserError(f"There are no radiographs in {folder}.")
    return [{"image": str(unit.path), "file": str(unit.path)} for unit in units]
