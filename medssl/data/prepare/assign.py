"""Which image goes into which split: as given or by patient, and no patient of validation or test anywhere else."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..partial_labels import simulate_partial_labels
from ..splits import LABELLED_SPLITS, split_patients
from ..tables import TRAIN_OR_VALIDATION, mark

GIVEN = (*LABELLED_SPLITS, TRAIN_OR_VALIDATION)
"""What a table or source may say of a labelled image's split."""
UNSEEN = "pre-training must not see it"


def assign_splits(rows: pd.DataFrame, values: np.ndarray, fractions: Sequence[float], seed: int) -> None:
    """Fill the column ``split`` of every usable row, in place.

    Rows without a known label become unlabelled; rows with one go where they were put, or where `split_patients` puts
    their patient: into any split, or, where a table leaves only that open, into training or validation. Who was put
    into two splits is set aside.

    Args:
        rows: with ``split``, ``patient``, ``reason`` and ``detail``.
        values: labels [N, K] of 1, 0, NaN.
        fractions: shares of training, validation and test.
        seed: of the split.

    Raises:
        UserError: the fractions are no shares, or there are fewer patients than splits.
    """
    known = np.isfinite(values).any(axis=1)
    held = (rows["reason"] == "").to_numpy() & ~known & rows["split"].isin(["validation", "test"]).to_numpy()
    mark(rows, held, "no label", "it was put into validation or test, and none of its labels is known")
    _set_aside_torn_patients(rows, known)
    used = (rows["reason"] == "").to_numpy()
    rows.loc[used & ~known, "split"] = "unlabeled"
    _follow_given(rows, used & known)
    _split(rows, values, used & known & (rows["split"] == "").to_numpy(), fractions, seed)
    half_open = used & known & (rows["split"] == TRAIN_OR_VALIDATION).to_numpy()
    _split_in_two(rows, values, half_open, fractions, seed)


def split_training(rows: pd.DataFrame, values: np.ndarray, fractions: Sequence[float], seed: int) -> int:
    """Take a validation split out of training, in place; returns of how many patients it is.

    Args:
        rows: with ``split``, ``patient`` and ``reason``.
        values: labels [N, K] of 1, 0, NaN.
        fractions: shares of training, validation and test; the first two are kept to.
        seed: of the split.
    """
    training = ((rows["reason"] == "") & (rows["split"] == "training")).to_numpy()
    _split_in_two(rows, values, training, fractions, seed)
    return int(rows.loc[training & (rows["split"] == "validation").to_numpy(), "patient"].nunique())


def _split_in_two(
    rows: pd.DataFrame, values: np.ndarray, where: np.ndarray, fractions: Sequence[float], seed: int
) -> None:
    """Into training and validation, by their shares; all is training where these have none, or of one patient."""
    training, validation = (share / max(sum(fractions[:2]), 1e-9) for share in fractions[:2])
    if not validation or rows.loc[where, "patient"].nunique() < 2:
        training, validation = 1, 0
    _split(rows, values, where, (training, validation, 0), seed)


def _split(rows: pd.DataFrame, values: np.ndarray, where: np.ndarray, fractions: Sequence[float], seed: int) -> None:
    here = np.flatnonzero(where)
    if len(here):
        patients = numbered_patients(rows["patient"].iloc[here])
        rows.loc[here, "split"] = split_patients(patients, values[here], fractions, seed)


def numbered_patients(patients: pd.Series) -> list[str]:
    """Patients by the order in which they appear: under each salt hashes have another order, and splits would too."""
    codes, _ = pd.factorize(patients)
    return [str(code) for code in codes]


def _set_aside_torn_patients(rows: pd.DataFrame, known: np.ndarray) -> None:
    given = (rows["reason"] == "").to_numpy() & known & rows["split"].isin(GIVEN).to_numpy()
    splits = rows[given].groupby("patient")["split"].unique()
    torn = {patient: " and ".join(sorted(names)) for patient, names in splits.items() if _are_apart(set(names))}
    where = given & rows["patient"].isin(torn).to_numpy()
    details = [f"its patient was put into {torn.get(patient)}: put each into one split" for patient in rows["patient"]]
    mark(rows, where, "patient in two splits", pd.Series(details, index=rows.index))


def _are_apart(splits: set[str]) -> bool:
    return len(splits - {TRAIN_OR_VALIDATION}) > 1 or splits >= {TRAIN_OR_VALIDATION, "test"}


def _follow_given(rows: pd.DataFrame, labelled: np.ndarray) -> None:
    """Images of a patient that was put into a split, but were not themselves, follow there."""
    for given, followers in ((LABELLED_SPLITS, ("", TRAIN_OR_VALIDATION)), ((TRAIN_OR_VALIDATION,), ("",))):
        there = rows[labelled & rows["split"].isin(given).to_numpy()]
        split_of = there.drop_duplicates("patient").set_index("patient")["split"]
        follows = labelled & rows["split"].isin(followers).to_numpy() & rows["patient"].isin(split_of.index).to_numpy()
        rows.loc[follows, "split"] = rows.loc[follows, "patient"].map(split_of)


def forget_labels(
    rows: pd.DataFrame, values: np.ndarray, labels: list[str], count: int, splits: Sequence[str], seed: int
) -> list[str]:
    """Simulate partial labels in some splits, in place; what is not drawn becomes unlabelled.

    Args:
        rows: with ``split`` and ``reason``.
        values: labels [N, K] of 1, 0, NaN.
        labels: names of the K labels.
        count: images labelled for each class, see `simulate_partial_labels`.
        splits: in which labels are forgotten.
        seed: of the draw.

    Returns:
        What fell short, in sentences.
    """
    notes = []
    for split in splits:
        here = np.flatnonzero((rows["reason"] == "") & (rows["split"] == split))
        if not len(here):
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values[here] = simulate_partial_labels(values[here], count, seed, labels)
        notes += [f"{split}: {warning.message}" for warning in caught]
        left_over = here[~np.isfinite(values[here]).any(axis=1)]
        rows.loc[left_over, "split"] = "unlabeled"
    return notes


def keep_patients_apart(rows: pd.DataFrame) -> None:
    """Set aside, in place, unlabelled images of patients in validation or test: pre-training must not see them.

    Args:
        rows: with ``patient``, ``split``, ``reason`` and ``detail``; and ``known_as``, all that the patient of a row
            may be called, in which images that no table names (``row`` 0) are compared with those that one names.
    """
    names, listed = rows["known_as"].explode(), rows["row"] > 0
    for split in ("validation", "test"):
        used = rows["reason"] == ""
        held = rows["patient"].isin(set(rows.loc[used & (rows["split"] == split), "patient"]))
        of_held = names.isin(set(rows.loc[held & listed, "known_as"].explode().dropna())).groupby(level=0).any()
        here = held | (~listed & of_held)
        where = used & (rows["split"] == "unlabeled") & here
        mark(rows, where, f"patient in {split}", UNSEEN)
        rows.loc[where & ~held, "detail"] = (
            f"by its path or DICOM header, and {UNSEEN}; if its hospital is another, say so by a site in --sources"
        )
