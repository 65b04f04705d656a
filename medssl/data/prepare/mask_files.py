"""Which mask file belongs to which input, and which classes it says something of."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.errors import MissingFileError, UserError
from medssl.readers import Unit, find_units
from medssl.readers.mask import MASK_SUFFIXES
from medssl.readers.suffixes import without_suffix

from ..datalist_file import check_classes
from ..images import ImageIndex
from ..sources import OTHERS, Source
from ..tables import near_miss
from .rows import Rows

INNER_FOLDERS = ("segmentations", "segmentation", "masks", "labels")
"""Names of a folder within an image's own that holds its masks, as TotalSegmentator's data have it."""
ENDINGS = ("_mask", "_seg", ".seg")
"""What may stand behind an image's name in that of its mask."""
CHANNEL = "_0000"
"""What nnU-Net writes behind the name of an image, and not of its mask."""
MOST_NEAREST = 50
"""Masks without an image of a source for which the nearest name is looked for."""
NO_IMAGE, SEVERAL_MASKS, NO_MASK = "mask without image", "two masks", "not a mask"


@dataclass(frozen=True)
class MaskFile:
    """A file with the masks of an image.

    Attributes:
        path: of the file.
        place: number of the source that names it.
        numbers: what its numbers mean: (number, class), without a class of those to leave out; none where the file is
            of one class.
        name: of that one class.
        leaves_others: whether numbers without a name are left out.
    """

    path: Path
    place: int
    numbers: tuple[tuple[int, str], ...] = ()
    name: str = ""
    leaves_others: bool = False

    @property
    def classes(self) -> list[str]:
        """The classes that it says something of, each once."""
        return [self.name] if self.name else list(dict.fromkeys(name for _, name in self.numbers if name))


@dataclass(frozen=True)
class Refused:
    """A file in a folder of masks that belongs to no image, and why."""

    path: Path
    place: int
    reason: str
    detail: str


@dataclass
class Masks:
    """The masks of all sources.

    Attributes:
        classes: their names, each once, in the order of the sources.
        of_unit: number of an input → the files with its masks.
        refused: files that belong to none.
    """

    classes: list[str] = field(default_factory=list)
    of_unit: dict[int, list[MaskFile]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)


def find_masks(source: Source, spatial_dims: int, skip: Path) -> tuple[list[Unit], list[Path]]:
    """The mask files of a source, and what else lies in their folder if no folder of images holds that.

    Raises:
        MissingFileError: there is no such folder.
        UserError: it holds no mask.
    """
    assert source.masks is not None
    assert source.images is not None  # so a `Source` sees to it
    if not source.masks.is_dir():
        raise MissingFileError(f"There is no folder {source.masks}: check masks (--masks).")
    folder, images = source.masks.resolve(), source.images.resolve()
    units, others = find_units(folder, spatial_dims, skip)
    if folder == images:
        units = [unit for unit in units if unit.path.is_file() and _is_called_mask(unit.path, source.has_label_maps)]
    elif images.is_relative_to(folder):
        units = [unit for unit in units if not unit.path.is_relative_to(images)]
    if not units:
        kinds = ", ".join(MASK_SUFFIXES[spatial_dims])
        raise UserError(f"{source.masks} holds no masks ({kinds}): check masks (--masks) and --dims.")
    below = folder.is_relative_to(images) or images.is_relative_to(folder)
    return units, [] if below else [path for path in others if source.csv is None or path != source.csv.resolve()]


def _is_called_mask(path: Path, in_one_file: bool) -> bool:
    return path.parent.name.lower() in INNER_FOLDERS or (in_one_file and without_suffix(path).lower().endswith(ENDINGS))


