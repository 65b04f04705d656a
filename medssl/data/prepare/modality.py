"""The modality of a store: one for all its images, as their files, their tables or the user state it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from medssl.readers.modalities import STATES_NOTHING, are_of_one_kind

from .outcomes import Outcomes, images_of
from .rows import Rows

OTHER_MODALITY = "other modality"
AIR = -200.0
"""HU; volumes that reach lower are taken for CT, since other modalities have no values for air and fat below 0."""


def settle_modality(
    rows: Rows, outcomes: Outcomes, wanted: str, of_sources: Sequence[str], spatial_dims: int
) -> tuple[Rows, str, list[str]]:
    """Choose the modality of a store, and set aside images of another kind.

    Args:
        rows: of the images.
        outcomes: theirs.
        wanted: what the user says; "" takes that of most images that state one, or what the values of volumes show.
        of_sources: what each source or its table says of images whose files state nothing.
        spatial_dims: 2 or 3.

    Returns:
        The rows; the modality, as DICOM calls it, "" where nobody knows it; and notes.
    """
    of_places = rows["place"].map(dict(enumerate(of_sources))).astype(object)
    stated = rows["modality"].str.upper()
    stated = stated.where(~stated.isin(STATES_NOTHING), of_places.str.upper())
    known = rows.used & (stated != "").to_numpy()
    counts = Counter(sorted(stated[known]))
    kinds = {name: sum(counts[one] for one in counts if are_of_one_kind(one, name)) for name in counts}
    modality = wanted.upper() or max(counts, key=lambda name: (kinds[name], counts[name]), default="")
    notes = []
    if not modality and spatial_dims == 3 and rows.used.any():
        modality, note = _judged_by_values([image.lowest for image in images_of(rows, outcomes)])
        return rows, modality, [note]
    others = [name for name in counts if not are_of_one_kind(name, modality)]
    other = known & stated.isin(others).to_numpy()
    if other.any():
        counted = ", ".join(f"{counts[name]} {name}" for name in others)
        notes.append(
            f"The store's images are {modality}, and {counted} {'is' if other.sum() == 1 else 'are'} set aside: "
            "prepare other modalities apart, each with --modality."
        )
    silent = int((rows.used & ~known).sum())
    if silent and known.any() and not wanted:
        notes.append(f"{silent} {'image states' if silent == 1 else 'images state'} no modality: taken for {modality}.")
    detail = "it is " + stated + f", and the store's images are {modality}"
    return rows.set_aside(other, OTHER_MODALITY, detail), modality, notes


def _judged_by_values(lowest_values: Sequence[float]) -> tuple[str, str]:
    lowest = np.median(lowest_values)
    if lowest < AIR:
        return "CT", f"No file states its modality: taken for CT, for the values reach down to {lowest:.0f}."
    return "", (
        f"No file states its modality, and the values reach down to {lowest:.0f} only, which does not look like HU: "
        "say what the volumes are with --modality, such as CT or MR."
    )
