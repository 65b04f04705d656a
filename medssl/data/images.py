"""Finding the image that a row of a CSV means, however the row spells it."""

import os
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import count, product
from pathlib import Path
from urllib.parse import unquote

from medssl.readers import Unit
from medssl.readers.suffixes import without_suffix

_NEIGHBOURS = 60  # on each side, in the order of names, among which the nearest name is looked for
_NUMBER = re.compile(r"0*(\d+)(?:\.0)?")
_DRIVE = re.compile(r"(?:file:|[a-z]:)?/*", re.IGNORECASE)


@dataclass(frozen=True)
class Match:
    """What a row names.

    Attributes:
        units: one when all is well; none; or all of several that the row may mean.
        slice: the file within the unit that the row names, below the unit's folder; "" when it names the unit.
        note: what the row calls the image, where that is another spelling.
    """

    units: tuple[Unit, ...] = ()
    slice: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    path: str  # below the folder of images, with slashes
    slice: str  # see `Match`
    unit: Unit


class ImageIndex:
    """Finds the units that the rows of a CSV mean.

    A row means the file of its path below the folder. Where there is none, it may leave out folders above the image, as
    ChestX-ray14's names do (its images come in twelve folders), or begin with some that lie above the folder, as
    CheXpert's paths do. Where that leads nowhere either, the same is tried in another spelling: slashes the wrong way,
    upper and lower case, Unicode form, ``%20``; then with another suffix, or none; then, of a mere number, without
    leading zeros or ``.0``; then as a folder with a single image; and each of these without the folders with which
    every row begins. An image that one row names outright is not given to another that only comes near.

    Args:
        folder: of the images.
        units: what lies there.
    """

    def __init__(self, folder: Path, units: Iterable[Unit]) -> None:
        self._starts = [f"{path.as_posix()}/" for path in (folder.resolve(), folder.absolute())]
        files = [file for unit in units for file in self._files_of(unit)]
        self._units = [file for file in files if not file.slice]
        above = self._starts[0].strip("/")
        self._spellings = (
            _Paths(files, above, str),
            _Paths(files, above, _alike),
            _Paths(self._units, above, _alike_without_suffix),
            _Paths(self._units, above, _alike_in_number),
            _Paths(_only_ones(self._units), above, _alike),
        )

    def find(self, images: Sequence[str], shared: int = 0) -> list[Match]:
        """What each row names.

        Args:
            images: what the rows of one table call them.
            shared: how many of the folders with which all rows begin may be called otherwise here, see
                `shared_folders`.
        """
        found: dict[str, Match] = {}
        taken: set[tuple[Path, str]] = set()
        left = [image for image in dict.fromkeys(images) if image]
        for paths, dropped in product(self._spellings, range(shared + 1)):
            strict = paths is self._spellings[0]
            hits = {
                image: paths.find((self._parts(image) if strict else _loose_parts(image))[dropped:]) for image in left
            }
            for image, files in hits.items():
                if len(files) > 1 or (files and (files[0].unit.path, files[0].slice) not in taken):
                    found[image] = _match(files, "" if strict and not dropped else f"the CSV calls it {image!r}")
            taken.update((files[0].unit.path, files[0].slice) for files in hits.values() if len(files) == 1)
            left = [image for image in left if image not in found]
            if not left:
                break
        return [found.get(image, Match()) for image in images]

    def nearest(self, image: str) -> str:
        """The path of the image whose name, and of several whose path, is most like what a row says; "" if none is."""
        path = "/".join(_loose_parts(image))
        name = _alike_without_suffix(path).rpartition("/")[2]
        near = set()
        for names, key in zip(self._in_order, (name, name[::-1]), strict=True):
            place = bisect_left(names, (key,))
            near |= {number for _, number in names[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS]}
        likeness = {
            self._units[number].path: (_likeness(name, self._names[number]), _likeness(path, self._units[number].path))
            for number in sorted(near)
        }
        return max(likeness, key=likeness.__getitem__, default="")

    @cached_property
    def _names(self) -> list[str]:
        return [_alike_without_suffix(file.path).rpartition("/")[2] for file in self._units]

    @cached_property
    def _in_order(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """The names of all units in order, and the same of names that run backwards."""
        backwards = (name[::-1] for name in self._names)
        return sorted(zip(self._names, count(), strict=False)), sorted(zip(backwards, count(), strict=False))

    def _files_of(self, unit: Unit) -> Iterator[_File]:
        start = len(self._starts[0])
        folder = unit.path.parent if unit.path in unit.files else unit.path
        yield _File(unit.path.as_posix()[start:], "", unit)
        for path in unit.files:
            if path != unit.path:
                yield _File(path.as_posix()[start:], path.relative_to(folder).as_posix(), unit)

    def _parts(self, image: str) -> Sequence[str]:
        """The folders and the name of a path below the folder, or of one that leads there."""
        start = next((start for start in self._starts if image.startswith(start)), "")
        return _normal_parts(image[len(start) :])


def _only_ones(files: Sequence[_File]) -> list[_File]:
    """The folders of those that lie alone in theirs, as ``ct.nii.gz`` in that of a case."""
    inside: dict[str, list[_File]] = {}
    for file in files:
        inside.setdefault(file.path.rpartition("/")[0], []).append(file)
    return [_File(folder, "", beside[0].unit) for folder, beside in inside.items() if folder and len(beside) == 1]


def _match(files: Sequence[_File], note: str) -> Match:
    units = tuple({file.unit.path: file.unit for file in files}.values())
    return Match(units, files[0].slice if len(units) == 1 else "", note)


class _Paths:
    """The paths of files below a folder, in one spelling.

    Args:
        files: what lies there.
        above: the path of the folder.
        spelling: of a path.
    """

    def __init__(self, files: Sequence[_File], above: str, spelling: Callable[[str], str]) -> None:
        self._files, self._spelling = files, spelling
        self._above = spelling(above).split("/")

    def find(self, parts: Sequence[str]) -> list[_File]:
        """The files that a path means, given in parts: itself, or its end, or more with folders above."""
        path = self._spelling("/".join(parts))
        if not path:
            return []
        if path in self._whole:
            return self._whole[path]
        parts = path.split("/")
        if files := self._ending_in(parts):
            return files
        ends = ["/".join(parts[first:]) for first in range(1, len(parts) - 1)]  # of two parts or more
        if parts[-2:-1] == self._above[-1:]:
            ends.append(parts[-1])
        return next((self._whole[end] for end in ends if end in self._whole), [])

    def _ending_in(self, parts: Sequence[str]) -> list[_File]:
        """Those whose path, with all folders above, ends like this; a mere name is none of a slice."""
        end, files = _backwards(parts), []
        for place in range(bisect_left(self._all_backwards, (end,)), len(self._all_backwards)):
            backwards, number = self._all_backwards[place]
            if not backwards.startswith(end):
                break
            if len(parts) > 1 or not self._files[number].slice:
                files.append(self._files[number])
        return files

    @cached_property
    def _whole(self) -> dict[str, list[_File]]:
        whole: dict[str, list[_File]] = {}
        for file in self._files:
            whole.setdefault(self._spelling(file.path), []).append(file)
        return whole

    @cached_property
    def _all_backwards(self) -> list[tuple[str, int]]:
        """The paths from name to root, in order, so that those with the same end stand together."""
        above = _backwards(self._above)
        paths = (self._spelling(file.path).split("/") for file in self._files)
        return sorted((_backwards(path) + above, number) for number, path in enumerate(paths))


def shared_folders(images: Iterable[str]) -> int:
    """The number of folders with which all of several paths begin."""
    folders = {tuple(_loose_parts(image)[:-1]) for image in images}
    return next(
        (depth for depth, names in enumerate(zip(*folders, strict=False)) if len(set(names)) > 1),
        min(map(len, folders), default=0),
    )


def _backwards(parts: Sequence[str]) -> str:
    return "/".join(reversed(parts)) + "/"


def _normal_parts(path: str) -> list[str]:
    """The parts of a path without ``.`` and the root."""
    return [part for part in os.path.normpath(path).split("/") if part not in ("", ".")]


def _loose_parts(image: str) -> list[str]:
    return _normal_parts(_DRIVE.sub("", image.replace("\\", "/"), count=1))


def _alike(path: str) -> str:
    """The same for paths that differ in upper and lower case, Unicode form, blanks around names, or ``%20``."""
    text = unicodedata.normalize("NFKC", unquote(path, errors="surrogateescape")).casefold()
    return "/".join(part.strip() for part in text.split("/"))


def _alike_without_suffix(path: str) -> str:
    folder, slash, name = _alike(path).rpartition("/")
    return folder + slash + without_suffix(name)


def _alike_in_number(path: str) -> str:
    """Spreadsheets write ``7`` or ``7.0`` for ``0007``."""
    folder, slash, name = _alike_without_suffix(path).rpartition("/")
    number = _NUMBER.fullmatch(name)
    return folder + slash + (number[1] if number else name)


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
