"""Writing files whole or not at all, so that a kill at any moment leaves the old file or the new one; reading YAML.

The ground floor of the house: every room may use it.
"""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from medssl.errors import NO_ROOM, MissingFileError, UserError

_HALF_WRITTEN = re.compile(r"\.\d+-\d+\..+")


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to, which takes its place when the block ends without an error.

    The temporary name ends like ``path``'s, for writers that look at the suffix. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes or threads may write the same file at once; each has its own temporary one.
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_half_written(folder: str | Path) -> None:
    """Remove what killed processes left behind of `whole_file` in a folder, and in those below it."""
    for path in Path(folder).rglob(".*"):
        if _HALF_WRITTEN.fullmatch(path.name):
            path.unlink()


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Say in a sentence that the file could not be written, whatever the block's error was.

    Raises:
        UserError: for an ``OSError`` (a full disk, a folder that may not be written), or for the ``RuntimeError`` by
            which ``torch.save`` reports the same when it opens the file itself.
    """
    try:
        yield Path(path)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
        advice = "Free some space" if not isinstance(error, OSError) or error.errno in NO_ROOM else "Mend that"
        raise UserError(f"{path} could not be written ({reason}). {advice}, and the run can go on.") from error


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file whole."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file whole, indented by two."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_yaml(path: str | Path) -> Any:
    """What a YAML file that a user wrote holds.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is no valid YAML.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}: check its path.")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML: {error}") from error
