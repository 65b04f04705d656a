"""From any number of sources to one checked datalist with its store: what ``python -m medssl prepare`` does.

Every file and every row of a CSV ends in the datalist or, with its reason, in ``report.csv``; nothing is lost on the
way. Stopped at any moment and run again, it goes on where it was and ends with the same files.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from medssl.errors import UserError
from medssl.files import whole_file

from ..datalist import SPLITS, write_datalist
from ..npz import unpack_source
from ..sources import Source, name_sources
from ..splits import check_fractions, fold_patients
from ..store import StoreSettings, check_settings, write_settings
from .assign import assign_splits, forget_labels, keep_patients_apart, numbered_patients, split_training
from .duplicates import join_copies
from .examine import Outcome
from .fill import fill_store
from .gather import ABOUT, ALL_VIEWS, KINDS, NO_IMAGE, OTHER_VIEW, VIEWS, Gathered, gather, names_of_units, share_sites
from .identities import name_patients
from .modality import OTHER_MODALITY, settle_modality
from .outcomes import take_outcomes, write_report
from .summary import Summary, summarise

DATALIST, REPORT, SALT, UNPACKED, LOCK = "datalist.json", "report.csv", "patient_salt.txt", "unpacked", ".lock"
FRACTIONS = (0.7, 0.1, 0.2)
OLDEST = 90
"""Years; whoever is older has this age in the datalist, for a higher one would point at a person."""


def prepare(
    sources: Sequence[Source],
    output: str | Path,
    *,
    spatial_dims: int = 2,
    size: Sequence[int] = (224, 224),
    spacing: Sequence[float] = (1.0, 1.0, 5.0),
    labels: Sequence[str] | None = None,
    views: Sequence[str] = ("frontal",),
    modality: str = "",
    fractions: Sequence[float] | None = None,
    folds: int = 0,
    labelled_per_class: int | None = None,
    partial_test: bool = True,
    seed: int = 0,
    workers: int | None = None,
    salt: str | None = None,
) -> Summary:
    """Write ``datalist.json``, the store, ``report.csv`` and a summary with plots into ``output``.

    Rows with a known label are split by patient, or as given. Rows without one, and the images of sources without a
    table, go to the split ``unlabeled``, unless their patient is in validation or test (see `name_patients` for who
    that is). Images in the folder of a source with a table that no row names are reported and not used; to use them,
    give the folder as a source without a table too.

    Args:
        sources: the hospitals, see `Source`.
        output: folder to write into; it is made.
        spatial_dims: 2 for radiographs; 3 for NIfTI volumes and folders of DICOM slices.
        size: rows and columns of a stored radiograph, the size at which networks are trained.
        spacing: sides of a stored volume's voxels along x, y, z in mm; -1 keeps each file's own.
        labels: the labels to take, in this order; by default the union of all sources.
        views: ``frontal`` (PA, AP, or no more than that), ``PA``, ``AP``, ``lateral``, or ``all``; where a table knows
            the view, rows of others are set aside.
        modality: of the images, as DICOM calls it; by default the most frequent that their files or tables state. Those
            of another kind are set aside.
        fractions: shares of training, validation and test among patients that no split was given; by default 0.7, 0.1,
            0.2. Where the given splits leave no validation, it is taken out of training only if fractions are given.
        folds: also write ``datalist_fold0.json`` and so on: training and validation divided anew by patient, each part
            once as validation, all with the same test split.
        labelled_per_class: forget labels in training and test as Dong et al. 2024 do, see `simulate_partial_labels`.
            Validation is kept as it is.
        partial_test: forget labels in test too, as the paper does; False keeps all of them, for figures that vary less.
        seed: of split, folds and simulation.
        workers: threads that prepare images, see `fill_store`.
        salt: secret with which patients' identifiers are hashed; by default that of ``output/patient_salt.txt``, which
            is made at the first run. Who has it can trace patients back: do not pass it on with the datalist.

    Returns:
        What was used and set aside; ``rich.print(summary)`` shows it.

    Raises:
        MissingFileError: a folder or a CSV is missing.
        UserError: a table or the settings are wrong, ``output`` cannot be written or is being written by another
            process, or no image can be used at all. ``report.csv`` is written even then, where the images were looked
            at.
    """
    settings = check_settings(spatial_dims, size, spacing)
    if folds == 1 or folds < 0:
        raise UserError(f"folds (--folds) must be 0 (none) or at least 2, not {folds}.")
    if fractions is not None:
        check_fractions(fractions)
    views = _check_views(views)
    output = _made(Path(output).resolve())
    sources = name_sources(sources)
    for source in sources:
        if source.images and source.images.resolve() == output:
            raise UserError(f"{output} holds the images of {source.name}: write into a folder of its own.")
    with _alone_in(output):
        sources = [unpack_source(source, output / UNPACKED / source.name) for source in sources]
        sources = share_sites(sources)
        salt = salt or _salt(output / SALT)
        gathered = gather(sources, spatial_dims, labels, output, views)
        outcomes = _examine_named(gathered, sources, settings, output, salt, workers)
        gathered = take_outcomes(gathered, outcomes)
        rows, values = gathered.rows, gathered.values
        notes = [*gathered.notes, *name_patients(gathered, sources, salt)]
        join_copies(rows, values)
        modality, more = settle_modality(rows, modality, gathered.modalities, spatial_dims, output)
        notes += more
        try:
            assign_splits(rows, values, fractions or FRACTIONS, seed)
            notes += _fill_validation(rows, values, fractions, seed)
            if labelled_per_class is not None:
                splits = ("training", "test") if partial_test else ("training",)
                notes += forget_labels(rows, values, gathered.labels, labelled_per_class, splits, seed)
            keep_patients_apart(rows)
        finally:  # when too little is left to split, the report says why
            report = write_report(output / REPORT, gathered, sources, outcomes)
        if not (rows["reason"] == "").any():
            raise UserError(_why_nothing(gathered, output / REPORT, spatial_dims))
        write_settings(output, {**settings, "modality": modality})
        _write(output / DATALIST, rows, gathered)
        for path in output.glob("datalist_fold*.json"):  # of a run with more folds
            path.unlink()
        if folds:
            fold_of = _fold_of(rows, values, folds, seed)
            for fold in range(folds):
                _write(output / f"datalist_fold{fold}.json", _in_fold(rows, fold_of, fold), gathered)
        summary = summarise(gathered, report, output / DATALIST, output / REPORT, modality, notes)
        summary.write()
    return summary


def _check_views(views: Sequence[str]) -> list[str]:
    known = {name.lower(): name for name in (*VIEWS, ALL_VIEWS)}
    for view in views:
        if view.lower() not in known:
            raise UserError(f"views (--views) must be of {', '.join(known.values())}, not {view!r}.")
    return [known[view.lower()] for view in views]


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    """Nobody else prepares into the folder; a lock of the system's, which ends with the process however that ends."""
    lock = FileLock(output / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"Another `medssl prepare` is writing into {output}: wait until it has ended, or choose another folder."
        ) from error
    except OSError as error:
        raise UserError(f"{lock.lock_file} cannot be written ({error.strerror}): choose another folder.") from error
    try:
        yield
    finally:
        lock.release()


def _made(output: Path) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {output} cannot be made ({error.strerror}): choose another.") from error
    return output


def _examine_named(
    gathered: Gathered,
    sources: Sequence[Source],
    settings: StoreSettings,
    output: Path,
    salt: str,
    workers: int | None,
) -> dict[int, list[Outcome]]:
    """What became of each input that a sound row names."""
    rows = gathered.rows
    wanted = sorted(set(rows.loc[(rows["reason"] == "") & (rows["unit"] >= 0), "unit"]))
    names = names_of_units(gathered.inventory, sources)
    units = [gathered.inventory.units[unit] for unit in wanted]
    listed = {names[unit] for unit in rows.loc[(rows["row"] > 0) & (rows["unit"] >= 0), "unit"]}
    outcomes = fill_store(units, [names[unit] for unit in wanted], settings, output, salt, workers, listed)
    return dict(zip(wanted, outcomes, strict=True))


def _fill_validation(rows: pd.DataFrame, values: np.ndarray, fractions: Sequence[float] | None, seed: int) -> list[str]:
    """Where the given splits leave none: takes it out of training if fractions were asked for, and else says how."""
    splits = set(rows.loc[rows["reason"] == "", "split"])
    if "validation" in splits or "training" not in splits:
        return []
    if fractions is None:
        return [
            "Fine-tuning needs a validation split: --fractions 0.7 0.1 0.2 takes one out of training, an eighth of its "
            "patients; or say validation in the column split."
        ]
    if not fractions[1]:
        return ["Fine-tuning needs a validation split, and --fractions leaves it out."]
    patients = split_training(rows, values, fractions, seed)
    return [f"Nobody was put into validation: {patients} patients of training were, as --fractions asks."]


