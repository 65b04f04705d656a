"""The labelled images of a datalist, with their labels in a network's own order of classes, found by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medssl.errors import UserError

from .datalist import read_split

logger = logging.getLogger(__name__)

LABELLED = ("training", "validation", "test")
"""The splits whose images have labels."""


def read_labelled(
    datalist: str | Path, split: str, classes: Sequence[str], exclusive: bool, may_be_empty: bool = False
) -> list[dict[str, Any]]:
    """Read a split for a network whose classes may stand in another order than the datalist's labels, or be others.

    Args:
        datalist: a JSON file ``{"labels": ["Mass"], "test": [{"image": "1.png", "label": [1], "patient": "a"}]}``;
            image paths are relative to it, a label is 1, 0 or null (unknown).
        split: ``training``, ``validation`` or ``test``.
        classes: names of the K classes of the network.
        exclusive: whether the network gives each image exactly one of them.
        may_be_empty: whether a split without images will do.

    Returns:
        For each image ``image``, ``file``, ``patient``, ``source`` and ``label``: float32 [K] of 1, 0, NaN (unknown).
        A class that the datalist does not have is unknown, and a label that the network does not know is left out; the
        log says so. Of exclusive classes, an image of none that the network knows is unknown.

    Raises:
        MissingFileError: the datalist or an image is missing.
        UserError: the datalist breaks its rules, has none of the classes, lets classes occur together that the network
            takes to exclude each other (or the reverse), or has no image in the split.
    """
    if split not in LABELLED:
        raise UserError(f"{datalist} has no labelled split {split!r}: use {', '.join(LABELLED)}.")
    labels, is_exclusive, items = read_split(datalist, split)
    _check_labels(datalist, split, labels, classes)
    if is_exclusive != exclusive:
        raise UserError(_exclusiveness(datalist, labels, classes, exclusive))
    if not items and not may_be_empty:
        raise UserError(f"{datalist} has no image in {split}: name another split, or prepare the images anew.")
    if labels != list(classes):
        for item in items:
            item["label"] = _reordered(dict(zip(labels, item["label"], strict=True)), classes, exclusive)
    return items


def _check_labels(datalist: str | Path, split: str, labels: Sequence[str], classes: Sequence[str]) -> None:
    if not labels:
        raise UserError(f"{datalist} has no labels: prepare the images again with a table (--csv).")
    unknown, lacking = (
        [name for name in one if name not in other] for one, other in ((labels, classes), (classes, labels))
    )
    if len(unknown) == len(labels):
        raise UserError(
            f"{datalist} has the labels {', '.join(labels)}, and the network knows none of them but "
            f"{', '.join(classes)}."
        )
    if unknown:
        logger.warning("Of %s in %s the network knows no %s: left out.", split, datalist, ", ".join(unknown))
    if lacking:
        logger.warning("In %s of %s there is no %s: unknown throughout.", split, datalist, ", ".join(lacking))


def _exclusiveness(datalist: str | Path, labels: Sequence[str], classes: Sequence[str], exclusive: bool) -> str:
    one, other = "exclude each other", "may occur together"
    ours, theirs = (one, other) if exclusive else (other, one)
    return (
        f"The network's classes ({', '.join(classes)}) {ours}, and the labels of {datalist} ({', '.join(labels)}) "
        f"{theirs}: probabilities of the one kind cannot be held against the other."
    )


def _reordered(of_label: Mapping[str, float], classes: Sequence[str], exclusive: bool) -> np.ndarray:
    label = np.array([of_label.get(name, np.nan) for name in classes], dtype=np.float32)
    if exclusive:  # whoever has one of the classes has none of the others, also of those that the datalist lacks
        label = np.where(label == 1, 1, 0) if (label == 1).any() else np.full_like(label, np.nan)
    return label.astype(np.float32)
