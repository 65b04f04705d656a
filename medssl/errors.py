"""The errors that are told as one sentence: what the user got wrong, where, and what to do.

The ground floor of the house: every room may use it, it uses none, and it travels in exported bundles. Whatever is no
`UserError` is a bug, and keeps its traceback.
"""

import errno
import os
import re
import sys
from types import TracebackType

INTERRUPTED = 130
"""The exit code of a process that was interrupted, as a shell gives it."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


class UserError(ValueError):
    """A mistake of the user, told in one sentence that names file, key or value and says what to do."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that the user named is not there."""


class UnusableImageError(UserError):
    """An image that cannot be used.

    Args:
        reason: in a word or three, the same for all images with this fault, such as ``empty file``.
        sentence: names the file, says what is wrong and what to do.
    """

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason

    def __reduce__(self) -> tuple[type["UnusableImageError"], tuple[str, str]]:
        """Pickled, as between processes, with both arguments."""
        return type(self), (self.reason, str(self))


# What a loader's worker process hands on of an error is its traceback as text: its last line names class and sentence.
_IN_TEXT = re.compile(r"^(?:medssl|scripts)\.errors\.\w+: (.+)$", re.MULTILINE)


def print_plain_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a user's mistake, or a disk that takes no more, as one sentence, and the rest as Python does.

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
    if sentence := next(filter(None, map(_sentence, chain)), None):
        print(f"\nmedssl: {sentence}", *notes, file=sys.stderr)
        return
    sys.__excepthook__(kind, error, trace)


def user_error(error: BaseException) -> UserError | None:
    """The user's mistake that an error, or one that it was raised from, tells of; None for a bug."""
    for link in _chain(error):
        # Torch builds an error of the same class from the text of a worker's traceback.
        if said := _IN_TEXT.search(str(link)):
            return UserError(said[1])
        if isinstance(link, UserError):
            return link
    return None


def _sentence(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return f"{error.filename or 'A file of the run'} could not be written ({error.strerror}). Free some space."
    if isinstance(error, OSError) and error.errno in NOT_ALLOWED and error.filename:
        return f"{error.filename} is closed to you ({error.strerror}). See who may read and write it, or name another."
    if said := _IN_TEXT.search(str(error)):
        return said[1]
    return str(error) if isinstance(error, UserError) else None


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain
