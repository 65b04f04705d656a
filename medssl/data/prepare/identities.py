"""Whose image each row is: what table, path and DICOM header say of it, brought together under hashed names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..patients import (
    folders_like_patients,
    hash_patient,
    normal_patient,
    patient_places,
    patients_at,
    said_patient,
    telling_names,
)
from ..sources import Source
from ..tables import patient_in_path, study_in_path
from .duplicates import names_in_common
from .gather import Gathered, Inventory

PLACEHOLDERS = "anonymous anonymized anonymised anonym anon deidentified de-identified unknown none null na n/a nan xxx"
"""What programs write over a PatientID, beside numbers, which show by standing everywhere."""
MOST_ALIASES = 9
"""So many patients of a table may have one PatientID because they are one; more have it because it is a placeholder."""
ENOUGH = 3
"""Images that no table names with one PatientID throughout, from which on it is taken for a placeholder."""
Hash = Callable[..., str]


def name_patients(gathered: Gathered, sources: Sequence[Source], salt: str) -> list[str]:
    """Name the patient of every usable row, in place; no name can be traced back without the salt.

    A patient of a table has a number at a site. Of an image that no table names, the patient is, in this order, who
    stands in its path where the paths of the site's table have their patients; who stands there by a public data set's
    rule; the PatientID of the DICOM header; the name of the file or, where that tells nobody apart, of a folder. It is
    of the site in whose folder it lies, or of an unknown one. Patients of tables become one who share a PatientID at a
    site, unless that is a placeholder; or a number of a public data set by whose rule their images are called.

    Args:
        gathered: rows with their ``outcome``. ``patient`` and ``study`` become names; ``known_as`` is added, all that
            the patient of a row may be called, at its site and, where that may be any, without; and the ``note`` of
            an image whose patient is taken from a folder says so.
        sources: of the rows.
        salt: see `hash_patient`.

    Returns:
        Notes on what tables and headers say against each other, with counts.
    """
    rows = gathered.rows
    named: Hash = cache(partial(hash_patient, salt))
    sites = [sources[place].site or sources[place].name for place in rows["place"]]
    headers = [outcome.patient if outcome else "" for outcome in rows["outcome"]]
    rows["site"], rows["header"] = np.array(sites, dtype=object), np.array(headers, dtype=object)
    listed = (rows["row"] > 0).to_numpy()
    notes = _one_for_most(rows, listed) + _drop_placeholders(rows, listed, named)
    spots, public = _learn_spots(gathered, sources, listed), _public_patients(gathered, listed)
    _name_listed(rows, listed, named)
    names, joined = _join(rows, listed, public)
    notes += joined + _name_unlisted(gathered, sources, listed, spots, names, named)
    return notes


def _one_for_most(rows: pd.DataFrame, listed: np.ndarray) -> list[str]:
    known = rows[listed & (rows["stored"] != "").to_numpy()]
    notes = []
    for site in known["site"].unique():
        counts = known.loc[known["site"] == site, "patient"].value_counts()
        most, count = counts.iloc[0], counts.sum()
        if most > max(count / 2, MOST_ALIASES):
            notes.append(
                f"{site}: by the table {most} of {count} images are of one and the same patient, so they stay in one "
                "split: if that is a placeholder, name another column of the patient (columns, in --sources)."
            )
    return notes


def _drop_placeholders(rows: pd.DataFrame, listed: np.ndarray, named: Hash) -> list[str]:
    """Empty each ``header`` that stands in the files of many patients of a table, or means nobody by its words."""
    images = rows[listed & (rows["stored"] != "").to_numpy()]
    known = images[images["header"] != ""]
    each = known.groupby(["site", "header"])["patient"].agg(["nunique", "size"]).reset_index()
    patients, of_all = each["nunique"], each["site"].map(images["site"].value_counts())
    share = each["size"] / each.groupby("site")["size"].transform("sum")
    words = set(map(named, PLACEHOLDERS.split()))
    for_all = (patients > 1) & ((each["size"] == of_all) | each["header"].isin(words))
    found = each[for_all | (patients > MOST_ALIASES) | ((patients > 2) & (share > 0.5))]
    notes = [
        f"{site}: {count} images of {who} patients have one and the same PatientID in their DICOM headers, which is "
        "taken for a placeholder."
        for site, who, count in zip(found["site"], found["nunique"], found["size"], strict=True)
    ]
    rows.loc[rows["header"].isin(set(found["header"])), "header"] = ""
    by_word = rows["header"].isin(words)
    if by_word.any():
        notes.append(f"{by_word.sum()} images have a PatientID that names nobody, such as ANONYMOUS: a placeholder.")
    rows.loc[by_word, "header"] = ""
    return notes


def _learn_spots(gathered: Gathered, sources: Sequence[Source], listed: np.ndarray) -> dict[int, list[str]]:
    """For each source with a table, where the paths of its images have the patient's number."""
    rows, units = gathered.rows, gathered.inventory.units
    known = rows[listed & (rows["unit"] >= 0).to_numpy() & (rows["patient"] != "").to_numpy()]
    spots = {}
    for place, source in enumerate(sources):
        group, folder = known[known["place"] == place], _folder(source)
        spots[place] = patient_places([units[unit].name(folder) for unit in group["unit"]], group["patient"].tolist())
    return spots


