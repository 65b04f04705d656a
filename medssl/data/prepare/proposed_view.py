"""What a network may best see of the images, proposed from the images themselves, as nnU-Net's fingerprint does.

The spacing of volumes is the median of theirs, by their headers, before any is read; the box and the window follow from
what was stored. Whoever knows better says so: `--spacing`, `--crop`, `--window`.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medssl.errors import UserError
from medssl.readers import Unit
from medssl.readers.headers import volume_headers
from medssl.readers.modalities import STATES_NOTHING, are_of_one_kind

from ..store import StoreSettings, read_settings
from .examine import Outcome

if TYPE_CHECKING:
    from medssl.transforms import View

BUDGET = 128 * 128 * 32
"""Voxels of a box, about what 3D networks are trained on in 16 GB."""
COARSE = 3
"""So many times the other sides, that of voxels' longest one is no measure for the others."""
MOST_HEADERS = 200
"""Inputs whose headers are read for the spacing; a median needs no more."""
AS_GOOD = 1.2
"""Times of a spacing by which another one is no reason to make a store anew."""
NO_WINDOW = "none"
Window = str | Sequence[float]


def check_view(spatial_dims: int, crop: Sequence[int] | None, window: Window | None) -> None:
    """Whether a view can be asked for like this; see `propose_view`.

    Raises:
        UserError: it cannot.
    """
    if spatial_dims == 2 and (crop or window):
        raise UserError("crop and window (--crop, --window) are for volumes (--dims 3): of radiographs say the --size.")
    if crop and (len(crop) != 3 or min(crop) < 1):
        raise UserError(f"crop (--crop) must be three sides of a box in voxels, such as 128 128 32, not {list(crop)}.")
    if crop or window:
        from medssl.transforms import View

        View(3, tuple(crop or (8, 8, 8)), None if window == NO_WINDOW else window)  # raises for what means nothing


def stored_spacing(output: Path) -> list[float] | None:
    """The spacing that a folder's store has already; None where there is none, or of radiographs."""
    try:
        return read_settings(output).get("spacing")
    except UserError:
        return None


def spacing_of_headers(units: Sequence[Unit], modality: str, workers: int | None) -> list[float]:
    """The spacing for inputs of which nothing is read yet: of a modality, by default of that which most state."""
    some = units[:: max(1, -(-len(units) // MOST_HEADERS))]
    with ThreadPoolExecutor(workers) as pool:
        headers = [header for found in pool.map(volume_headers, some) for header in found]
    stated = Counter(sorted(header.modality for header in headers if header.modality not in STATES_NOTHING))
    modality = modality.upper() or max(stated, key=lambda name: stated[name], default="")
    sides = [header.sides for header in headers if are_of_one_kind(header.modality, modality)]
    return typical_spacing(np.array(sides)) if sides else [1.0, 1.0, 5.0]


def typical_spacing(sides: np.ndarray) -> list[float]:
    """The median of voxels' sides [N, 3] in mm; of a coarse axis the finest tenth, as nnU-Net does, to lose less."""
    spacing = np.median(sides, axis=0)
    coarse = int(spacing.argmax())
    others = np.delete(spacing, coarse).max()
    if spacing[coarse] > COARSE * others:
        spacing[coarse] = max(np.percentile(sides[:, coarse], 10), others)
    return [float(f"{side:.3g}") for side in spacing]


def other_spacing(settings: StoreSettings, images: Sequence[Outcome]) -> list[str]:
    """A note where the volumes suggest another spacing than their store was made with."""
    kept, suggested = np.array(settings["spacing"]), typical_spacing(_sides(images))
    if (kept < 0).any() or (np.maximum(kept / suggested, suggested / kept) <= AS_GOOD).all():
        return []
    return [
        f"The store has a spacing of {' '.join(f'{side:g}' for side in kept)} mm, and its volumes suggest another: "
        f"--spacing {' '.join(f'{side:g}' for side in suggested)} would make it anew."
    ]


def propose_view(
    settings: StoreSettings, modality: str, images: Sequence[Outcome], crop: Sequence[int] | None, window: Window | None
) -> "View":
    """The view of a store's images.

    Args:
        settings: of the store.
        modality: of the images.
        images: those that are used.
        crop: voxels of the box along X, Y, Z; None takes what their sizes suggest.
        window: two numbers in HU, a name, or ``none`` for each image's own mean and deviation; None takes what the
            tissue in CT suggests, and ``none`` for all else.
    """
    from medssl.transforms import View

    if settings["spatial_dims"] == 2:
        return View(2, tuple(settings["size"]), modality=modality)
    own, kept = _sides(images), np.array(settings["spacing"])
    stored = np.where(kept > 0, kept, own)
    voxels = np.array([image.shape for image in images]) * own / stored
    crop = crop or _box(np.median(voxels, axis=0), np.median(stored, axis=0))
    if window is None and modality == "CT":
        window = _window([image.tissue for image in images if image.tissue])
    window = None if window == NO_WINDOW else window
    return View(3, tuple(crop), window, tuple(settings["spacing"]), modality)


def _sides(images: Sequence[Outcome]) -> np.ndarray:
    return np.array([image.spacing for image in images])


def _box(voxels: np.ndarray, spacing: np.ndarray) -> list[int]:
    """Sides of a box within a volume: all of it, the longest side in mm shortened until it holds few enough voxels.

    Sides are multiples of 16, and of 8 where the volume has less than 32.
    """
    step = np.where(voxels < 32, 8, 16)
    box = np.maximum(voxels // step, 1).astype(int) * step
    while box.prod() > BUDGET:
        longest = int(np.where(box > step, box * spacing, 0).argmax())
        box[longest] -= step[longest]
    return box.tolist()


def _window(tissue: Sequence[Sequence[float]]) -> Window | None:
    """HU about the middle of what is denser than air and lung.

    Once and a half the range of its middle half to either side: that is near a radiologist's window of the brain for
    heads, and of soft tissue for trunks and limbs, while the 0.5 and the 99.5 percentile are -890 and 500 to 1400 of
    each, by the skin's voxels that are half air, and by bone.
    """
    if not tissue:
        return None
    first, middle, third = np.median(tissue, axis=0)
    reach = 1.5 * (third - first)
    window = [round(float(middle + side * reach), -1) for side in (-1, 1)]
    return window if window[0] < window[1] else None  # CT that somebody scaled
