"""The studies of a folder, for inference on images that no datalist names."""

from __future__ import annotations

from pathlib import Path

from .images import find_images


def list_studies(folder: str | Path, spatial_dims: int) -> list[dict[str, str]]:
    """Every image under a folder, ready for a MONAI dataset.

    Args:
        folder: searched to the bottom.
        spatial_dims: 2 for radiographs; 3 for NIfTI volumes and folders of DICOM slices.

    Returns:
        For each study its path as ``image`` and as ``file``, which stays when a transform loads ``image``.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no image.
    """
    images, _ = find_images(Path(folder), spatial_dims)
    if not images:
        kind = "radiographs" if spatial_dims == 2 else "volumes (NIfTI files, folders of DICOM slices)"
        raise ValueError(f"There are no {kind} in {folder}.")
    return [{"image": str(path), "file": str(path)} for path in images]
