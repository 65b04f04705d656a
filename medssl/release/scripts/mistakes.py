"""What a user of an exported bundle can get wrong, answered in one sentence instead of a traceback."""

import logging
import sys
from pathlib import Path

from medssl.errors import MissingFileError, print_plain_error


def explain_mistakes(weights: str | Path) -> None:
    """Print mistakes of the user as a sentence from now on, and look for the weights.

    Raises:
        MissingFileError: they are not there, which as a rule means that the bundle runs from another folder.
    """
    sys.excepthook = print_plain_error
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it logs the traceback of every error
    if not Path(weights).is_file():
        raise MissingFileError(
            f"There are no weights {weights}: run from the bundle's folder, or name it with --bundle_root. Weights "
            "that large_files.yml names come with: python -m monai.bundle download_large_files"
        )
