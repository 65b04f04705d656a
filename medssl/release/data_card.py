"""On what an exported network was trained: `docs/data_card.md`, and beside it the list of hashes of the images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssl import runs
from medssl.data.seen_images import HASHED, SeenImages
from medssl.files import write_text

from .bundle_files import filled
from .model import Model


def write_data_card(folder: Path, model: Model, metadata: Mapping[str, Any], image_list: bool = True) -> None:
    """Write the data card, filled from the list that the run left of its images.

    Args:
        folder: `docs` of the bundle.
        model: what is exported.
        metadata: of the bundle.
        image_list: hand the list of hashes on, too; it tells whoever has an image whether it is in it.
    """
    path = model.run.path / runs.IMAGES
    seen = SeenImages.read(path) if path.is_file() else None
    listed = seen is not None and image_list
    if seen and listed:
        seen.write(folder / runs.IMAGES)
    names = ["Training" if model.classes else "Pre-training", *["Pre-training"] * len(seen.chain if seen else ())]
    stages = list(zip(names, seen.chain, strict=False)) if seen else []
    init = model.run.description.get("init")
    text = filled(
        "data_card.md", model=model, metadata=metadata, stages=stages, init=init, listed=listed, hashed=HASHED
    )
    write_text(folder / "data_card.md", text)
