"""What raw files become before anybody decodes them: studies that can be read, and refusals with their reason.

`prepare` and inference get both from the same functions: `radiograph_studies` and `volume_studies`.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medssl.errors import UnusableImageError, UserError

from .plausibility import judge
from .reading import Reading
from .units import Unit, find_units

UNREADABLE = "unreadable"
NO_IMAGE = ("no image", "Its name and its first bytes are not those of an image that is looked for here.")


@dataclass(frozen=True, eq=False)
class Study:
    """One image: a file, or the slices of a volume. Nothing of it but headers is read yet; it can be pickled.

    Attributes:
        path: names it: its file, its folder or, where a folder holds several, the first of its files.
        files: every file it is read from.
        reader: decodes it.
    """

    path: Path
    files: tuple[Path, ...]
    reader: Callable[[], Reading] = field(repr=False)

    def read(self, keep_masks: bool = False) -> Reading:
        """Decode it and judge its values.

        Args:
            keep_masks: note what looks like a mask and keep it, see `judge`.

        Raises:
            UnusableImageError: it is damaged, constant or no scan; the sentence, of one line, is the same on every
                machine.
        """
        name, folder = self.path.name, self.files[0].parent
        try:
            reading = judge(self.reader(), name, keep_masks)
            if reading.values.min() == reading.values.max():
                raise UnusableImageError("constant image", f"Every value of {name} is {reading.values.flat[0]:g}.")
        except UserError as error:
            reason = getattr(error, "reason", UNREADABLE)  # none where the file has gone
            raise UnusableImageError(reason, one_line(str(error), folder)) from error
        except Exception as error:  # decoders raise nearly anything on a damaged file
            words = one_line(f"{type(error).__name__}: {error}", folder)
            raise UnusableImageError(UNREADABLE, f"{name} cannot be read ({words}).") from error
        return reading


@dataclass(frozen=True)
class Refusal:
    """Files that belong to no study, all for the same reason.

    Attributes:
        path: names them: the file, the folder or, where a folder holds more than these, the first of them.
        files: all of them.
        reason: in a word or three.
        detail: the same in a sentence.
    """

    path: Path
    files: tuple[Path, ...]
    reason: str
    detail: str

    @property
    def note(self) -> str:
        """The detail, and of how many files."""
        return self.detail if len(self.files) == 1 else f"{len(self.files)} files: {self.detail}"


@dataclass(frozen=True)
class Found:
    """What an input or a folder holds; every file is in exactly one study or refusal."""

    studies: list[Study]
    refusals: list[Refusal]

    def items(self) -> list[dict[str, Any]]:
        """The studies, ready for a MONAI dataset: each as ``image``, and its path as ``file``."""
        return [{"image": study, "file": str(study.path)} for study in self.studies]


def file_study(unit: Unit, reader: Callable[[], Reading]) -> Found:
    """The study of an input that is a file."""
    if unit.path.exists() and not unit.path.is_file():  # reading a pipe would wait for ever
        detail = f"{unit.path.name} is a pipe or a device, no file."
        return Found([], [Refusal(unit.path, unit.files, UNREADABLE, detail)])
    return Found([Study(unit.path, unit.files, reader)], [])


def look_through(
    folder: str | Path, spatial_dims: int, studies_of: Callable[[Unit], Found], skip: str | Path | None = None
) -> Found:
    """Every study under a folder, and everything else with the reason why it is none.

    ``studies_of`` is `radiograph_studies` or `volume_studies`; the other arguments, and the errors that are raised, are
    those of `find_units`. To skip the folder itself skips nothing.
    """
    inside = None if skip is None or Path(skip).resolve() == Path(folder).resolve() else Path(skip)
    units, others = find_units(Path(folder), spatial_dims, inside)
    found = [studies_of(unit) for unit in units]
    return Found(
        [study for each in found for study in each.studies],
        [refusal for each in found for refusal in each.refusals]
        + [Refusal(path, (path,), *NO_IMAGE) for path in others],
    )


def one_line(text: str, folder: Path) -> str:
    """What an error says, in one line, the same in every run and wherever the folder lies."""
    text = " ".join(text.split()).replace(f"{folder}{os.sep}", "")
    return re.sub(r" at 0x[0-9a-f]+", "", text)
