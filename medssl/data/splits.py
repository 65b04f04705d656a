"""Splits by patient: no patient in two of them, findings spread evenly, the same seed always the same split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LABELLED_SPLITS = ("training", "validation", "test")


def split_patients(
    patients: Sequence[str],
    labels: np.ndarray,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
) -> np.ndarray:
    """Put each patient into training, validation or test.

    Patients are placed one after the other, those with most and rarest findings first, each where it brings images,
    positives and negatives of every class nearest to the wanted fractions. Greedy, so close to even but not optimal.

    Args:
        patients: the patient of each of the N images.
        labels: [N, K] of 1, 0, NaN.
        fractions: shares of training, validation and test; they sum to 1, and 0 leaves a split out.
        seed: orders patients that are alike.

    Returns:
        For each image the name of its split, an array of str [N].

    Raises:
        ValueError: the fractions are no shares, or there are fewer patients than splits.
    """
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape != (3,) or (shares < 0).any() or not np.isclose(shares.sum(), 1):
        raise ValueError(f"fractions must be three shares (training, validation, test) that sum to 1, not {fractions}.")
    names, patient_of_image = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    used = np.flatnonzero(shares)
    if len(names) < len(used):
        raise ValueError(
            f"{len(names)} patient(s) cannot fill {len(used)} splits: add patients, or set a fraction to 0."
        )
    features = _features(patient_of_image, np.asarray(labels), len(names))
    chosen = used[_place(features, shares[used], np.random.default_rng(seed))]
    return np.asarray(LABELLED_SPLITS)[chosen][patient_of_image]


def _features(patient_of_image: np.ndarray, labels: np.ndarray, patients: int) -> np.ndarray:
    """Of each patient its share of all images, and of all positives and negatives of each class [P, 1 + 2 K]."""
    columns = np.concatenate([np.ones((len(labels), 1)), labels == 1, labels == 0], axis=1)
    features = np.zeros((patients, columns.shape[1]))
    np.add.at(features, patient_of_image, columns)
    return features / np.maximum(features.sum(axis=0), 1)


def _place(features: np.ndarray, shares: np.ndarray, random: np.random.Generator) -> np.ndarray:
    order = random.permutation(len(features))
    order = order[np.argsort(-(features[order] ** 2).sum(axis=1), kind="stable")]
    missing = shares[:, None] * features.sum(axis=0)  # what each split still lacks [S, F]
    chosen = np.zeros(len(features), dtype=np.int64)
    empty = set(range(len(shares)))
    for place, patient in enumerate(order):
        mine = features[patient]
        # Change of the squared distance to what is wanted when this patient joins each split, relative to the split's
        # share (as in χ²); without that all findings would go to the largest split until it is nearly full.
        cost = (mine * (mine - 2 * missing)).sum(axis=1) / shares
        only_empty = len(order) - place <= len(empty)  # the last patients go where there is none yet
        best = min(empty if only_empty else range(len(shares)), key=lambda split: cost[split])
        chosen[patient] = best
        missing[best] -= mine
        empty.discard(best)
    return chosen