def _why_nothing(gathered: Gathered, report: Path, spatial_dims: int) -> str:
    rows = gathered.rows
    counts = rows["reason"].value_counts()
    reasons = ", ".join(f"{count} × {reason}" for reason, count in counts.items()) or "there is none"
    said = [f"No image can be used ({reasons}): see {report} for each."]
    if not gathered.inventory.units:
        said.append(f"None of {len(gathered.inventory.others)} files there is a {KINDS[spatial_dims]}.")
    if NO_IMAGE in counts:
        row = rows[rows["reason"] == NO_IMAGE].iloc[0]
        said.append(
            f"Row {row['row']} names {row['file']!r}: {row['detail']}{'' if row['detail'][-1] in '.?' else '.'}"
        )
    options = {OTHER_VIEW: "--views all", OTHER_MODALITY: "--modality"}
    asked = ", ".join(["--images, --csv", *(option for reason, option in options.items() if reason in counts)])
    return " ".join(said) + f" Check {asked} and --dims (now {spatial_dims})."


def _in_fold(rows: pd.DataFrame, fold_of: np.ndarray, fold: int) -> pd.DataFrame:
    rows = rows.copy()
    rows.loc[fold_of >= 0, "split"] = np.where(fold_of[fold_of >= 0] == fold, "validation", "training")
    keep_patients_apart(rows)
    return rows


def _fold_of(rows: pd.DataFrame, values: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row of training and validation, -1 for all others."""
    here = np.flatnonzero((rows["reason"] == "") & rows["split"].isin(["training", "validation"]))
    fold_of = np.full(len(rows), -1)
    fold_of[here] = fold_patients(numbered_patients(rows["patient"].iloc[here]), values[here], folds, seed)
    return fold_of


def _write(path: Path, rows: pd.DataFrame, gathered: Gathered) -> None:
    splits = {}
    for split in SPLITS:
        here = np.flatnonzero((rows["reason"] == "") & (rows["split"] == split))
        part = rows.iloc[here]
        ages = [round(min(age, OLDEST), 2) for age in part["age"]]
        about = zip(part["study"], ages, part["sex"], part["view"], strict=True)
        items = [
            {"image": image, "patient": patient, "source": source, **_known(dict(zip(ABOUT, each, strict=True)))}
            for image, patient, source, each in zip(part["stored"], part["patient"], part["source"], about, strict=True)
        ]
        if split != "unlabeled":
            labels = gathered.values[here].tolist()
            items = [{**item, "label": label} for item, label in zip(items, labels, strict=True)]
        splits[split] = items
    write_datalist(path, gathered.labels, splits, gathered.exclusive)


def _known(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in about.items() if value not in ("", None) and value == value}  # NaN is not


def _salt(path: Path) -> str:
    if not path.is_file():
        with whole_file(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(16) + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
