"""The datalist with the store beside it: which images there are, and how they were prepared."""

from functools import cached_property
from pathlib import Path
from typing import Any

from medssl.errors import UserError
from medssl.transforms import View

from .datalist_file import SPLITS, DatalistFile, write_datalist
from .store import StoreSettings, read_settings

__all__ = ["SPLITS", "Datalist", "write_datalist"]


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

    def view(self) -> View:
        """What a network sees of the images where nobody says otherwise, as `medssl prepare` proposed it.

        Raises:
            MissingFileError, UserError: see `settings`.
        """
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


def read_datalist(path: str | Path, split: str, check_files: bool = True) -> list[dict[str, Any]]:
    """For callers of the first edition: `Datalist.items`."""
    return Datalist.read(path).items(split, check_files)


def read_labels(path: str | Path) -> list[str]:
    """For callers of the first edition: `Datalist.labels`."""
    return Datalist.read(path).labels


def read_exclusive(path: str | Path) -> bool:
    """For callers of the first edition: `Datalist.exclusive`."""
    return Datalist.read(path).exclusive


def store_settings(path: str | Path, spatial_dims: int | None = None) -> StoreSettings:
    """For callers of the first edition: `Datalist.settings`."""
    settings = Datalist.read(path).settings
    if spatial_dims not in (None, settings["spatial_dims"]):
        kind = {2: "2D images", 3: "volumes"}
        raise UserError(
            f"{path} is of {kind[settings['spatial_dims']]}, and {kind[spatial_dims]} are needed: take the "
            f"bundle for the former, or prepare the latter with --dims {spatial_dims}."
        )
    return settings
