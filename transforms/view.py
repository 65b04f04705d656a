"""What a network sees of an image: its size, grey values and spacing, and the transforms that make it so.

One `View` goes from `prepare`, which proposes it, through training into what stands beside the weights, and rules
whatever is done with them later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Self

import torch
from monai.transforms import Compose, EnsureTyped, NormalizeIntensityd, ScaleIntensityRanged, SpatialPadd
from torch import Tensor

from medssl.errors import UserError

from .accounted import Accounted
from .covering import CoveringBoxesd
from .crops_about import CropsAboutd, PlacesInWorldd
from .load_radiograph import ResizeRadiographd
from .load_volume import ResampleVolumed
from .original_grid import KeepGridd
from .stored import LoadStoredd, MiddleStoredCropd, RandStoredCropsd, ReorderBitsd, StoredBoxesd

WINDOWS = {"lung": (-1350.0, 150.0), "soft_tissue": (-160.0, 240.0), "brain": (0.0, 80.0), "bone": (-500.0, 1300.0)}
"""Windows of CT by name, in HU: those of centre and width −600 1500, 40 400, 40 80, 400 1800."""


@dataclass(frozen=True, init=False)
class View:
    """What a network sees of an image.

    Args:
        spatial_dims: 2 (radiographs) or 3 (volumes).
        image_size: [rows, columns] of the whole radiograph; voxels of a box of a volume.
        window: of a volume, in the file's units (HU), which become −1 … 1; two numbers or a name of `WINDOWS`. None
            for radiographs and for volumes whose units mean nothing: these get mean 0 and standard deviation 1.
        spacing: sides of a volume's voxels along X, Y, Z in mm, where −1 keeps the file's own; None for radiographs.
        modality: of the images, as DICOM calls it (`DX`, `CT`, `MR`, …); "" where nobody says.

    Raises:
        UserError: for values that mean nothing; names them.
    """

    spatial_dims: int
    image_size: tuple[int, ...]
    window: tuple[float, float] | None
    spacing: tuple[float, ...] | None
    modality: str

    def __init__(
        self,
        spatial_dims: int,
        image_size: Sequence[int],
        window: Sequence[float] | str | None = None,
        spacing: Sequence[float] | None = None,
        modality: str = "",
    ) -> None:
        vars(self).update(
            spatial_dims=spatial_dims,
            image_size=_image_size(spatial_dims, image_size),
            window=_window(spatial_dims, window),
            spacing=None if spacing is None else tuple(map(float, spacing)),
            modality=modality,
        )

    @classmethod
    def from_dict(cls, description: Mapping[str, Any], source: str = "The description") -> Self:
        """The view that a description holds, such as that of a model; what else stands in it does not count.

        Args:
            description: with `image_size` at least.
            source: where it is from, for the message.

        Raises:
            UserError: it says nothing of the image size, or what means nothing.
        """
        if not description.get("image_size"):
            raise UserError(f"{source} does not say what the network sees: it has no image_size.")
        network = description.get("network") or {}
        axes = description.get("spatial_dims") or network.get("spatial_dims") or len(description["image_size"])
        values: dict[str, Any] = {field.name: description.get(field.name) for field in fields(cls)}
        return cls(**{**values, "spatial_dims": int(axes), "modality": str(description.get("modality") or "")})

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a description: plain numbers, lists and words; what does not apply is left out."""
        described = {
            "spatial_dims": self.spatial_dims,
            "image_size": list(self.image_size),
            "intensity": self.intensity,
            "modality": self.modality,
        }
        volume = {"spacing": self.spacing, "window": self.window}
        return described | {name: list(value) for name, value in volume.items() if value is not None}

    @property
    def intensity(self) -> str:
        """What becomes of the grey values, in words."""
        if self.window is None:
            return "each image minus its mean, over its standard deviation"
        return "the window of HU mapped to -1 .. 1"

    @property
    def fill(self) -> float:
        """The value, in the file's units, of what lies outside an image."""
        return self.window[0] if self.window else 0.0

    def differences(self, other: "View", but: Sequence[str] = ()) -> list[str]:
        """In which this one differs from another, one phrase a property; a modality that is not stated does not.

        Args:
            other: the other view.
            but: properties that may differ.
        """
        names = [field.name for field in fields(self) if field.name not in but]
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in names]
        return [
            f"{name} {_shown(own)} instead of {_shown(value)}"
            for name, own, value in pairs
            if own != value and (name != "modality" or (own and value))
        ]

    def stored(self, crops: str = "middle", masks: bool = False, seen: bool = True) -> Compose:
        """From an item whose `image` is a prepared file to the tensor [N, *image_size]; nothing is random.

        Args:
            crops: of a volume `middle`, the box about its middle, or `several`, the N boxes that cover it. A radiograph
                is always seen whole.
            masks: load `mask`, too, as whole numbers of the same boxes; see `known_targets`.
            seen: with the grey values that the network sees; otherwise in the file's units, and `grey_values` makes
                them of a whole batch on its device, in a fraction of the time.
        """
        keys = _keys(masks)
        load: Any = LoadStoredd(keys, self.image_size)
        if self.spatial_dims == 3:
            boxes = StoredBoxesd if crops == "several" else MiddleStoredCropd
            load = boxes(keys, self.image_size, self.fill)
        return self._seen(load, masks, seen)

    def random_crops(self, samples: int = 1, masks: bool = False, foreground: float = 0.0) -> Compose:
        """As `stored`, but `samples` random boxes of a volume, as a list of items.

        Args:
            samples: boxes of each volume.
            masks: load `mask`, too.
            foreground: share of boxes that lie about a voxel of a class that was `outlined`, see `RandStoredCrops`.

        Raises:
            UserError: for several crops of a radiograph, which is always seen whole.
        """
        if self.spatial_dims == 2:
            if samples != 1:
                raise UserError(f"crops_per_volume is {samples}, but a radiograph is always seen whole: leave it out.")
            return self.stored(masks=masks)
        crops = RandStoredCropsd(_keys(masks), self.image_size, samples, self.fill, foreground=foreground)
        return self._seen(crops, masks)

    def whole(self, masks: bool = False) -> Compose:
        """From an item whose `image` is a prepared file to the whole image [1, *spatial], in the file's units.

        `grey_values` makes of a box of it what a network sees, as `medssl.evaluation.WindowInferer` does.

        Args:
            masks: load `mask`, too.
        """
        load = LoadStoredd(_keys(masks), self.image_size if self.spatial_dims == 2 else None)
        bits = [ReorderBitsd("mask")] if masks else []
        return Compose([load, *bits, EnsureTyped("image", track_meta=False)])

    def grey_values(self, boxes: Tensor) -> Tensor:
        """What a network sees of boxes `[B, 1, *spatial]` in the file's units, each by itself, as in training."""
        if self.window is not None:
            low, high = self.window
            return ((boxes - low) * (2 / (high - low)) - 1).clamp(-1, 1)
        axes = tuple(range(1, boxes.ndim))
        spread, mean = torch.std_mean(boxes, dim=axes, correction=0, keepdim=True)
        return (boxes - mean) / torch.where(spread > 0, spread, 1)

    def files(self, crops: str = "middle") -> Accounted:
        """From an item whose `image` is a `medssl.readers.Study` to what `stored` would give of it, once prepared.

        Args:
            crops: as of `stored`; or `whole` for the whole volume, padded to the network's box where it is smaller, and
                with the grids of the file (`original`) and of what is seen (`seen`), see `KeepGridd`. Where there is no
                window of HU its values are left to `MaskInferer`, which normalises each box as training does.
        """
        if crops == "whole":
            return self._accounted(self._of_whole_file())
        if self.spatial_dims == 2:
            steps: list[Any] = [ResizeRadiographd("image", self.image_size), *self._grey_values()]
        else:
            boxes = CoveringBoxesd("image", self.image_size, crops, self.fill)
            steps = [ResampleVolumed("image", self.spacing or (-1, -1, -1)), boxes, *self._grey_values()]
        return self._accounted(steps)

    def about(self, space: str = "voxel", side: float | None = None) -> Accounted:
        """As `files`, but the crops about the N `places` of an item, ``[N, *image_size]``; see `CropsAbout`.

        Args:
            space: in which the places are given, of `medssl.transforms.crops_about.SPACES`.
            side: of the square of a radiograph, in pixels of its file.
        """
        if self.spatial_dims == 2:
            return self._accounted([CropsAboutd("image", self.image_size, side), *self._grey_values()])
        resample = [PlacesInWorldd("image", space), ResampleVolumed("image", self.spacing or (-1, -1, -1))]
        crops = CropsAboutd("image", self.image_size, side, self.fill)
        return self._accounted([*resample, crops, *self._grey_values()])

    def _of_whole_file(self) -> list[Any]:
        keep = [KeepGridd("image", name) for name in ("original", "seen")]
        if self.spatial_dims == 2:
            return [keep[0], ResizeRadiographd("image", self.image_size), keep[1], *self._grey_values()]
        resample = ResampleVolumed("image", self.spacing or (-1, -1, -1))
        pad = SpatialPadd("image", self.image_size, value=self.fill)
        return [keep[0], resample, pad, keep[1], *(self._grey_values() if self.window else ())]

    def _accounted(self, steps: list[Any]) -> Accounted:
        modality = self.modality or ("CT" if self.window else "")  # whose HU the window means
        return Accounted(Compose([*steps, EnsureTyped("image", track_meta=False)]), self.image_size, modality)

    def _seen(self, load: Any, masks: bool, seen: bool = True) -> Compose:
        bits = [ReorderBitsd("mask")] if masks else []
        grey_values = [*self._grey_values(), EnsureTyped("image", track_meta=False)] if seen else []
        return Compose([load, *bits, *grey_values])

    def _grey_values(self) -> list[Any]:
        if self.window is None:
            return [NormalizeIntensityd("image", channel_wise=True)]  # each box by itself, as in training
        return [ScaleIntensityRanged("image", *self.window, b_min=-1.0, b_max=1.0, clip=True)]


