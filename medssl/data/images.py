"""Finding the image that a row of a CSV means, and whose image it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from medssl.readers import KNOWN_SUFFIXES, Unit


class ImageIndex:
    """Finds the unit that a CSV row means.

    By its path below the folder; or by the longest tail of that path that fits, for CheXpert's CSV names folders above
    the images; or, where the row gives a name only, by the name, for ChestX-ray14 comes in twelve folders. A row may
    also name one slice of a volume.
    """

    def __init__(self, folder: Path, units: Iterable[Unit]) -> None:
        self._folder = folder.resolve()
        self._by_path: dict[str, Unit] = {}
        self._by_name: dict[str, list[Unit]] = {}
        for unit in units:
            for path in {unit.path, *unit.files}:
                self._by_path[path.relative_to(self._folder).as_posix()] = unit
            self._by_name.setdefault(unit.path.name, []).append(unit)

    def find(self, image: str) -> tuple[list[Unit], str]:
        """Every unit that ``image`` may mean, and the slice it names ("" when it names the unit).

        One unit when all is well; none; or several of the same name.
        """
        if os.path.isabs(image):
            image = os.path.relpath(image, self._folder)
        parts = Path(os.path.normpath(image)).parts
        for first in range(len(parts)):
            tail = Path(*parts[first:]).as_posix()
            if tail in self._by_path and (first == 0 or len(parts) > first + 1):
                unit = self._by_path[tail]
                named = self._folder / tail
                return [unit], "" if named == unit.path else named.name
        return (self._by_name.get(parts[0], []), "") if len(parts) == 1 else ([], "")


def patient_of(path: Path) -> str:
    """The patient of an image that neither a CSV nor DICOM names: the name of the file or folder, without suffix."""
    suffix = next((end for end in KNOWN_SUFFIXES if path.name.lower().endswith(end)), "")
    return path.name[: len(path.name) - len(suffix)]


def hash_patient(salt: str, patient: str) -> str:
    """A short name for a patient that nobody without the salt can trace back: 16 hexadecimal digits."""
    name = patient.encode("utf-8", "surrogateescape")  # file names need not be UTF-8
    return hashlib.blake2b(name, key=hashlib.blake2b(salt.encode()).digest(), digest_size=8).hexdigest()
