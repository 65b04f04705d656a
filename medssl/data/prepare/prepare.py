"""From any number of sources to one checked datalist with its store: what ``medssl prepare`` does.

Every file and every row of a CSV ends in the datalist or, with its reason, in ``report.csv``; nothing is lost on the
way. Stopped at any moment and run again, it goes on where it was and ends with the same files.
"""

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from medssl.errors import UserError
from medssl.files import whole_file

from ..datalist_file import SPLITS, write_datalist
from ..npz import unpack_source
from ..sources import Source, name_sources
from ..splits import check_fractions
from ..store import check_settings, write_settings
from .assign import assign_splits, fill_validation, forget_labels, into_folds, keep_patients_apart, set_aside_misplaced
from .duplicates import join_copies
from .fill import fill_store
from .gather import ALL_VIEWS, KINDS, NO_IMAGE, OTHER_VIEW, VIEWS, Gathered, gather, names_of_units, share_sites
from .identities import name_patients
from .mask_files import note_classes
from .modality import OTHER_MODALITY, settle_modality
from .outcomes import images_of, take_outcomes, write_report
from .proposed_view import Window, check_view, other_spacing, propose_view, spacing_of_headers, stored_spacing
from .rows import ABOUT, Rows
from .summary import Summary

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
    spacing: Sequence[float] | None = None,
    crop: Sequence[int] | None = None,
    window: Window | None = None,
    labels: Sequence[str] | None = None,
    contains: Mapping[str, Sequence[str]] | None = None,
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

    Images with a known label or a mask are split by patient, or as given. All others, also those of sources without a
    table, go to the split ``unlabeled``, unless their patient is in validation or test (see `name_patients` for who
    that is). Images in the folder of a source with a table that no row names are reported and not used; to use them,
    give the folder as a source without a table too.

    Args:
        sources: the hospitals, see `Source`.
        output: folder to write into; it is made.
        spatial_dims: 2 for radiographs; 3 for NIfTI volumes and folders of DICOM slices.
        size: rows and columns of a stored radiograph, the size at which networks are trained.
        spacing: sides of a stored volume's voxels along x, y, z in mm; -1 keeps each file's own. By default that of the
            store, or the median of the volumes where there is none yet.
        crop: voxels along x, y, z of the box of a volume that a network sees at a time; see `propose_view`.
        window: of grey values, by two numbers, or ``lung``, ``soft_tissue``, ``brain``, ``bone``, ``none``; likewise.
        labels: the labels to take, in this order; by default the union of all sources.
        contains: class of masks → the classes that make it up, wherever these were outlined.
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
        UserError: a table, masks or the settings are wrong, ``output`` cannot be written or is being written by another
            process, or no image, or none of the masks, can be used at all. ``report.csv`` is written even then, where
            the images were looked at.
    """
    settings = check_settings(spatial_dims, size, (1, 1, 1) if spacing is None else spacing)
    check_view(spatial_dims, crop, window)
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
        gathered = gather(sources, spatial_dims, labels, output, views, contains)
        rows, inventory, notes = gathered.rows, gathered.inventory, list(gathered.table.notes)

        wanted = sorted(set(rows["unit"][rows.used]))
        units = [inventory.units[unit] for unit in wanted]
        if spatial_dims == 3 and spacing is None:
            settings["spacing"] = stored_spacing(output) or spacing_of_headers(units, modality, workers)
        names = names_of_units(inventory, sources)
        listed = {names[unit] for unit in rows["unit"][rows.listed] if unit >= 0}
        masks = inventory.masks
        drawn = [masks.of_unit.get(unit, ()) for unit in wanted]
        unit_names = [names[unit] for unit in wanted]
        found = fill_store(units, unit_names, settings, output, salt, workers, listed, drawn, masks.classes)
        outcomes = dict(zip(wanted, found, strict=True))

        rows = take_outcomes(rows, outcomes, masks.classes)
        rows, said = name_patients(rows, inventory, sources, salt)
        notes += said
        rows = join_copies(rows)
        rows, modality, said = settle_modality(rows, outcomes, modality, gathered.modalities, spatial_dims)
        notes += said
        rows = set_aside_misplaced(rows)
        try:
            rows = assign_splits(rows, fractions or FRACTIONS, seed)
            rows, said = fill_validation(rows, fractions, seed)
            notes += said
            if labelled_per_class is not None:
                splits = ("training", "test") if partial_test else ("training",)
                rows, said = forget_labels(rows, gathered.table.labels, labelled_per_class, splits, seed)
                notes += said
            rows = keep_patients_apart(rows)
        finally:  # when too little is left to split, the report says why
            report = write_report(output / REPORT, rows, inventory, [source.name for source in sources], outcomes)
        if not rows.used.any():
            raise UserError(_why_nothing(rows, gathered, output / REPORT, spatial_dims))
        notes += note_classes(rows, masks.classes, contains or {}, report, output / REPORT)

        images = images_of(rows, outcomes)
        notes += other_spacing(settings, images) if spatial_dims == 3 and spacing is None else []
        view = propose_view(settings, modality, images, crop, window)
        write_settings(output, {**settings, "modality": modality, "view": view.to_dict()})
        _write(output / DATALIST, rows, gathered, contains or {})
        for path in output.glob("datalist_fold*.json"):  # of a run with more folds
            path.unlink()
        for fold, divided in enumerate(into_folds(rows, folds, seed) if folds else []):
            _write(output / f"datalist_fold{fold}.json", divided, gathered, contains or {})
        summary = Summary(
            datalist=output / DATALIST,
            report=output / REPORT,
            labels=gathered.table.labels,
            classes=masks.classes,
            rows=rows,
            sizes=np.array([image.shape for image in images]),
            spacings=np.array([image.spacing for image in images]),
            set_aside=dict(Counter(filter(None, report["reason"]))),
            view=view,
            added=gathered.table.added,
            notes=notes,
        )
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


def _why_nothing(rows: Rows, gathered: Gathered, report: Path, spatial_dims: int) -> str:
    counts = rows["reason"].value_counts()
    reasons = ", ".join(f"{count} × {reason}" for reason, count in counts.items()) or "there is none"
    said = [f"No image can be used ({reasons}): see {report} for each."]
    if not gathered.inventory.units:
        said.append(f"None of {len(gathered.inventory.others)} files there is a {KINDS[spatial_dims]}.")
    if NO_IMAGE in counts:
        row = rows.table[rows["reason"] == NO_IMAGE].iloc[0]
        said.append(
            f"Row {row['row']} names {row['file']!r}: {row['detail']}{'' if row['detail'][-1] in '.?' else '.'}"
        )
    options = {OTHER_VIEW: "--views all", OTHER_MODALITY: "--modality"}
    asked = ", ".join(["--images, --csv", *(option for reason, option in options.items() if reason in counts)])
    return " ".join(said) + f" Check {asked} and --dims (now {spatial_dims})."


def _write(path: Path, rows: Rows, gathered: Gathered, contains: Mapping[str, Sequence[str]]) -> None:
    splits, classes = {}, gathered.inventory.masks.classes
    for split in SPLITS:
        here = rows.in_splits(split)
        items = []
        states = rows.values[here].tolist(), rows.outlined[here]
        for row, values, outlined in zip(rows.table[here].to_dict("records"), *states, strict=True):
            about = {name: row[name] for name in ABOUT} | {"age": round(min(row["age"], OLDEST), 2)}
            item = {"image": row["stored"], "patient": row["patient"], "source": row["source"], **_known(about)}
            if split != "unlabeled" and (not row["mask"] or np.isfinite(values).any()):
                item["label"] = values
            if split != "unlabeled" and row["mask"]:
                known = [name for name, state in zip(classes, outlined, strict=True) if state == state]  # no NaN
                item |= {"mask": row["mask"], "outlined": known}
            items.append(item)
        splits[split] = items
    write_datalist(path, gathered.table.labels, splits, gathered.table.exclusive, classes, contains)


def _known(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in about.items() if value not in ("", None) and value == value}  # NaN is not


def _salt(path: Path) -> str:
    if not path.is_file():
        with whole_file(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(16) + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
