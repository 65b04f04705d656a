"""Tensors that a run writes: whole or not at all, and by one process."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch

from medssl.files import whole_file, writing


def write_tensors(content: Mapping[str, Any], path: str | Path, before: str | Path | None = None) -> None:
    """``torch.save`` by the first process; a kill at any moment leaves the old file or the new one.

    (MONAI's ``CheckpointSaver`` writes in place.) The same content gives the same bytes.

    Args:
        content: of the file.
        path: of the file.
        before: where the file that is replaced goes; None if it is not kept. A kill in between may leave no file at
            ``path``, but then there is a whole one here.

    Raises:
        UserError: when the file cannot be written.
    """
    if idist.get_rank() > 0:
        return
    # Given a path, torch names the archive inside after it, and hides the reason when the disk is full.
    with writing(path), whole_file(path) as temporary:
        with temporary.open("wb") as file:
            torch.save(content, file)
        if before is not None and Path(path).exists():
            os.replace(path, before)
