"""From a folder's DICOM files to the volumes that they form, and from one such stack of slices to an array in HU.

Real series are crooked. What can be put right is put right and noted (gantry tilt, single missing slices, copies of a
slice, several phases in one series); everything else is set aside with its reason. No file is left out silently.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from medssl.errors import UnusableImageError

from .dicom_display import modality_step, padding_limits
from .dicom_file import read_dataset
from .dicom_geometry import COSINE_TOLERANCE, SAME_PLACE, Geometry, arrange, is_even, places_along_normal, put_right
from .dicom_pixels import pixel_format, read_frames
from .dicom_slices import SEPARATING_TAGS, Slice, read_slices
from .grey_values import is_padding, rescale, stored_range
from .reading import Reading

FEWEST_SLICES = 3  # of one orientation, beside a larger one; fewer are a localiser
MAY_BE_SLICES = ("damaged", "missing tags", "wrong tags")  # reasons for which a volume may lack a slice


@dataclass(frozen=True, eq=False)
class Stack:
    """One volume that `read_stack` can read.

    Attributes:
        files: every file it is read from, in order along the normal; a multi-frame file once.
        series: its SeriesInstanceUID; empty where the files have none.
        notes: what is put right, and what else a report should say.
        modality: ``CT``, ``MR``, …; empty where the files state none.
        slices: the slices, ordered along their normal.
        geometry: how they become an even, straight box.
    """

    files: tuple[Path, ...]
    series: str
    notes: tuple[str, ...]
    modality: str
    slices: tuple[Slice, ...]
    geometry: Geometry

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels [X, Y, Z] of the volume that `read_stack` returns."""
        rows, columns = self.geometry.shape
        return columns, rows, len(self.geometry.grid)


@dataclass(frozen=True)
class SetAside:
    """A file that is part of no volume.

    Attributes:
        file: where it is.
        reason: in a word or three, one of ``damaged``, ``no image``, ``localiser``, ``secondary capture``,
            ``colour image``, ``segmentation``, ``dose``, ``frames without position``, ``missing tags``, ``wrong tags``,
            ``unreadable``, ``duplicate slice``, ``single slice``, ``other matrix``, ``slices that overlap``, ``uneven
            slices``, ``shifted slices``, ``skewed axes`` and ``several volumes``.
        detail: the same in a sentence, without the file's name.
        series: its SeriesInstanceUID; empty where it has none, or could not be read.
    """

    file: Path
    reason: str
    detail: str
    series: str = ""


Found = tuple[list[Stack], list[SetAside]]


def find_stacks(files: Sequence[Path]) -> Found:
    """Sort the DICOM files of one folder into volumes and files that belong to none.

    Only headers are read, and pixels where two slices lie at the same place. Series are kept apart by
    SeriesInstanceUID, then by orientation, then by matrix and pixel spacing; several volumes in one of these by the
    first of `SEPARATING_TAGS` that tells them apart completely.

    Args:
        files: the folder's DICOM files, damaged ones included.

    Returns:
        The volumes, and the files that are set aside; every file is in exactly one of them. A bad file raises nothing.
    """
    slices, aside = [], []
    for file in dict.fromkeys(files):
        try:
            slices += read_slices(file)
        except UnusableImageError as error:
            aside.append(SetAside(file, error.reason, str(error)))
    lost = [one.file.name for one in aside if one.reason in MAY_BE_SLICES]
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    notes = (f"a file beside it cannot be used and may be one of its slices ({lost[0]}{more})",) if lost else ()
    all_series = _grouped(slices, [f"{one.series} {one.modality}" for one in slices])
    stacks = [stack for series in all_series for stack in _from_series(series, notes, aside)]
    return _one_place_each(stacks, aside, files)


def read_stack(stack: Stack) -> Reading:
    """Decode a stack and put it right.

    Returns:
        The volume [X, Y, Z] after each slice's rescale or LUT (HU for CT), with the stack's notes. X runs along the
        slices' rows, Y down their columns, Z along their normal.

    Raises:
        UnusableImageError: a file does not decode; the sentence names it.
    """
    values = np.empty((len(stack.slices), *stack.slices[0].shape), dtype=np.float32)
    numbers: dict[Path, list[int]] = {file: [] for file in stack.files}
    for number, one in enumerate(stack.slices):
        numbers[one.file].append(number)
    notes: list[str] = []
    for own in numbers.values():
        own.sort(key=lambda number: stack.slices[number].frame)  # decoders read frames as they come
        decoded = decode_slices([stack.slices[number] for number in own], notes)
        for number, slice_values in zip(own, decoded, strict=True):
            values[number] = slice_values
    box = put_right(values, stack.geometry)
    volume = np.ascontiguousarray(box.transpose(2, 1, 0))
    return Reading(volume, stack.geometry.affine.copy(), (*stack.notes, *_counted(notes, len(numbers))), stack.modality)


