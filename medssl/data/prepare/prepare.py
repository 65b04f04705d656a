"""From any number of sources to one checked datalist with its store: what ``python -m medssl prepare`` does.

Every file and every row of a CSV ends in the datalist or, with its reason, in ``report.csv``; nothing is lost on the
way. Stopped at any moment and run again, it goes on where it was and ends with the same files.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.errors import UserError
from medssl.files import whole_file

from ..datalist import SPLITS, write_datalist
from ..images import hash_patient, patient_of
from ..npz import unpack_source
from ..sources import Source, name_sources
from ..splits import fold_patients
from ..store import StoreSettings, check_settings
from .assign import assign_splits, forget_labels, keep_patients_apart, numbered_patients
from .duplicates import join_copies
from .examine import Outcome
from .fill import fill_store
from .gather import Gathered, gather, names_of_units
from .outcomes import take_outcomes, write_report
from .summary import Summary, summarise

DATALIST, REPORT, SALT, UNPACKED = "datalist.json", "report.csv", "patient_salt.txt", "unpacked"


def prepare(
    sources: Sequence[Source],
    output: str | Path,
    *,
    spatial_dims: int = 2,
    size: Sequence[int] = (224, 224),
    spacing: Sequence[float] = (1.0, 1.0, 5.0),
    labels: Sequence[str] | None = None,
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    folds: int = 0,
    labelled_per_class: int | None = None,
    partial_test: bool = True,
    seed: int = 0,
    workers: int | None = None,
    salt: str | None = None,
) -> Summary:
    """Write ``datalist.json``, the store, ``report.csv`` and a summary with plots into ``output``.

    Rows with a known label are split by patient, or as given. Rows without one, and the images of sources without a
    table, go to the split ``unlabeled``, unless their patient is in validation or test. Images in the folder of a
    source with a table that no row names are reported and not used; to use them, give the folder as a source without a
    table too.

    Args:
        sources: the hospitals, see `Source`.
        output: folder to write into; it is made.
        spatial_dims: 2 for radiographs; 3 for NIfTI volumes and folders of DICOM slices.
        size: rows and columns of a stored radiograph, the size at which networks are trained.
        spacing: sides of a stored volume's voxels along x, y, z in mm; -1 keeps each file's own.
        labels: the labels to take, in this order; by default the union of all sources.
        fractions: shares of training, validation and test among patients that no split was given.
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
        UserError: a table or the settings are wrong, ``output`` cannot be written, or no image can be used at all.
            ``report.csv`` is written even then, where the images were looked at.
    """
    settings = check_settings(spatial_dims, size, spacing)
    if folds == 1 or folds < 0:
        raise UserError(f"folds must be 0 (none) or at least 2, not {folds}.")
    output = _made(Path(output).resolve())
    sources = name_sources(sources)
    for source in sources:
        if source.images and source.images.resolve() == output:
            raise UserError(f"{output} holds the images of {source.name}: write into a folder of its own.")
    sources = [unpack_source(source, output / UNPACKED / source.name) for source in sources]
    salt = salt or _salt(output / SALT)
    gathered = gather(sources, spatial_dims, labels, skip=output)
    outcomes = _examine_named(gathered, sources, settings, output, salt, workers)
    gathered = take_outcomes(gathered, outcomes)
    _name_patients(gathered, sources, salt)
    rows, values = gathered.rows, gathered.values
    join_copies(rows, values)
    notes = list(gathered.notes)
    try:
        assign_splits(rows, values, fractions, seed)
        if labelled_per_class is not None:
            splits = ("training", "test") if partial_test else ("training",)
            notes += forget_labels(rows, values, gathered.labels, labelled_per_class, splits, seed)
        keep_patients_apart(rows)
    finally:  # when too little is left to split, the report says why
        report = write_report(output / REPORT, gathered, sources, outcomes)
    if not (rows["reason"] == "").any():
        reasons = ", ".join(rows["reason"].value_counts().index) or "there are none"
        raise UserError(f"No image can be used ({reasons}): see {output / REPORT} for each, and check spatial_dims.")
    _write(output / DATALIST, rows, gathered)
    for path in output.glob("datalist_fold*.json"):  # of a run with more folds
        path.unlink()
    if folds:
        fold_of = _fold_of(rows, values, folds, seed)
        for fold in range(folds):
            _write(output / f"datalist_fold{fold}.json", _in_fold(rows, fold_of, fold), gathered)
    summary = summarise(gathered, report, output / DATALIST, output / REPORT, notes)
    summary.write()
    return summary


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
    outcomes = fill_store(units, [names[unit] for unit in wanted], settings, output, salt, workers)
    return dict(zip(wanted, outcomes, strict=True))


def _name_patients(gathered: Gathered, sources: Sequence[Source], salt: str) -> None:
    """Hash the patients: ``patient`` is told apart by site, ``person`` is not, and that of the DICOM header if any."""
    names, persons = [], []
    for row in gathered.rows.to_dict("records"):
        source, header = sources[row["place"]], row["outcome"].patient if row["outcome"] else ""
        if row["row"]:
            number = row["patient"].removeprefix(source.patient("…")[:-1])
            names.append(hash_patient(salt, row["patient"]))
        else:
            number = patient_of(gathered.inventory.units[row["unit"]].path)
            known = header or hash_patient(salt, number)
            names.append(hash_patient(salt, source.patient(known)) if source.site else known)
        persons.append(header or hash_patient(salt, number))
    gathered.rows["patient"], gathered.rows["person"] = names, persons


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
        items = [
            {"image": image, "patient": patient, "source": source}
            for image, patient, source in zip(part["stored"], part["patient"], part["source"], strict=True)
        ]
        if split != "unlabeled":
            labels = gathered.values[here].tolist()
            items = [{**item, "label": label} for item, label in zip(items, labels, strict=True)]
        splits[split] = items
    write_datalist(path, gathered.labels, splits, gathered.exclusive)


def _salt(path: Path) -> str:
    if not path.is_file():
        with whole_file(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(16) + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
