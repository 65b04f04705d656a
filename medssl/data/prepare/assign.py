"""Which image goes into which split: as given or by patient, and no patient of validation or test anywhere else."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ..partial_labels import simulate_partial_labels
from ..splits import LABELLED_SPLITS, fold_patients, split_patients
from ..tables import TRAIN_OR_VALIDATION
from .rows import Rows

GIVEN = (*LABELLED_SPLITS, TRAIN_OR_VALIDATION)
"""What a table or source may say of a labelled image's split."""
UNSEEN = "pre-training must not see it"


def set_aside_misplaced(rows: Rows) -> Rows:
    """Set aside what was put where it cannot be: into a test without a known label, or with a patient of two splits."""
    held = rows.in_splits("validation", "test") & ~rows.known
    rows = rows.set_aside(held, "no label", "it was put into validation or test, and none of its labels is known")
    given = rows.in_splits(*GIVEN) & rows.known
    splits = rows.table[given].groupby("patient")["split"].unique()
    torn = {patient: " and ".join(sorted(names)) for patient, names in splits.items() if _are_apart(set(names))}
    details = [f"its patient was put into {torn.get(patient)}: put each into one split" for patient in rows["patient"]]
    return rows.set_aside(given & rows["patient"].isin(torn).to_numpy(), "patient in two splits", details)


def _are_apart(splits: set[str]) -> bool:
    return len(splits - {TRAIN_OR_VALIDATION}) > 1 or splits >= {TRAIN_OR_VALIDATION, "test"}


def assign_splits(rows: Rows, fractions: Sequence[float], seed: int) -> Rows:
    """Rows of which every used one has its split.

    Rows without a known label become unlabelled; rows with one go where they were put, or where `split_patients` puts
    their patient: into any split, or, where a table leaves only that open, into training or validation.

    Args:
        rows: with the names of their patients, and none that is misplaced.
        fractions: shares of training, validation and test.
        seed: of the split.

    Raises:
        UserError: the fractions are no shares, or there are fewer patients than splits.
    """
    rows = rows.put(rows.used & ~rows.known, split="unlabeled")
    rows = _follow(rows, LABELLED_SPLITS, ("", TRAIN_OR_VALIDATION))
    rows = _follow(rows, (TRAIN_OR_VALIDATION,), ("",))
    rows = _split(rows, rows.in_splits("") & rows.known, fractions, seed)
    return _split_in_two(rows, rows.in_splits(TRAIN_OR_VALIDATION) & rows.known, fractions, seed)


def fill_validation(rows: Rows, fractions: Sequence[float] | None, seed: int) -> tuple[Rows, list[str]]:
    """Where the given splits leave no validation: takes it out of training if shares were asked for, or says how."""
    if rows.in_splits("validation").any() or not rows.in_splits("training").any():
        return rows, []
    if fractions is None:
        return rows, [
            "Fine-tuning needs a validation split: --fractions 0.7 0.1 0.2 takes one out of training, an eighth of its "
            "patients; or say validation in the column split."
        ]
    if not fractions[1]:
        return rows, ["Fine-tuning needs a validation split, and --fractions leaves it out."]
    rows = _split_in_two(rows, rows.in_splits("training"), fractions, seed)
    patients = rows["patient"][rows.in_splits("validation")].nunique()
    return rows, [f"Nobody was put into validation: {patients} patients of training were, as --fractions asks."]


def _split_in_two(rows: Rows, where: np.ndarray, fractions: Sequence[float], seed: int) -> Rows:
    """Into training and validation, by their shares; all is training where these have none, or of one patient."""
    training, validation = (share / max(sum(fractions[:2]), 1e-9) for share in fractions[:2])
    if not validation or rows["patient"][where].nunique() < 2:
        training, validation = 1, 0
    return _split(rows, where, (training, validation, 0), seed)


def _split(rows: Rows, where: np.ndarray, fractions: Sequence[float], seed: int) -> Rows:
    if not where.any():
        return rows
    wanted = np.isfinite(rows.outlined[where])
    splits = split_patients(_numbered(rows, where), rows.states[where], fractions, seed, wanted)
    return rows.put(where, split=splits)


def _numbered(rows: Rows, where: np.ndarray) -> list[str]:
    """Patients by the order in which they appear: under each salt hashes have another order, and splits would too."""
    codes, _ = pd.factorize(rows["patient"][where])
    return [str(code) for code in codes]


def _follow(rows: Rows, given: Sequence[str], followers: Sequence[str]) -> Rows:
    """Images of a patient that was put into a split, but were not themselves, follow there."""
    there = rows.table[rows.in_splits(*given) & rows.known]
    split_of = there.drop_duplicates("patient").set_index("patient")["split"]
    follows = rows.in_splits(*followers) & rows.known & rows["patient"].isin(split_of.index).to_numpy()
    return rows.put(follows, split=rows["patient"][follows].map(split_of))


def forget_labels(
    rows: Rows, labels: Sequence[str], count: int, splits: Sequence[str], seed: int
) -> tuple[Rows, list[str]]:
    """Simulate partial labels in some splits; what is not drawn becomes unlabelled.

    Args:
        rows: with their splits.
        labels: names of the K labels.
        count: images labelled for each class, see `simulate_partial_labels`.
        splits: in which labels are forgotten.
        seed: of the draw.

    Returns:
        The rows; and what fell short, in sentences.
    """
    values, notes = rows.values.copy(), []
    for split in splits:
        here = rows.in_splits(split)
        if here.any():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                values[here] = simulate_partial_labels(values[here], count, seed, labels)
            notes += [f"{split}: {warning.message}" for warning in caught]
    rows = replace(rows, values=values)
    return rows.put(rows.in_splits(*splits) & ~rows.known, split="unlabeled"), notes


def keep_patients_apart(rows: Rows) -> Rows:
    """Set aside unlabelled images of patients in validation or test: pre-training must not see them.

    Images that no table names are compared with those that one names in all that their patients may be called.
    """
    names = rows["known_as"].explode()
    for split in ("validation", "test"):
        held = rows["patient"].isin(set(rows["patient"][rows.in_splits(split)])).to_numpy()
        called = set(rows["known_as"][held & rows.listed].explode().dropna())
        by_name = ~rows.listed & names.isin(called).groupby(level=0).any().to_numpy()
        said = f"by its path or DICOM header, and {UNSEEN}; if its hospital is another, say so by a site in --sources"
        where = rows.in_splits("unlabeled") & (held | by_name)
        rows = rows.set_aside(where, f"patient in {split}", np.where(held, UNSEEN, said))
    return rows


def into_folds(rows: Rows, folds: int, seed: int) -> list[Rows]:
    """For each fold the rows with training and validation divided anew by patient, each part once as validation."""
    here = rows.in_splits("training", "validation")
    wanted = np.isfinite(rows.outlined[here])
    fold_of = fold_patients(_numbered(rows, here), rows.states[here], folds, seed, wanted)
    divided = [rows.put(here, split=np.where(fold_of == fold, "validation", "training")) for fold in range(folds)]
    return [keep_patients_apart(each) for each in divided]