def match_masks(
    sources: Sequence[Source],
    files: Mapping[int, Sequence[Unit]],
    images: Sequence[Sequence[Unit]],
    numbers: Mapping[Path, int],
    spatial_dims: int,
    contains: Mapping[str, Sequence[str]],
) -> Masks:
    """Give each mask file to its input.

    Args:
        sources: all of them.
        files: number of a source → its mask files, see `find_masks`.
        images: for each source the inputs below its folder of images, without masks.
        numbers: path of an input → its number.
        spatial_dims: 2 or 3.
        contains: class → the classes that make it up.

    Raises:
        UserError: the files of a source say no class, or not the one that it names; there are too many classes; or what
            contains others is none.
    """
    masks = Masks()
    for place, units in files.items():
        usable = []
        for unit in units:
            if unit.path.name.lower().endswith(MASK_SUFFIXES[spatial_dims]):
                usable.append(unit.path)
            else:
                detail = f"masks are read from {', '.join(MASK_SUFFIXES[spatial_dims])}: convert it"
                masks.refused += [Refused(path, place, NO_MASK, detail) for path in unit.files]
        source = sources[place]
        named = list(
            _label_maps(source, place, usable) if source.has_label_maps else _files_of_classes(source, place, usable)
        )
        masks.refused += [each for each in named if isinstance(each, Refused)]
        own = [each for each in named if isinstance(each, MaskFile)]
        masks.classes = list(dict.fromkeys([*masks.classes, *(name for each in own for name in each.classes)]))
        _give(own, source, ImageIndex(Path(source.images or "").resolve(), images[place]), numbers, masks)
    masks.of_unit = {number: _once_each(own, masks.refused) for number, own in masks.of_unit.items()}
    if contains:
        masks.classes += [whole for whole in contains if whole not in masks.classes]
        _check_contains(masks.classes, contains)
    check_classes("The masks", masks.classes, {whole: list(parts) for whole, parts in contains.items()})
    return masks


def _label_maps(source: Source, place: int, paths: Sequence[Path]) -> Iterator[MaskFile]:
    numbers = tuple((number, name) for number, name in source.mask_labels.items() if isinstance(number, int))
    for path in paths:
        yield MaskFile(path, place, numbers, leaves_others=OTHERS in source.mask_labels)


def _files_of_classes(source: Source, place: int, paths: Sequence[Path]) -> Iterator[MaskFile | Refused]:
    folder = Path(source.masks or "").resolve()
    if all(path.parent == folder for path in paths):
        raise UserError(
            f"The masks in {source.masks} do not say what is in them: name their numbers with mask_labels "
            "(--mask-labels 1=liver), or give each image a folder with one file a class."
        )
    there = sorted({without_suffix(path) for path in paths})
    for file in source.mask_labels:
        if file not in there:
            raise UserError(
                f"No mask in {source.masks} is called {file!r}, as mask_labels says: there are {', '.join(there[:9])}"
                f"{' and more' if len(there) > 9 else ''}.{near_miss(str(file), there)}"
            )
    order = {file: number for number, file in enumerate(source.mask_labels)}
    for path in sorted(paths, key=lambda path: order.get(without_suffix(path), 0)):
        file = without_suffix(path)
        if path.parent == folder:
            yield Refused(path, place, NO_IMAGE, "it is in no folder that is called like an image")
        elif source.mask_labels and file not in source.mask_labels:
            yield Refused(path, place, "class not taken", f"mask_labels does not name the file {file!r}")
        else:
            yield MaskFile(path, place, name=source.mask_labels.get(file, file))


def _give(
    files: Sequence[MaskFile], source: Source, index: ImageIndex, numbers: Mapping[Path, int], masks: Masks
) -> None:
    """Find the input of each file; of a name that leads nowhere another spelling is tried."""
    folder = Path(source.masks or "").resolve()
    spellings = {file: list(dict.fromkeys(_spellings(file, folder))) for file in files}
    left = list(files)
    for attempt in range(max(map(len, spellings.values()), default=0)):
        trying = [file for file in left if attempt < len(spellings[file])]
        matches = dict(zip(trying, index.find([spellings[file][attempt] for file in trying]), strict=True))
        for file, match in matches.items():
            if len(match.units) == 1:
                masks.of_unit.setdefault(numbers[match.units[0].path], []).append(file)
            elif match.units:
                detail = f"{spellings[file][attempt]!r} is the name of {len(match.units)} images"
                masks.refused.append(Refused(file.path, file.place, "several such images", detail))
        left = [file for file in left if file not in matches or not matches[file].units]
    for number, file in enumerate(left):
        name = spellings[file][0]
        near = index.nearest(name) if number < MOST_NEAREST else ""
        detail = f"no image is called {name!r}{f'. Did you mean {near!r}?' if near else ''}"
        masks.refused.append(Refused(file.path, file.place, NO_IMAGE, detail))


