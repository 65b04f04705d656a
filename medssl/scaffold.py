"""The bundles and configs that a user of an installed medssl needs at hand, laid down where they work.

In a checkout they stand at the top already; in an installed package they lie where nobody looks for them.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from .errors import UserError
from .files import whole_file

TREES = ("bundles", "configs")
NAMED = 3  # files that a sentence names


@dataclass(frozen=True)
class LaidDown:
    """What was laid down; as text, for the screen.

    Attributes:
        folder: that holds `bundles` and `configs` now.
        written: files that were missing or, where that was wished, changed; relative to the folder.
        unchanged: files that were there already.
    """

    folder: Path
    written: list[Path]
    unchanged: list[Path]

    def __str__(self) -> str:
        there = f", {len(self.unchanged)} were there already" if self.unchanged else ""
        folders = " and ".join(str(self.folder / tree) for tree in TREES)
        return f"{folders}: {len(self.written)} files written{there}."


def lay_down(folder: str | Path, overwrite: bool = False) -> LaidDown:
    """Write `bundles/` and `configs/` below a folder, each file whole. What else lies there stays.

    Args:
        folder: made if missing.
        overwrite: put ours in the place of files that are there with another content, too.

    Raises:
        UserError: when there are such files and `overwrite` is false; nothing is written then.
    """
    folder = Path(folder)
    written: dict[Path, Path] = {}
    changed, unchanged = [], []
    for ours, name in _shipped():
        target = folder / name
        if target.is_file() and target.read_bytes() == ours.read_bytes():
            unchanged.append(name)
            continue
        if os.path.lexists(target):
            changed.append(name)
        written[name] = ours
    if changed and not overwrite:
        named = ", ".join(str(folder / name) for name in changed[:NAMED])
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        raise UserError(
            f"{named}{more}: there already, with another content than this version's; nothing was written. Give "
            "another folder (--to), move them away, or have them replaced (--overwrite)."
        )
    for name, ours in written.items():
        with whole_file(folder / name) as temporary:
            shutil.copyfile(ours, temporary)
    return LaidDown(folder, list(written), unchanged)


def _shipped() -> Iterator[tuple[Path, Path]]:
    """Every file of our bundles and configs, and its name below the user's folder; no alias, and no module."""
    for tree in TREES:
        top = Path(str(files(f"medssl.{tree}")))
        for parent, folders, names in os.walk(top):  # does not follow the links that old names of bundles are
            folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
            for name in sorted(names):
                path = Path(parent, name)
                if not name.startswith(".") and path != top / "__init__.py":
                    yield path, Path(tree, path.relative_to(top))
