"""The store: the folder of prepared images beside a datalist, how they were prepared, and both as `Datalist`.

``store/store.json`` says the latter; ``store/ab/cdef….b2nd`` are the images, named by what they show, so that the same
image prepared twice is one file (see `medssl.transforms.write_stored` for the format).
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from medssl.errors import MissingFileError, UserError
from medssl.files import remove_half_written, write_json

from .datalist_file import DatalistFile

if TYPE_CHECKING:
    from medssl.transforms import View

STORE = "store"
_SETTINGS, _CONTENTS = "store.json", "contents.json"


class StoreSettings(TypedDict, total=False):
    """How the images of a store were prepared.

    ``spatial_dims`` is 2 or 3; ``size`` the [rows, columns] of every radiograph; ``spacing`` the sides of a volume's
    voxels along x, y, z in mm, where -1 means each file's own; ``modality`` what the images are, as DICOM calls it
    (``DX``, ``CT``, …), "" where nobody says; ``view`` what a network best sees of them, see `medssl.transforms.View`
    (stores of the first edition have none).
    """

    spatial_dims: int
    size: list[int]
    spacing: list[float]
    modality: str
    view: dict[str, Any]


def check_settings(spatial_dims: int, size: Sequence[int], spacing: Sequence[float]) -> StoreSettings:
    """The settings of a new store.

    Raises:
        UserError: a number that no store can be made with.
    """
    if spatial_dims not in (2, 3):
        raise UserError(f"spatial_dims (--dims) must be 2 (radiographs) or 3 (volumes), not {spatial_dims}.")
    if spatial_dims == 2:
        if len(size) != 2 or min(size) < 8:
            raise UserError(
                f"size (--size) must be rows and columns of 8 pixels or more, such as 224 224, not {list(size)}."
            )
        return {"spatial_dims": 2, "size": [int(side) for side in size]}
    if len(spacing) != 3 or not all(side > 0 or side == -1 for side in spacing):
        raise UserError(f"spacing (--spacing) must be three sides in mm, -1 for each file's own, not {list(spacing)}.")
    return {"spatial_dims": 3, "spacing": [float(side) for side in spacing]}


def write_settings(output: Path, settings: StoreSettings) -> None:
    """Write ``store/store.json`` below the folder of the datalist."""
    write_json(output / STORE / _SETTINGS, settings)


def read_settings(folder: Path) -> StoreSettings:
    """Read ``store/store.json`` below the folder of the datalist.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is none of ours.
    """
    path = folder / STORE / _SETTINGS
    if not path.is_file():
        raise MissingFileError(f"There is no {path}: `medssl prepare` writes datalist and store together.")
    try:
        settings: StoreSettings = json.loads(path.read_text(encoding="utf-8"))
        complete = ("size" if settings["spatial_dims"] == 2 else "spacing") in settings
    except (ValueError, KeyError, TypeError):  # no JSON, or none of ours
        complete = False
    if not complete:
        raise UserError(f"{path} is damaged: run `medssl prepare` again; it keeps the images that are there.")
    return settings


def write_contents(output: Path, contents: Mapping[str, str]) -> None:
    """Write ``store/contents.json``: which image of the store shows what.

    Args:
        output: folder of the datalist.
        contents: image, relative to ``output`` → digest of what was read from its file.
    """
    inside = {path.removeprefix(f"{STORE}/"): content for path, content in sorted(contents.items())}
    write_json(output / STORE / _CONTENTS, inside)


def read_contents(store: Path) -> dict[str, str]:
    """What `write_contents` wrote into a store: image, relative to the store → digest; empty where it wrote nothing.

    Raises:
        UserError: it is damaged.
    """
    path = store / _CONTENTS
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: run `medssl prepare` again; it keeps what is there.") from error


def remove_unnamed(output: Path, named: set[str]) -> None:
    """Remove prepared images that no source names any more, and what killed runs left half-written.

    Args:
        output: folder of the datalist.
        named: the images to keep, relative to ``output``.
    """
    for path in (output / STORE).glob("??/*.b2nd"):
        if path.relative_to(output).as_posix() not in named:
            path.unlink()
    remove_half_written(output)


class Datalist(DatalistFile):
    """A datalist, read and checked once by `Datalist.read`, and the store of its prepared images.

    That may be missing, as beside a datalist that somebody wrote by hand.
    """

    @cached_property
    def settings(self) -> StoreSettings:
        """How the images were prepared, as the store beside the datalist says.

        Raises:
            MissingFileError: there is no store, as beside a datalist that somebody wrote by hand.
            UserError: what says it is damaged.
        """
        return read_settings(self.path.parent)

    def view(self) -> "View":
        """What a network sees of the images where nobody says otherwise, as `medssl prepare` proposed it.

        Raises:
            MissingFileError, UserError: see `settings`.
        """
        from medssl.transforms import View  # torch and MONAI, which `prepare` need not wait for to find a mistake

        settings = self.settings
        if "view" in settings:
            return View.from_dict(settings["view"], f"The store of {self.path}")
        # Stores of the first edition say nothing: what its bundles had for a default.
        modality = settings.get("modality", "")
        if settings["spatial_dims"] == 2:
            return View(2, tuple(settings["size"]), modality=modality)
        right, front, head = settings["spacing"]
        window = (-200.0, 300.0) if modality in ("CT", "") else None
        return View(3, (128, 128, 32), window, (right, front, head), modality)
