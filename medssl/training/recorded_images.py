"""The list of the images that a training is shown, for `medssl overlap` and for the data card of an export."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medssl import runs
from medssl.data.seen_images import SeenImages
from medssl.files import writing


def record_images(output_dir: str | Path, items: Sequence[Mapping[str, Any]], began_with: str | Path = "") -> None:
    """Write `images.json` into a run: how many images, from which sources, and their hashes; no name of anybody.

    Call it from an expression of a MONAI bundle config, after `begin_run`.

    Args:
        output_dir: folder of the run.
        items: of the datalist, on which it is trained.
        began_with: the run, or a file in its folder, whose weights it begins with; its list is taken over, where there
            is one.

    Raises:
        UserError: when it cannot be written.
    """
    if os.environ.get("RANK", "0") != "0":  # the first process of a distributed run writes it for all
        return
    weights = Path(began_with)
    listed = (weights if weights.is_dir() else weights.parent) / runs.IMAGES
    before = SeenImages.read(listed) if str(began_with) and listed.is_file() else None
    with writing(Path(output_dir) / runs.IMAGES) as path:
        SeenImages.of_items(items, before).write(path)
