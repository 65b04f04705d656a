"""How few labelled images will do? Subsets of a split as somebody would label them: patient after patient."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medssl.errors import UserError


def draw_order(patients: Sequence[str], labels: np.ndarray, smallest: int, seed: int = 0) -> np.ndarray:
    """Order images so that the first n are a draw of n images, whatever n: larger draws hold the smaller ones.

    Patients come in random order, all images of one after those of another, so only the last one of a draw may be there
    with some of the images. Where the smallest draw would lack the positives or negatives of a class, the first patient
    with such an image comes earlier; the rarest class first, as far as there is room.

    Args:
        patients: the patient of each of the N images.
        labels: `[N, K]` of 1, 0, NaN (unknown).
        smallest: images of the smallest draw, which shall hold positives and negatives of every class.
        seed: the same seed draws the same images.

    Returns:
        Indices of the images, int64 `[N]`.

    Raises:
        UserError: for a draw of less than one image.
    """
    if smallest < 1:
        raise UserError(f"A draw has at least one image, not {smallest}.")
    random = np.random.default_rng(seed)
    patient, names = pd.factorize(np.asarray(patients, dtype=object), sort=True)
    place = random.permutation(len(names)).astype(np.int64)  # of each patient
    within = random.permutation(len(patient))
    labels = np.asarray(labels)
    outcomes: np.ndarray = np.concatenate([labels == 1, labels == 0], axis=1)
    wanted = [int(column) for column in np.argsort(outcomes.sum(axis=0), kind="stable") if outcomes[:, column].any()]
    first: list[int] = []  # patients that were brought forward
    while True:
        order = np.lexsort((within, place[patient]))
        present: np.ndarray = np.any(outcomes[order[:smallest]], axis=0)
        lacking = [column for column in wanted if not present[column]]
        if not lacking or np.isin(patient, first).sum() >= smallest:
            return order
        holders = np.setdiff1d(patient[outcomes[:, lacking[0]]], first)
        if not len(holders):  # somebody with many images, of which this one does not fit in
            wanted.remove(lacking[0])
            continue
        brought = int(holders[place[holders].argmin()])
        place[brought] = len(first) - len(names)  # before all others, after those brought before
        first.append(brought)
