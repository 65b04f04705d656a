"""What a user can get wrong, answered in one sentence instead of a traceback."""

import logging
import re
import sys
from pathlib import Path
from types import TracebackType

READERS = r"^(?:\w+\.)*(?:UnusableImageError|FileNotFoundError): (.+)$"
"""How the error of a reader ends a traceback, which is all that a worker process hands on of it."""


def explain_mistakes(weights: str | Path) -> None:
    """Make errors about files readable from now on, and look for the weights.

    Raises:
        FileNotFoundError: they are not there, which as a rule means that the bundle runs from another folder.
    """
    sys.excepthook = explain
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it logs the traceback of every error
    if not Path(weights).is_file():
        raise FileNotFoundError(
            f"There are no weights {weights}: run from the bundle's folder, or name it with --bundle_root. Weights "
            "that large_files.yml names come with: python -m monai.bundle download_large_files"
        )


def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that this bundle raised on purpose as one sentence, any other as Python does."""
    here = Path(__file__).resolve().parent
    link: BaseException | None = error
    while link is not None:
        sentence = re.search(READERS, str(link), re.MULTILINE)
        if sentence or (isinstance(link, (ValueError, FileNotFoundError)) and _raised_in(here, link)):
            print(f"\n{sentence.group(1) if sentence else link}", file=sys.stderr)
            return
        link = link.__cause__ or link.__context__
    sys.__excepthook__(kind, error, trace)


def _raised_in(folder: Path, error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and Path(trace.tb_frame.f_code.co_filename).resolve().parent == folder