def decode_slices(slices: Sequence[Slice], notes: list[str]) -> Iterator[np.ndarray]:
    """Slices of one file, ordered by frame, after their rescale or modality LUT (HU for CT).

    Args:
        slices: of the file.
        notes: to which is added what had to be assumed.

    Raises:
        UnusableImageError: ``unreadable``; the sentence names the file.
    """
    file = slices[0].file
    dataset, _ = read_dataset(file)
    form, form_notes = pixel_format(file, dataset)
    notes += form_notes
    table = None
    if slices[0].has_table:
        table, table_notes = modality_step(dataset, stored_range(form.bits_stored, form.is_signed))
        notes += table_notes
    padding = padding_limits(dataset, form.is_signed)
    frames = read_frames(file, dataset, form, [one.frame for one in slices])
    for one, (stored, _) in zip(slices, frames, strict=True):
        if stored.shape != one.shape:
            sentence = f"{file} has pixels of the shape {stored.shape} where {one.shape} is announced: copy it again."
            raise UnusableImageError("unreadable", sentence)
        values = table.apply(stored) if table else rescale(stored, one.slope, one.intercept)
        if padding and _is_bright(values, is_padded := is_padding(stored, *padding)):
            values = np.where(is_padded, values[~is_padded].min(), values)
            notes.append("bright padding made as dark as the darkest pixel of its slice")
        yield values


def _is_bright(values: np.ndarray, is_padded: np.ndarray) -> bool:
    """Whether padding is brighter than the image, as 63536 is, which stands for -2000 without its sign."""
    if is_padded.all() or not is_padded.any():
        return False
    return bool(values[is_padded].min() > values[~is_padded].mean())


def _counted(notes: Sequence[str], count: int) -> tuple[str, ...]:
    """Each note once, with how many of so many slices or files it is about, where not all."""
    return tuple(f"{note} ({of} of {count})" if of < count else note for note, of in Counter(notes).items())


def _from_series(slices: list[Slice], notes: tuple[str, ...], aside: list[SetAside]) -> Iterator[Stack]:
    """Volumes of slices that share series and modality; what belongs to none is added to those set aside."""
    oriented, few = _large_enough(_alike(slices, [one.cosines for one in slices], rtol=0, atol=COSINE_TOLERANCE))
    aside += _set_aside(few, "localiser", "It has another orientation than the rest of its series: a localiser.")
    for same_orientation in oriented:
        own = (*notes, f"one of {len(oriented)} orientations in its series") if len(oriented) > 1 else notes
        sizes = [(*one.shape, *one.spacing) for one in same_orientation]
        same_matrix, few = _large_enough(_alike(same_orientation, sizes, rtol=COSINE_TOLERANCE, atol=0))
        aside += _set_aside(few, "other matrix", "It has another matrix or pixel spacing than the rest of its series.")
        for group in same_matrix:
            yield from _from_group(group, own, aside)


def _from_group(slices: list[Slice], notes: tuple[str, ...], aside: list[SetAside]) -> Iterator[Stack]:
    """Volumes of slices that share orientation, matrix and pixel spacing as well."""
    slices, copies = _without_copies(slices, aside)
    if copies:
        notes = (*notes, f"{copies} duplicate {'slice' if copies == 1 else 'slices'} left out")
    for part, note in _separated(slices):
        corners = np.array([one.corner for one in part])
        first = part[0]
        try:
            geometry = arrange(corners, np.array(first.cosines), np.array(first.spacing), first.shape)
        except UnusableImageError as error:
            aside += _set_aside(part, error.reason, str(error))
            continue
        ordered = tuple(part[index] for index in geometry.order)
        modality = () if first.modality == "CT" else (f"modality {first.modality or 'unknown'}: values are not HU",)
        headers = _counted([said for one in ordered for said in one.notes], len(ordered))
        files = tuple(dict.fromkeys(one.file for one in ordered))
        said = (*geometry.notes, *note, *notes, *headers, *modality)
        yield Stack(files, first.series, said, first.modality, ordered, geometry)


def _without_copies(slices: list[Slice], aside: list[SetAside]) -> tuple[list[Slice], int]:
    """Leave out slices that lie at the same place as another and have its pixels, and count them."""
    kept: dict[object, Slice] = {}
    copies = 0
    for place, here in enumerate(_same_places(slices)):
        for one in here:
            try:
                content = _fingerprint(one) if len(here) > 1 else ""
            except UnusableImageError as error:
                aside.append(SetAside(one.file, error.reason, str(error), one.series))
                continue
            first = kept.setdefault((place, content), one)
            if first is not one:
                detail = f"It is a copy of {first.file.name}: same place, same pixels."
                aside.append(SetAside(one.file, "duplicate slice", detail, one.series))
                copies += 1
    return list(kept.values()), copies