def _spellings(file: MaskFile, folder: Path) -> Iterator[str]:
    """What the image of a mask may be called, below its folder and without suffix, the likeliest first."""
    above = file.path.parent
    if above.name.lower() in INNER_FOLDERS and above != folder:
        above = above.parent
    case = above.relative_to(folder).as_posix() if above != folder else ""
    names = [case]
    if not file.name:
        whole = file.path.relative_to(folder).with_name(without_suffix(file.path)).as_posix()
        ending = next((end for end in ENDINGS if whole.lower().endswith(end)), "")
        names = [whole, whole[: len(whole) - len(ending)], case]
    for name in filter(None, names):
        yield name
        yield name + CHANNEL
        yield name.rpartition("/")[2]
        yield name.rpartition("/")[2] + CHANNEL


def _once_each(files: Sequence[MaskFile], refused: list[Refused]) -> list[MaskFile]:
    """Those of an image's files of whose classes no other says something, too."""
    of_class: dict[str, list[MaskFile]] = {}
    for file in files:
        for name in file.classes:
            of_class.setdefault(name, []).append(file)
    double = {name: both for name, both in of_class.items() if len(both) > 1}
    torn = {file: name for name, both in double.items() for file in both}
    for file, name in torn.items():
        named = " and ".join(other.path.name for other in double[name])
        detail = f"{named} both outline {name} in the same image: leave one out"
        refused.append(Refused(file.path, file.place, SEVERAL_MASKS, detail))
    return [file for file in files if file not in torn]


def note_classes(
    rows: Rows, classes: Sequence[str], contains: Mapping[str, Sequence[str]], report: pd.DataFrame, path: Path
) -> list[str]:
    """Say which classes nobody outlined, and which are nowhere.

    Args:
        rows: with their outcomes.
        classes: of the masks.
        contains: class → the classes that make it up.
        report: what became of every file.
        path: of it.

    Raises:
        UserError: nothing was outlined at all.
    """
    here = rows.outlined[rows.used]
    known, there = np.isfinite(here).sum(axis=0), (here == 1).sum(axis=0)
    if classes and not known.any():
        reasons = ", ".join(f"{count} × {reason}" for reason, count in Counter(filter(None, report["reason"])).items())
        raise UserError(f"None of the masks can be used ({reasons}): see {path} for each.")
    notes = [
        f"Nobody outlined {name}: no mask of it can be used, see {path.name}."
        for name, count in zip(classes, known, strict=True)
        if not count and name not in contains
    ]
    notes += [
        f"{name} was outlined in {count} images and is there in none: see whether its number in mask_labels is right."
        for name, count, seen in zip(classes, known, there, strict=True)
        if count and not seen
    ]
    alone = rows.used & ~rows.listed & (rows["mask"] != "").to_numpy()
    if alone.any():
        patients = rows["patient"][alone].nunique()
        notes.append(
            f"Of {alone.sum()} images with masks no table names the patient: by their paths and headers they are of "
            f"{patients}. If that is not so, give a CSV with the columns image and patient."
        )
    return notes


def _check_contains(classes: Iterable[str], contains: Mapping[str, Sequence[str]]) -> None:
    known = list(classes)
    for whole, parts in contains.items():
        for part in parts:
            if part not in known:
                raise UserError(
                    f"contains says that {whole} is made up of {part!r} among others, which no source outlined: there "
                    f"are {', '.join(known)}.{near_miss(part, known)}"
                )
