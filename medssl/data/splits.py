"""Splits by patient: no patient in two of them, findings spread evenly, the same seed always the same split."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array

from medssl.errors import UserError

from .datalist_file import LABELLED_SPLITS


def split_patients(
    patients: Sequence[str],
    labels: np.ndarray,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    wanted: np.ndarray | None = None,
) -> np.ndarray:
    """Put each patient into training, validation or test.

    Patients are placed one after the other, those with most and rarest findings first, each where it brings images,
    positives and negatives of every class nearest to the wanted fractions. Greedy, so close to even but not optimal.

    Args:
        patients: the patient of each of the N images.
        labels: [N, K] of 1, 0, NaN.
        fractions: shares of training, validation and test; they sum to 1, and 0 leaves a split out.
        seed: orders patients that are alike.
        wanted: bool [N, C], what every split is to have where there are patients enough, such as classes that were
            outlined.

    Returns:
        For each image the name of its split, an array of str [N].

    Raises:
        UserError: the fractions are no shares, or there are fewer patients than splits.
    """
    shares = check_fractions(fractions)
    used = np.flatnonzero(shares)
    patient_of_image, features = _features(patients, labels)
    if len(features) < len(used):
        if len(features) == 1 < len(patients):
            raise UserError(
                f"All {len(patients)} images are of one patient, who cannot be in {len(used)} splits: see whether the "
                "table's column of the patient is the right one (another is named by columns, in --sources)."
            )
        raise UserError(
            f"{len(features)} patient(s) cannot fill {len(used)} splits: add patients, or set a fraction (--fractions) "
            "to 0."
        )
    of_patients = _patients_with(wanted, patient_of_image, len(features))
    chosen = used[_place(features, shares[used], np.random.default_rng(seed), of_patients)]
    return np.asarray(LABELLED_SPLITS)[chosen][patient_of_image]


def check_fractions(fractions: Sequence[float]) -> np.ndarray:
    """The shares of training, validation and test as an array [3].

    Raises:
        UserError: they are no shares, or do not sum to 1.
    """
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape != (3,) or not (shares >= 0).all() or not np.isclose(shares.sum(), 1):
        raise UserError(
            "fractions (--fractions) must be three shares (training, validation, test) that sum to 1, not "
            f"{' '.join(map(str, fractions))}."
        )
    return shares


def fold_patients(
    patients: Sequence[str], labels: np.ndarray, folds: int, seed: int = 0, wanted: np.ndarray | None = None
) -> np.ndarray:
    """Put each patient into one of ``folds`` folds of like size and findings, for cross-validation.

    Args:
        patients: the patient of each of the N images.
        labels: [N, K] of 1, 0, NaN.
        folds: how many, 2 or more.
        seed: orders patients that are alike.
        wanted: see `split_patients`.

    Returns:
        For each image the number of its fold from 0, an int64 array [N].

    Raises:
        UserError: there are fewer than two folds, or fewer patients than folds.
    """
    if folds < 2:
        raise UserError(f"folds must be 2 or more, not {folds}.")
    patient_of_image, features = _features(patients, labels)
    if len(features) < folds:
        raise UserError(f"{len(features)} patient(s) cannot fill {folds} folds: add patients, or ask for fewer folds.")
    of_patients = _patients_with(wanted, patient_of_image, len(features))
    return _place(features, np.full(folds, 1 / folds), np.random.default_rng(seed), of_patients)[patient_of_image]


def _features(patients: Sequence[str], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each image's patient [N]; of each patient its share of all images, positives and negatives of each
    class [P, 1 + 2 K].
    """
    patient_of_image, names = pd.factorize(np.asarray(patients, dtype=object), sort=True)
    labels = np.asarray(labels)
    columns = np.concatenate([np.ones((len(labels), 1)), labels == 1, labels == 0], axis=1)
    counts = coo_array((np.ones(len(labels)), (patient_of_image, np.arange(len(labels)))), (len(names), len(labels)))
    features = counts.tocsr() @ columns
    return patient_of_image, features / np.maximum(features.sum(axis=0), 1)


def _patients_with(wanted: np.ndarray | None, patient_of_image: np.ndarray, patients: int) -> np.ndarray:
    """What each patient has [P, C]."""
    has = np.zeros((patients, 0 if wanted is None else wanted.shape[1]), dtype=bool)
    if wanted is not None:
        np.logical_or.at(has, patient_of_image, wanted)
    return has


def _place(features: np.ndarray, shares: np.ndarray, random: np.random.Generator, wanted: np.ndarray) -> np.ndarray:
    order = random.permutation(len(features))
    order = order[np.argsort(-(features[order] ** 2).sum(axis=1), kind="stable")]
    missing = shares[:, None] * features.sum(axis=0)  # what each split still lacks [S, F]
    chosen = np.zeros(len(features), dtype=np.int64)
    empty = set(range(len(shares)))
    lacking, left, has_wishes = np.ones((len(shares), wanted.shape[1]), dtype=bool), wanted.sum(axis=0), wanted.size > 0
    for place, patient in enumerate(order):
        mine = features[patient]
        # Change of the squared distance to what is wanted when this patient joins each split, relative to the split's
        # share (as in χ²); without that all findings would go to the largest split until it is nearly full.
        cost = (mine * (mine - 2 * missing)).sum(axis=1) / shares
        only_empty = len(order) - place <= len(empty)  # the last patients go where there is none yet
        splits: Collection[int] = empty if only_empty else range(len(shares))
        if has_wishes and not only_empty:  # likewise the last who have what a split lacks, where most of it is lacking
            urgent = (lacking & wanted[patient] & (left <= lacking.sum(axis=0))).sum(axis=1)
            splits = np.flatnonzero(urgent == urgent.max()).tolist()
        best = min(splits, key=lambda split: cost[split])
        chosen[patient] = best
        lacking[best] &= ~wanted[patient]
        left -= wanted[patient]
        missing[best] -= mine
        empty.discard(best)
    return chosen
