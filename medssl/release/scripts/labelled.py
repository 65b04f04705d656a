"""The labelled images of a datalist, with their labels in the order in which the network gives its classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medssl.data.datalist import read_datalist, read_labels
from medssl.errors import MissingFileError, UserError


def read_labelled(datalist: str | Path, split: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Read a split, ready for a MONAI dataset.

    Args:
        datalist: a JSON file ``{"labels": ["Mass"], "test": [{"image": "1.png", "label": [1], "patient": "a"}]}``;
            image paths are relative to it, a label is 1, 0 or null (unknown).
        split: such as ``test``.
        classes: names of the K classes of the network.

    Returns:
        For each image ``image``, ``file``, ``patient`` and ``label``: float32 [K] of 1, 0, NaN (unknown). A class that
        the datalist does not have is unknown, and a label that the network does not know is left out.

    Raises:
        MissingFileError: the datalist or an image is missing.
        UserError: the datalist breaks its rules, its split is empty, or it has none of the classes.
    """
    if not Path(datalist).is_file():
        raise MissingFileError(f"There is no datalist {datalist}: docs/README.md shows what one looks like.")
    labels, items = read_labels(datalist), read_datalist(datalist, split)
    if not items:
        raise UserError(f"{datalist} has no image in {split}: name another split.")
    if not set(labels) & set(classes):
        raise UserError(
            f"{datalist} has the labels {', '.join(labels)}, and the network knows none of them but "
            f"{', '.join(classes)}."
        )
    for item in items:
        of_label = dict(zip(labels, item["label"], strict=True))
        item["label"] = np.array([of_label.get(name, np.nan) for name in classes], dtype=np.float32)
    return items