def _public_patients(gathered: Gathered, listed: np.ndarray) -> pd.Series:
    """Of each row the patient by a public data set's rule, where its whole table has the same patients; or ""."""
    rows, units = gathered.rows, gathered.inventory.units
    known = rows[listed & (rows["unit"] >= 0).to_numpy() & (rows["patient"] != "").to_numpy()]
    said = pd.Series([patient_in_path(units[unit].path) for unit in known["unit"]], known.index, dtype=object)
    agrees = said.map(normal_patient) == known["patient"]
    return said[agrees.groupby(known["place"]).transform("all")].reindex(rows.index, fill_value="")


def _name_listed(rows: pd.DataFrame, listed: np.ndarray, named: Hash) -> None:
    columns = (rows[name] for name in ("patient", "study", "site", "header"))
    patients, studies, known_as = [], [], []
    for is_listed, number, study, site, header in zip(listed, *columns, strict=True):
        has_name = is_listed and number
        patients.append(named(number, site) if has_name else "")
        studies.append(named(study, site) if study else "")
        names = [named(number), header] if has_name else []
        known_as.append([f"{at}|{name}" for name in filter(None, names) for at in (site, "")])
    rows["patient"], rows["study"], rows["known_as"] = patients, studies, known_as


def _join(rows: pd.DataFrame, listed: np.ndarray, public: pd.Series) -> tuple[dict[str, str], list[str]]:
    """Give patients of tables one name who share a PatientID at a site, or a number of a public data set.

    Args:
        rows: with their names.
        listed: which of them a table names.
        public: of each row the patient whom its path names by a public data set's rule, if its table goes by that.

    Returns:
        The name that now stands for each old one, and for each PatientID of a site (``site|header``); and notes.
    """
    known = rows[listed & (rows["header"] != "").to_numpy() & (rows["patient"] != "").to_numpy()]
    headers = known["site"] + "|" + known["header"]
    shared = known["patient"].groupby(headers).transform("nunique") > 1
    several = headers.groupby(known["patient"]).transform("nunique") > 1
    notes = [
        f"{site}: {count} patients of the table {what} in their DICOM headers; they are kept together, in one split."
        for where, what in ((shared, "share a PatientID with another"), (several, "have several PatientIDs"))
        for site, count in known[where].groupby("site")["patient"].nunique().items()
    ]
    of_sets = public[(public != "") & (rows["patient"] != "")]
    in_several = rows.loc[of_sets.index, "site"].groupby(of_sets).nunique() > 1
    if in_several.any():
        notes.append(
            f"{in_several.sum()} patients are in the tables of several sources, by their numbers in the images' paths; "
            "each is kept in one split."
        )
    patients = pd.concat([known["patient"], rows.loc[of_sets.index, "patient"]])
    names = names_in_common(patients, pd.concat([headers, of_sets]))
    rows["patient"] = rows["patient"].map(lambda name: names.get(name, name))
    return names | dict(zip(headers, known["patient"].map(names), strict=True)), notes


def _name_unlisted(
    gathered: Gathered,
    sources: Sequence[Source],
    listed: np.ndarray,
    spots: Mapping[int, Sequence[str]],
    names: Mapping[str, str],
    named: Hash,
) -> list[str]:
    """Name the patients of usable images that no table names, and say what else they may be called."""
    rows = gathered.rows
    free = ~listed & (rows["reason"] == "").to_numpy()
    part = rows[free]
    doubted, notes = _doubted_headers(part, set().union(*rows["known_as"]), sources)
    homes, sites = _homes(gathered.inventory, sources), _sites(sources)
    folders = [_folder(source) for source in sources]
    paths_in = cache(partial(_paths_and_names, gathered.inventory, sources))
    anywhere = list(dict.fromkeys(spot for some in spots.values() for spot in some))
    found: list[tuple[str, str, str, list[str]]] = []
    for unit, place, header in zip(part["unit"], part["place"], part["header"], strict=True):
        home = homes.get(unit, place)
        site, *other_sites = sites[home] or [""]
        path, name = paths_in(home)[unit]
        at_spots = patients_at(path, spots.get(home, ()) if site else anywhere)
        said = said_patient(path, folders[home])
        number, note = at_spots[0] if site and at_spots else said, ""
        if not number and header and (place, header) not in doubted:
            patient = names.get(f"{site}|{header}") or (named(header, site) if site else header)
        else:
            patient = named(number or name, site or ("" if number else sources[home].name))
            if not number and name in path.split("/")[:-1]:
                note = f"its patient is taken from the folder {name!r}"
        called = {*map(named, filter(None, (*at_spots, said, name, *folders_like_patients(path)))), header} - {""}
        study = study_in_path(path)
        known_as = [f"{at}|{one}" for at in (site, *other_sites) for one in sorted(called)]
        found.append((names.get(patient, patient), named(study, site) if study else "", note, known_as))
    columns = ["patient", "study", "note", "known_as"]
    rows.loc[free, columns] = pd.DataFrame(found, columns=columns, index=part.index, dtype=object)
    return notes


def _doubted_headers(
    part: pd.DataFrame, known: Collection[str], sources: Sequence[Source]
) -> tuple[set[tuple[int, str]], list[str]]:
    """PatientIDs, each with its source, that stand in nearly all of its images and that no table knows; and notes."""
    each = part[part["header"] != ""].groupby(["place", "header"])["unit"].nunique().reset_index()
    share = each["unit"] / each.groupby("place")["unit"].transform("sum")
    all_alike = (share == 1) & (each["unit"] >= ENOUGH) | (share > 0.5) & (each["unit"] > MOST_ALIASES)
    found = each[all_alike & ~("|" + each["header"]).isin(known)]
    notes = [
        f"{sources[place].name}: {count} images that no table names have one PatientID in their DICOM headers, which "
        "is taken for a placeholder: their patients are taken from their paths."
        for place, count in zip(found["place"], found["unit"], strict=True)
    ]
    return set(zip(found["place"], found["header"], strict=True)), notes


def _homes(inventory: Inventory, sources: Sequence[Source]) -> dict[int, int]:
    """Input → the source of a known site in whose folder it lies, of several the innermost."""
    homes: dict[int, int] = {}
    known = [place for place, source in enumerate(sources) if source.csv or source.site]
    for place in sorted(known, key=lambda place: -len(_folder(sources[place]).parts)):
        for unit in inventory.found[place]:
            homes.setdefault(inventory.number[unit.path], place)
    return homes


def _sites(sources: Sequence[Source]) -> list[list[str]]:
    """For each source whose patients the images of its folder may be; empty where that is not known."""
    of_folder: dict[Path, dict[str, None]] = {}
    for source in sources:
        if source.csv or source.site:
            of_folder.setdefault(_folder(source), {})[source.site or source.name] = None
    return [list(of_folder.get(_folder(source), {})) for source in sources]


def _paths_and_names(inventory: Inventory, sources: Sequence[Source], place: int) -> dict[int, tuple[str, str]]:
    """Input of a source → its path below the folder, and the name that tells it apart."""
    folder = _folder(sources[place])
    paths = [unit.name(folder) for unit in inventory.found[place]]
    numbers = (inventory.number[unit.path] for unit in inventory.found[place])
    return dict(zip(numbers, zip(paths, telling_names(paths), strict=True), strict=True))


def _folder(source: Source) -> Path:
    assert source.images is not None  # an npz has been unpacked
    return source.images.resolve()
