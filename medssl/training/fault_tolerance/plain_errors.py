"""An error that the user can do something about is one sentence; any other keeps its traceback."""

import os
import re
import sys
import traceback
from pathlib import Path
from types import TracebackType

from .writing import NO_ROOM

PLAIN_ERRORS = (ValueError, FileNotFoundError, FileExistsError)
INTERRUPTED = 130
"""The exit code of a process that was interrupted, as a shell gives it."""

_PACKAGE = Path(__file__).resolve().parents[2]
_SOURCES = (_PACKAGE, _PACKAGE.parent / "transforms")
_FRAME = re.compile(r'\s*File "(.+)", line \d+')
_MESSAGE = re.compile(rf"(?:{'|'.join(kind.__name__ for kind in PLAIN_ERRORS)}): (.+)")


def print_plain_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what medssl raised on purpose, or a full disk, as one sentence, the rest as Python does.

    A ``sys.excepthook``. MONAI wraps what happens while a config is built or an image is loaded in errors of its own,
    and torch turns what happens in a worker into text; ours stands somewhere in there.

    Raises:
        SystemExit: with 130 for an interruption, whose sentence only the first process of a distributed run prints.
    """
    chain = _chain(error)
    notes = [note for link in chain for note in getattr(link, "__notes__", [])]
    if isinstance(error, KeyboardInterrupt):
        if os.environ.get("RANK", "0") == "0":
            print("\nmedssl: Stopped.", *notes, file=sys.stderr)
        raise SystemExit(INTERRUPTED)
    for link in chain:
        if sentence := _sentence(link):
            print(f"\nmedssl: {sentence}", *notes, file=sys.stderr)
            return
    sys.__excepthook__(kind, error, trace)


def _sentence(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return f"{error.filename or 'A file of the run'} could not be written ({error.strerror}). Free some space."
    if isinstance(error, PLAIN_ERRORS) and _is_ours(traceback.extract_tb(error.__traceback__)[-1:]):
        return str(error)
    return _from_worker(str(error))


def _from_worker(text: str) -> str | None:
    """Our sentence in the traceback that a loader's worker process sent as text."""
    source = ""
    for line in text.splitlines():
        if frame := _FRAME.match(line):
            source = frame[1]
        elif (message := _MESSAGE.match(line)) and _is_ours_path(source):
            return message[1]
    return None


def _is_ours(frames: list[traceback.FrameSummary]) -> bool:
    return any(_is_ours_path(frame.filename) for frame in frames)


def _is_ours_path(path: str) -> bool:
    return bool(path) and any(Path(path).resolve().is_relative_to(source) for source in _SOURCES)


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain
