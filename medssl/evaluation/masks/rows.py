"""How the masks of an image agree with what was outlined: one row a class, of a table of all images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from monai.metrics.utils import get_mask_edges, get_surface_distance
from scipy import ndimage
from torch import Tensor

from medssl.errors import UserError


@dataclass(frozen=True)
class MaskRow:
    """One class in one image. What is undefined is NaN.

    Attributes:
        image: its name.
        patient: whose image it is.
        source: where it comes from, "" where nobody says.
        name: of the class.
        dice: from 0 to 1; undefined where the class neither is nor was found.
        surface_dice: share of both surfaces within the tolerance of the other one (Nikolov et al. 2021), likewise.
        hd95: the larger of the two 95th percentiles of the surfaces' distances, mm; undefined too where one is empty.
        volume: of what was outlined, ml; of a 2D image the area, cm².
        predicted_volume: of what was found.
        lesions: connected components outlined; undefined, as the two below, unless the class is counted by lesions.
        found_lesions: those of them that were found.
        false_lesions: connected components found where there is no lesion.
    """

    image: str
    patient: str
    source: str
    name: str
    dice: float
    surface_dice: float
    hd95: float
    volume: float
    predicted_volume: float
    lesions: float
    found_lesions: float
    false_lesions: float


class MaskMeasures:
    """The rows of an image: every class that is known in all its voxels, the others have none.

    Args:
        names: of the C classes.
        tolerance: how far apart two surfaces may be and still agree, mm; of all classes, or by name.
        lesions: names of the classes that are counted by lesions (connected components, corners included).
        overlap: the share of its voxels from which on a lesion counts as found; a component that was found is false
            where less than that share of it was outlined. From above 0 to 1.
        surfaces: whether surfaces are compared, which takes nearly all the time; without, surface Dice and HD95 are
            undefined.

    Raises:
        UserError: for a name that is no class, a class without tolerance, or numbers out of these ranges.
    """

    def __init__(
        self,
        names: Sequence[str],
        tolerance: float | Mapping[str, float] = 2.0,
        lesions: Sequence[str] = (),
        overlap: float = 0.1,
        surfaces: bool = True,
    ) -> None:
        self.names, self.lesions, self.overlap = list(names), list(lesions), overlap
        self.surfaces = surfaces
        by_name = tolerance if isinstance(tolerance, Mapping) else dict.fromkeys(names, tolerance)
        if wrong := [name for name in (*lesions, *by_name) if name not in names]:
            raise UserError(f"{wrong[0]!r} is none of the classes {', '.join(names)}.")
        if missing := [name for name in names if name not in by_name]:
            raise UserError(f"tolerance says nothing of {missing[0]!r}: give one number, or one for each class.")
        if not 0 < overlap <= 1 or min(by_name.values(), default=0) < 0:
            raise UserError(
                f"overlap {overlap} must be above 0 and at most 1, and a tolerance of {tolerance} at least 0."
            )
        self.tolerances = [float(by_name[name]) for name in names]

    def __call__(
        self,
        predicted: Tensor | np.ndarray,
        targets: Tensor | np.ndarray,
        spacing: Sequence[float],
        image: str,
        patient: str,
        source: str = "",
    ) -> list[MaskRow]:
        """Compare the masks of an image.

        Args:
            predicted: ``[C, *spatial]`` (bool).
            targets: ``[C, *spatial]`` of 1, 0 and NaN (unknown).
            spacing: sides of a voxel along the axes, mm; of ones where nobody knows, and distances are in pixels then.
            image: its name.
            patient: whose image it is.
            source: where it comes from.

        Raises:
            UserError: when the shapes are not the same, or are not of these classes and this spacing.
        """
        if predicted.shape != targets.shape or len(targets) != len(self.names) or len(spacing) != targets.ndim - 1:
            raise UserError(
                f"{image}: masks {list(predicted.shape)}, targets {list(targets.shape)}, {len(self.names)} classes and "
                f"a spacing of {len(spacing)} axes do not fit."
            )
        rows = []
        for number, name in enumerate(self.names):
            truth = _array(targets[number])
            if not np.isnan(truth).any():
                values = self._measure(_array(predicted[number]) > 0, truth == 1, spacing, number)
                rows.append(MaskRow(image, patient, source, name, **values))
        return rows

    def _measure(self, found: np.ndarray, truth: np.ndarray, spacing: Sequence[float], number: int) -> dict[str, float]:
        # Distances and components need the box that holds both masks, which mostly is a small part of a volume.
        box = next(iter(ndimage.find_objects((found | truth).astype(np.uint8))), (slice(0),) * truth.ndim)
        found, truth = found[box], truth[box]
        voxel = float(np.prod(spacing)) / {2: 100, 3: 1000}[truth.ndim]
        dice, surface_dice, hd95 = _agreement(found, truth, spacing, self.tolerances[number] if self.surfaces else None)
        lesions = found_lesions = false_lesions = np.nan
        if self.names[number] in self.lesions:
            lesions, found_lesions = _covered_lesions(truth, found, self.overlap)
            components, true_lesions = _covered_lesions(found, truth, self.overlap)
            false_lesions = components - true_lesions
        return {
            "dice": dice,
            "surface_dice": surface_dice,
            "hd95": hd95,
            "volume": voxel * int(truth.sum()),
            "predicted_volume": voxel * int(found.sum()),
            "lesions": lesions,
            "found_lesions": found_lesions,
            "false_lesions": false_lesions,
        }


def _array(mask: Tensor | np.ndarray) -> np.ndarray:
    return mask.detach().cpu().numpy() if isinstance(mask, Tensor) else mask


def _agreement(
    found: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance: float | None
) -> tuple[float, float, float]:
    """Dice, surface Dice and HD95."""
    if not found.any() or not truth.any():
        nothing = 0.0 if found.any() or truth.any() else np.nan
        return nothing, np.nan if tolerance is None else nothing, np.nan
    dice = 2 * int((found & truth).sum()) / (int(found.sum()) + int(truth.sum()))
    if tolerance is None:
        return dice, np.nan, np.nan
    # MONAI's metrics of both would look for the same distances twice.
    ones, others = get_mask_edges(found, truth, crop=False)
    there, back = (get_surface_distance(*pair, spacing=spacing) for pair in ((ones, others), (others, ones)))
    surface_dice = float((np.concatenate([there, back]) <= tolerance).mean())
    return dice, surface_dice, float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _covered_lesions(mask: np.ndarray, other: np.ndarray, overlap: float) -> tuple[float, float]:
    """How many components a mask has, and of how many at least the share ``overlap`` lies in the other mask."""
    labelled, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    sizes, hits = (np.bincount(voxels, minlength=count + 1)[1:] for voxels in (labelled[mask], labelled[mask & other]))
    return float(count), float((hits >= overlap * sizes).sum())