def _keys(masks: bool) -> list[str]:
    return ["image", "mask"] if masks else ["image"]


def _image_size(spatial_dims: int, size: Any) -> tuple[int, ...]:
    if spatial_dims not in (2, 3):
        raise UserError(f"spatial_dims must be 2 (radiographs) or 3 (volumes), not {spatial_dims!r}.")
    sides = list(size) if isinstance(size, Sequence) and not isinstance(size, str) else []
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides)
    if len(sides) != spatial_dims or not whole:
        example = {2: "[224,224]", 3: "[128,128,32]"}[spatial_dims]
        raise UserError(f"image_size is {size!r}, and must be {spatial_dims} whole numbers, such as {example}.")
    return tuple(sides)


def _window(spatial_dims: int, window: Any) -> tuple[float, float] | None:
    if window is None:
        return None
    if spatial_dims == 2:
        raise UserError("A window is for volumes: radiographs have no units; leave it out.")
    ends = WINDOWS.get(window) if isinstance(window, str) else window
    numbers = isinstance(ends, Sequence) and all(
        isinstance(end, int | float) and not isinstance(end, bool) and isfinite(end) for end in ends
    )
    if not numbers or ends is None or len(ends) != 2 or ends[0] >= ends[1]:
        raise UserError(
            f"window is {window!r}, and must be two numbers, the lower first, such as [-160,240], or one of "
            f"{', '.join(WINDOWS)}."
        )
    return float(ends[0]), float(ends[1])


def _shown(value: Any) -> str:
    return " × ".join(f"{side:g}" for side in value) if isinstance(value, tuple) else str(value)
