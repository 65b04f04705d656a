"""Files that a run writes: whole or not at all, by one process, and a full disk is called by its name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch

from medssl.errors import NO_ROOM, UserError
from medssl.files import whole_file


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


def write_tensors(content: Mapping[str, Any], path: str | Path) -> None:
    """``torch.save`` by the first process; a kill at any moment leaves the old file or the new one.

    (MONAI's ``CheckpointSaver`` writes in place.) The same content gives the same bytes.

    Raises:
        UserError: when the file cannot be written.
    """
    if idist.get_rank() == 0:
        # Given a path, torch names the archive inside after it, and hides the reason when the disk is full.
        with writing(path), whole_file(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
