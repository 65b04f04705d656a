"""What the values of an image say: whether it is a scan at all, whether they may be HU, and which are extreme.

A folder of scans may hold their masks as well, as those of TotalSegmentator, KiTS and LiTS do, and volumes that were
scaled to 0..1. The thresholds were set by real label maps (TotalSegmentator's, the hippocampus of the Medical
Segmentation Decathlon, sarcomas; also at a quarter of their resolution) and by the scans beside them, whole, windowed,
smoothed and reduced to 256, 32, 16 and 8 grey values: none of the latter is refused.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from medssl.errors import UnusableImageError

from .extreme_values import limit_extremes, spread_sample
from .reading import Reading

HU_STEP = 0.5
FAT = -50.0  # HU; what a CT holds besides is air, which is lower
MOST_LABELS, HIGHEST_LABEL = 1000, 255
MANY_LABELS = 33  # no drawn phantom has as many tissues
FEW_LABELS = 4  # too few to tell a label map from a scan by its borders
FLAT, VERY_FLAT = 0.85, 0.95
"""Share of neighbours within the structures of a map that are equal.

Label maps have 0.98 and more, one of 62 labels at a quarter of its resolution 0.88; scans of 256 grey values have up to
0.53, of 16 up to 0.94, of 4 up to 0.97.
"""
SHARP = 0.25
"""Share of unequal neighbours that are not next to each other among an image's values; label maps have 0.5 and more,
flat scans up to 0.2."""
SATURATED, BETWEEN = 0.03, 0.05  # of the range, at either end; share of a smoothed mask's pixels that lie between
PLANES, ENOUGH = 16, 1000  # that are looked at for neighbours; pairs of them that tell enough
FEWEST_STEPS = 10  # voxels' sides that a map of distances ranges over


def judge(reading: Reading, name: str, keep_masks: bool = False) -> Reading:
    """Judge an image by its values.

    Args:
        reading: the image.
        name: of its file, for the sentence.
        keep_masks: note what looks like a mask and keep it, for images that somebody means to be images: that a table
            labels (AdrenalMNIST3D's are shapes of two values), or that a trained network is to see.

    Returns:
        The image, as a rule the same. Isolated extreme values are limited where they would coarsen what is stored, and
        notes say what the values are not: HU, or a scan.

    Raises:
        UnusableImageError: ``mask`` or ``label map``; the sentence names the file.
    """
    suspect = _suspect(reading.values) or _distance_map(reading)
    if suspect and suspect.is_sure and not keep_masks:
        sentence = (
            f"{name} {suspect.words}, as a {suspect.kind} does: leave it out, or label it in a table if it is a scan."
        )
        raise UnusableImageError(suspect.kind, sentence)
    may_be_ct = reading.affine is not None and reading.modality in ("", "CT")
    is_hu = may_be_ct and looks_like_hu(reading.values)
    values, limited = limit_extremes(reading.values, HU_STEP if is_hu else None)
    notes = [*reading.notes, *limited]
    if suspect:
        notes.append(f"it {suspect.words}, as a {suspect.kind} does")
    elif may_be_ct and not is_hu:
        notes.append(_unlike_hu(values))
    return replace(reading, values=values, notes=tuple(notes))


def looks_like_hu(values: np.ndarray) -> bool:
    """Whether a volume has as low values as air and fat have in HU; an MR or a scaled volume has none."""
    return bool(np.quantile(spread_sample(values), 0.005) <= FAT)


def _unlike_hu(values: np.ndarray) -> str:
    low, high = float(values.min()) + 0.0, float(values.max())  # no -0
    said = f"values from {low:.4g} to {high:.4g}"
    if low >= -1.1 and high <= 1.1:  # interpolation overshoots
        return f"{said} are no HU: the volume was scaled, or is a map of probabilities"
    if low >= 0 and high <= 255:
        return f"{said} are no HU but grey values of 8 bits"
    return f"{said} may be no HU: nothing in it is as low as fat or air"


class _Suspect(NamedTuple):
    kind: str
    words: str
    is_sure: bool


def _suspect(values: np.ndarray) -> _Suspect | None:
    """Which kind of map an image may be; None of a scan, and of a constant image."""
    low, high = float(values.min()), float(values.max())
    sample = spread_sample(values)
    if low == high or values.size < 2:
        return None
    if all(((part == low) | (part == high)).all() for part in (sample, values)):
        return _Suspect("mask", f"holds two values only ({low:g} and {high:g})", low >= 0)
    if values.ndim == 2 and _is_saturated(sample, low, high):
        return _Suspect("mask", f"is nearly everywhere about {low:g} or {high:g}", True)
    return _label_map(values, sample, low)


def _is_saturated(sample: np.ndarray, low: float, high: float) -> bool:
    """A mask that was resized, or saved as JPEG."""
    margin = SATURATED * (high - low)
    dark, bright = np.mean(sample <= low + margin), np.mean(sample >= high - margin)
    return bool(dark + bright >= 1 - BETWEEN and min(dark, bright) > BETWEEN)


def _label_map(values: np.ndarray, sample: np.ndarray, low: float) -> _Suspect | None:
    is_whole, labels = np.array_equal(sample, np.rint(sample)), np.unique(sample)
    if low < -1 or len(labels) > (MOST_LABELS if is_whole else MANY_LABELS):
        return None
    line = values.reshape(-1)
    pairs = spread_sample(line[:-1]), spread_sample(line[1:])
    count, flat, _ = _borders(*pairs, np.unique(pairs))
    if count >= ENOUGH and flat < FLAT / 2:
        return None
    # Most of the structures lie in few planes; labels may well be missing in all others.
    volume = values if values.ndim == 3 else values[None]
    fullest = np.argsort(-np.count_nonzero(volume > low, axis=(1, 2)), kind="stable")[:PLANES]
    planes = volume[np.sort(fullest)]
    labels = np.unique(planes)
    here, beside = (
        np.concatenate([part.ravel() for part in parts])
        for parts in ((planes[:, 1:], planes[:, :, 1:]), (planes[:, :-1], planes[:, :, :-1]))
    )
    _, flat, sharp = _borders(here, beside, labels)
    if flat < (VERY_FLAT if len(labels) <= FEW_LABELS else FLAT):
        return None
    if is_whole and not np.array_equal(values, np.rint(values)):
        return None
    words = f"holds {len(labels)} values from {labels[0]:.4g} to {labels[-1]:.4g} in flat regions"
    usual = is_whole and (labels[-1] <= HIGHEST_LABEL or len(labels) >= MANY_LABELS)
    return _Suspect("label map", words, usual and (flat >= VERY_FLAT or sharp >= SHARP))


def _borders(here: np.ndarray, beside: np.ndarray, labels: np.ndarray) -> tuple[int, float, float]:
    """How many of neighbours [N] lie within structures, the share of equal ones, and of the others the sharp borders.

    Background does not count, nor, of more than a few values, the highest, at which a scan may be saturated.
    """
    highest = labels[-1] if len(labels) > FEW_LABELS else np.inf
    inner = (here > labels[0]) & (beside > labels[0]) & (here < highest) & (beside < highest)
    here, beside = here[inner], beside[inner]
    unequal = here != beside
    steps = np.searchsorted(labels, here[unequal]) - np.searchsorted(labels, beside[unequal])
    sharp = float(np.mean(np.abs(steps) > 1)) if len(steps) else 1.0
    return len(here), 1 - len(steps) / max(len(here), 1), sharp


def _distance_map(reading: Reading) -> _Suspect | None:
    """A distance hardly ever changes by more than a voxel's side from one voxel to the next."""
    if reading.affine is None or min(reading.values.shape) < 2:
        return None
    sides = np.maximum(np.linalg.norm(reading.affine[:3, :3], axis=0), 1.0)  # they may count voxels
    planes = reading.values[:: -(-len(reading.values) // PLANES)]
    if np.ptp(planes) < FEWEST_STEPS * sides.min():
        return None
    steps = (np.abs(np.diff(planes, axis=axis)).max() / sides[axis] for axis in (1, 2))
    if any(step > 2.001 for step in steps):  # 2 at the border, where signed ones go from -1 to 1
        return None
    return _Suspect("distance map", "changes by a voxel's side at most from one voxel to the next", False)
