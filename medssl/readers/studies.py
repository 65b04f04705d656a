"""The studies of an input or a folder, by the number of dimensions."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from medssl.errors import MissingFileError

from .radiograph import radiograph_studies
from .study import Found, look_through
from .suffixes import companions
from .units import Unit
from .volume import volume_studies


def studies_of(unit: Unit, spatial_dims: int) -> Found:
    """What an input holds: radiographs (2) or volumes (3)."""
    return radiograph_studies(unit) if spatial_dims == 2 else volume_studies(unit)


def examine_folder(folder: str | Path, spatial_dims: int, skip: str | Path | None = None) -> Found:
    """Every study under a folder, and everything else with the reason why it is none; see `find_units`."""
    return look_through(folder, spatial_dims, partial(studies_of, spatial_dims=spatial_dims), skip)


def examine_paths(paths: Iterable[str | Path], spatial_dims: int) -> Found:
    """The studies that paths name: files that are images, and folders, with all that lies under them.

    Raises:
        MissingFileError: a path leads nowhere.
        UserError: see `find_units`.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            found.append(examine_folder(path, spatial_dims))
        elif path.exists():
            file = path.parent.resolve() / path.name
            found.append(studies_of(Unit(file, (file, *(companions(file) if spatial_dims == 3 else ()))), spatial_dims))
        else:
            raise MissingFileError(f"There is no file or folder {path}: check its path.")
    return Found(
        [study for each in found for study in each.studies], [refusal for each in found for refusal in each.refusals]
    )