def _fingerprint(one: Slice) -> tuple[object, ...]:
    values = next(decode_slices([one], []))
    return hashlib.sha256(values.tobytes()).digest(), *np.round(one.corner, 2)


def _separated(slices: list[Slice]) -> list[tuple[list[Slice], tuple[str, ...]]]:
    """Several volumes at one place, such as phases or echoes, each with its note; or the slices as they are."""
    overlap = not _is_simple(slices)
    if overlap or not is_even(np.sort(_places(slices))):
        are_volumes = _are_simple if overlap else _are_interleaved
        for number, tag in enumerate(SEPARATING_TAGS):
            parts = _grouped(slices, [one.tags[number] for one in slices])
            if len(parts) > 1 and are_volumes(parts):
                note = f"of {len(parts)} in its series, told apart by {tag}"
                return [(part, (f"volume {count} {note}",)) for count, part in enumerate(parts, 1)]
    return [(slices, ())]


def _is_simple(slices: list[Slice]) -> bool:
    return len(_same_places(slices)) == len(slices)


def _are_simple(parts: list[list[Slice]]) -> bool:
    return all(len(part) > 1 and _is_simple(part) for part in parts)


def _are_interleaved(parts: list[list[Slice]]) -> bool:
    """Whether each part is a volume of its own in the same region; parts that follow each other are one volume."""
    places = sorted((np.sort(_places(part)) for part in parts), key=lambda sorted_places: sorted_places[0])
    intersect = all(later[0] < earlier[-1] for earlier, later in pairwise(places))
    return intersect and all(len(part) >= FEWEST_SLICES and is_even(part) for part in places)


def _places(slices: list[Slice]) -> np.ndarray:
    """Places along the normal, in mm."""
    return places_along_normal(np.array([one.corner for one in slices]), np.array(slices[0].cosines))


def _same_places(slices: list[Slice]) -> list[list[Slice]]:
    """Slices by place, in order along the normal."""
    places = _places(slices)
    order = np.argsort(places, kind="stable")
    runs = np.split(order, np.flatnonzero(np.diff(places[order]) >= SAME_PLACE) + 1)
    return [[slices[index] for index in run] for run in runs]


def _grouped(slices: list[Slice], keys: Sequence[str]) -> list[list[Slice]]:
    """Slices of equal keys together, in the order in which the keys first come."""
    groups: dict[str, list[Slice]] = {}
    for one, key in zip(slices, keys, strict=True):
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _alike(slices: list[Slice], numbers: Sequence[tuple[float, ...]], rtol: float, atol: float) -> list[list[Slice]]:
    """Slices of equal numbers together; equal within the tolerance of `numpy.isclose`."""
    table, rest, groups = np.array(numbers), np.arange(len(slices)), []
    while len(rest):
        near = np.isclose(table[rest], table[rest[0]], rtol=rtol, atol=atol).all(axis=1)
        groups.append([slices[index] for index in rest[near]])
        rest = rest[~near]
    return groups


def _large_enough(groups: list[list[Slice]]) -> tuple[list[list[Slice]], list[Slice]]:
    """Groups that may be volumes, and the slices of those too small beside a larger one."""
    fewest = min(FEWEST_SLICES, max(map(len, groups)))
    small = [one for group in groups if len(group) < fewest for one in group]
    return [group for group in groups if len(group) >= fewest], small


def _set_aside(slices: list[Slice], reason: str, detail: str) -> list[SetAside]:
    series = {one.file: one.series for one in slices}
    return [SetAside(file, reason, detail, uid) for file, uid in series.items()]


def _one_place_each(stacks: list[Stack], aside: list[SetAside], files: Sequence[Path]) -> Found:
    """No file in two places, as a multi-frame file might be that holds several volumes, or frames of no use."""
    volumes = Counter(file for stack in stacks for file in stack.files)
    shared = [stack for stack in stacks if any(volumes[file] > 1 for file in stack.files)]
    detail = "It holds frames of several volumes: save each volume in files of its own."
    aside = aside + [
        SetAside(file, "several volumes", detail, stack.series) for stack in shared for file in stack.files
    ]
    stacks = [stack for stack in stacks if stack not in shared]
    used = {file for stack in stacks for file in stack.files}
    first: dict[Path, SetAside] = {}
    for one in aside:
        first.setdefault(one.file, one)
    noted = []
    for stack in stacks:
        partly = dict.fromkeys(f"frames left out: {first[file].reason}" for file in stack.files if file in first)
        noted.append(replace(stack, notes=(*stack.notes, *partly)))
    return noted, [first[file] for file in dict.fromkeys(files) if file in first and file not in used]
