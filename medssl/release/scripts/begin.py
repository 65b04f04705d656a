"""How an exported bundle begins: its outputs have names, and mistakes are answered in one sentence, not a traceback."""

import json
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


def output_names(metadata: str | Path) -> list[str]:
    """The names of the network's K outputs, as ``metadata.json`` gives them."""
    content = json.loads(Path(metadata).read_text(encoding="utf-8"))
    channels = content["network_data_format"]["outputs"]["pred"]["channel_def"]
    return [channels[str(number)] for number in range(len(channels))]
