"""Partial labels: counting what is known, and simulating what partly annotating sites leave unknown."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medssl.errors import UserError


def label_counts(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives of each class, unknown entries left out.

    Args:
        labels: [N, K] of 1, 0, NaN (unknown).

    Returns:
        Two int64 arrays [K].
    """
    labels = np.asarray(labels)
    return (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)


def is_auroc_defined(items: Iterable[Mapping[str, Any]]) -> bool:
    """Whether some class has known positive and known negative images, so that there is an AUROC.

    Args:
        items: of a datalist, with ``label`` [K].
    """
    positive, negative = label_counts(np.array([item["label"] for item in items], ndmin=2))
    return bool(((positive > 0) & (negative > 0)).any())


def simulate_partial_labels(
    labels: np.ndarray, labelled_per_class: int = 200, seed: int = 0, names: Sequence[str] | None = None
) -> np.ndarray:
    """Forget labels as Dong et al. 2024 do (Sec. 6.1): each kept image is labelled for one class only.

    For each class, ``labelled_per_class / 2`` positive and as many negative images are drawn, no image twice; they keep
    that class's label, and everything else becomes unknown. Images that nobody drew are unknown throughout.

    As many of a class's negatives have another of the findings as in all of the split, so far as the positives leave
    such images. (Drawn blindly they would, in a small split, be nearly all without any: its positives use up the images
    with findings. Then "has it anything?" answers nearly as well as what was asked, in training but not in the test.)

    Call it on one split at a time: no patient crosses a split then. (The paper samples its test set likewise.)

    Args:
        labels: [N, K] of 1, 0, NaN; entries unknown already are never drawn.
        labelled_per_class: images to label for each class, an even number.
        seed: the same seed draws the same images.
        names: names of the K classes, for the warning.

    Returns:
        float32 [N, K] of 1, 0, NaN.

    Warns:
        UserWarning: a class has too few positives (or negatives) left; it gets all there are of these, and as many of
            the others. The warning names class and count. Another one says where too few images with other findings
            were left for its negatives.

    Raises:
        UserError: ``labels`` is not [N, K], or ``labelled_per_class`` is not even and positive.
    """
    labels = np.asarray(labels, dtype=np.float32)
    if labels.ndim != 2:
        raise UserError(f"Labels must have the shape [images, classes], not {labels.shape}.")
    if labelled_per_class < 2 or labelled_per_class % 2:
        raise UserError(f"labelled_per_class must be an even number from 2, not {labelled_per_class}.")
    half = labelled_per_class // 2
    random = np.random.default_rng(seed)
    free = np.ones(len(labels), dtype=bool)
    positives = _draw_positives(labels == 1, free, half, random)
    counts = [len(rows) for rows in positives]
    found = (labels == 1).any(axis=1)
    negatives = _draw_negatives(labels == 0, found, free, counts, random)
    partial = np.full_like(labels, np.nan)
    short, plain = [], []
    for column in range(labels.shape[1]):
        count = min(len(positives[column]), len(negatives[column]))
        partial[positives[column][:count], column] = 1
        partial[negatives[column][:count], column] = 0
        name = names[column] if names else f"class {column}"
        if count < half:
            short.append(f"{name} {count}")
        with_finding, wanted = found[negatives[column][:count]].sum(), count * found[labels[:, column] == 0].sum()
        if with_finding < wanted // max((labels[:, column] == 0).sum(), 1):
            plain.append(f"{name} {with_finding} of {count}")
    if short:
        warnings.warn(
            f"Too few images for {half} positives and {half} negatives of every class; of each there are: "
            f"{', '.join(short)}.",
            stacklevel=2,
        )
    if plain:
        warnings.warn(
            "The positives leave too few images with other findings for the negatives; of each class there are: "
            f"{', '.join(plain)}, fewer than in the whole split. Label fewer images a class for a fair draw.",
            stacklevel=2,
        )
    return partial


def _draw_positives(
    positive: np.ndarray, free: np.ndarray, count: int, random: np.random.Generator
) -> list[np.ndarray]:
    """Up to ``count`` free rows for each column, which are then no longer free; rare classes before common ones."""
    drawn: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * positive.shape[1]
    for column in np.argsort(positive.sum(axis=0), kind="stable"):
        rows = random.permutation(np.flatnonzero(positive[:, column] & free))[:count]
        free[rows] = False
        drawn[column] = rows
    return drawn


def _draw_negatives(
    negative: np.ndarray, found: np.ndarray, free: np.ndarray, counts: list[int], random: np.random.Generator
) -> list[list[int]]:
    """As many free rows as ``counts`` says, one column after the other in turns, so that all share what there is.

    Of the rows of a column that are drawn the share ``found`` is that of all its rows, as long as there are both kinds.
    """
    waiting = [
        [random.permutation(np.flatnonzero(column & kind)).tolist() for kind in (~found, found)]
        for column in negative.T
    ]
    shares = [found[column].mean() if column.any() else 0.0 for column in negative.T]
    begun = random.random(len(counts))  # a column of few rows gets a whole number of them: which, is left to chance
    drawn: list[list[int]] = [[] for _ in counts]
    with_finding = [0] * len(counts)
    for turn in range(max(counts, default=0)):
        for column, count in enumerate(counts):
            if turn >= count:
                continue
            wanted = int(with_finding[column] + 1 <= shares[column] * (turn + 1) + begun[column])
            for kind in (wanted, 1 - wanted):
                row = _next_free(waiting[column][kind], free)
                if row is not None:
                    free[row] = False
                    drawn[column].append(row)
                    with_finding[column] += kind
                    break
    return drawn


def _next_free(waiting: list[int], free: np.ndarray) -> int | None:
    while waiting:
        row = waiting.pop()
        if free[row]:
            return row
    return None


HEADS = ("merged", "source")
"""Whether a class has one output in training, or one for each source."""


def labels_by_source(
    items: Sequence[Mapping[str, Any]], heads: str = "source", exclusive: bool = False
) -> list[dict[str, Any]]:
    """Items whose labels are those of their own source only, for one output layer a source.

    Args:
        items: of a datalist, with ``source`` and ``label`` [K].
        heads: of `HEADS`: `merged` leaves the items as they are.
        exclusive: whether each image has exactly one of the classes.

    Returns:
        The items with ``label`` float32 [S · K], source by source in the order of their names: unknown at all sources
        but the item's own.

    Raises:
        UserError: the classes exclude each other, or all images are of one source.
    """
    if heads == "merged":
        return [dict(item) for item in items]
    if exclusive:
        raise UserError("heads source is for findings, and these classes exclude each other: leave --heads out.")
    sources = {name: place for place, name in enumerate(sorted({item["source"] for item in items}))}
    if len(sources) < 2:
        raise UserError("heads source needs images of several sources in training, and there is one: leave it out.")

    def widened(item: Mapping[str, Any]) -> np.ndarray:
        label = np.full((len(sources), len(item["label"])), np.nan, dtype=np.float32)
        label[sources[item["source"]]] = item["label"]
        return label.ravel()

    return [{**item, "label": widened(item)} for item in items]
