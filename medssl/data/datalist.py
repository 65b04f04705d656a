"""The datalist with the store beside it: which images there are, and how they were prepared."""

from functools import cached_property
from typing import TYPE_CHECKING

from .datalist_file import SPLITS, DatalistFile, write_datalist
from .store import StoreSettings, read_settings

if TYPE_CHECKING:
    from medssl.transforms import View

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
