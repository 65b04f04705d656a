"""Whose image each row is: what table, path and DICOM header say of it, brought together under hashed names."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

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
from .gather import Inventory
from .rows import Rows

PLACEHOLDERS = "anonymous anonymized anonymised anonym anon deidentified de-identified unknown none null na n/a nan xxx"
"""What programs write over a PatientID, beside numbers, which show by standing everywhere."""
MOST_ALIASES = 9
"""So many patients of a table may have one PatientID because they are one; more have it because it is a placeholder."""
ENOUGH = 3
"""Images that no table names with one PatientID throughout, from which on it is taken for a placeholder."""
Hash = Callable[..., str]


def name_patients(rows: Rows, inventory: Inventory, sources: Sequence[Source], salt: str) -> tuple[Rows, list[str]]:
    """Name the patient of every usable row; no name can be traced back without the salt.

    A patient of a table has a number at a site. Of an image that no table names, the patient is, in this order, who
    stands in its path where the paths of the site's table have their patients; who stands there by a public data set's
    rule; the PatientID of the DICOM header; the name of the file or, where that tells nobody apart, of a folder. It is
    of the site in whose folder it lies, or of an unknown one. Patients of tables become one who share a PatientID at a
    site, unless that is a placeholder; or a number of a public data set by whose rule their images are called.

    Args:
        rows: with their outcomes.
        inventory: the inputs.
        sources: of the rows.
        salt: see `hash_patient`.

    Returns:
        The rows, in which ``patient`` and ``study`` are names, ``known_as`` has all that the patient may be called, at
        its site and, where that may be any, without, and the ``note`` of an image whose patient is taken from a folder
        says so; and notes on what tables and headers say against each other, with counts.
    """
    named: Hash = cache(partial(hash_patient, salt))
    sites = rows["place"].map({place: source.site or source.name for place, source in enumerate(sources)})
    notes = _one_for_most(rows, sites)
    rows, placeholders = _drop_placeholders(rows, sites, named)
    numbered = rows.table[rows.listed & ((rows["unit"] >= 0) & (rows["patient"] != "")).to_numpy()]
    spots = _learn_spots(numbered, inventory)
    public = _public_patients(numbered, inventory).reindex(rows.table.index, fill_value="")
    rows = _name_listed(rows, sites, named)
    rows, names, joined = _join(rows, sites, public)
    rows, doubts = _name_unlisted(rows, inventory, sources, spots, names, named)
    return rows, [*notes, *placeholders, *joined, *doubts]


def _one_for_most(rows: Rows, sites: pd.Series) -> list[str]:
    here = rows.listed & (rows["stored"] != "").to_numpy()
    notes = []
    for site, patients in rows["patient"][here].groupby(sites[here], sort=False):
        counts = patients.value_counts()
        most, count = counts.iloc[0], counts.sum()
        if most > max(count / 2, MOST_ALIASES):
            notes.append(
                f"{site}: by the table {most} of {count} images are of one and the same patient, so they stay in one "
                "split: if that is a placeholder, name another column of the patient (columns, in --sources)."
            )
    return notes


def _drop_placeholders(rows: Rows, sites: pd.Series, named: Hash) -> tuple[Rows, list[str]]:
    """Empty each ``header`` that stands in the files of many patients of a table, or means nobody by its words."""
    images = rows.table.assign(site=sites)[rows.listed & (rows["stored"] != "").to_numpy()]
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
    by_table = rows["header"].isin(set(found["header"])).to_numpy()
    by_word = rows["header"].isin(words).to_numpy() & ~by_table
    if by_word.any():
        notes.append(f"{by_word.sum()} images have a PatientID that names nobody, such as ANONYMOUS: a placeholder.")
    return rows.put(by_table | by_word, header=""), notes


def _learn_spots(numbered: pd.DataFrame, inventory: Inventory) -> dict[int, list[str]]:
    """For each source with a table, where the paths of its images have the patient's number."""
    spots = {}
    for place in numbered["place"].unique().tolist():
        group = numbered[numbered["place"] == place]
        spots[place] = patient_places(
            [inventory.path(unit, place) for unit in group["unit"]], group["patient"].tolist()
        )
    return spots


def _public_patients(numbered: pd.DataFrame, inventory: Inventory) -> pd.Series:
    """Of each row the patient by a public data set's rule, where its whole table has the same patients."""
    said = [patient_in_path(inventory.units[unit].path) for unit in numbered["unit"]]
    public = pd.Series(said, numbered.index, dtype=object)
    agrees = public.map(normal_patient) == numbered["patient"]
    return public[agrees.groupby(numbered["place"]).transform("all")]


def _name_listed(rows: Rows, sites: pd.Series, named: Hash) -> Rows:
    columns = (rows[name] for name in ("patient", "study", "header"))
    patients, studies, known_as = [], [], []
    for is_listed, site, number, study, header in zip(rows.listed, sites, *columns, strict=True):
        has_name = is_listed and number
        patients.append(named(number, site) if has_name else "")
        studies.append(named(study, site) if study else "")
        names = [named(number), header] if has_name else []
        known_as.append([f"{at}|{name}" for name in filter(None, names) for at in (site, "")])
    return rows.put(rows.every, patient=patients, study=studies, known_as=known_as)


def _join(rows: Rows, sites: pd.Series, public: pd.Series) -> tuple[Rows, dict[str, str], list[str]]:
    """Give patients of tables one name who share a PatientID at a site, or a number of a public data set.

    Args:
        rows: with their names.
        sites: of the rows.
        public: of each row the patient whom its path names by a public data set's rule, if its table goes by that.

    Returns:
        The rows; the name that now stands for each old one, and for each PatientID of a site (``site|header``); notes.
    """
    here = rows.listed & ((rows["header"] != "") & (rows["patient"] != "")).to_numpy()
    patients, headers = rows["patient"][here], (sites + "|" + rows["header"])[here]
    shared = patients.groupby(headers).transform("nunique") > 1
    several = headers.groupby(patients).transform("nunique") > 1
    notes = [
        f"{site}: {count} patients of the table {what} in their DICOM headers; they are kept together, in one split."
        for where, what in ((shared, "share a PatientID with another"), (several, "have several PatientIDs"))
        for site, count in patients[where].groupby(sites[here][where]).nunique().items()
    ]
    of_sets = public[(public != "") & (rows["patient"] != "")]
    in_several = sites[of_sets.index].groupby(of_sets).nunique() > 1
    if in_several.any():
        notes.append(
            f"{in_several.sum()} patients are in the tables of several sources, by their numbers in the images' paths; "
            "each is kept in one split."
        )
    names = names_in_common(pd.concat([patients, rows["patient"][of_sets.index]]), pd.concat([headers, of_sets]))
    rows = rows.put(rows.every, patient=[names.get(name, name) for name in rows["patient"]])
    return rows, names | dict(zip(headers, patients.map(names), strict=True)), notes


def _name_unlisted(
    rows: Rows,
    inventory: Inventory,
    sources: Sequence[Source],
    spots: Mapping[int, Sequence[str]],
    names: Mapping[str, str],
    named: Hash,
) -> tuple[Rows, list[str]]:
    """Name the patients of usable images that no table names, and say what else they may be called."""
    free = ~rows.listed & rows.used
    part = rows.table[free]
    doubted, notes = _doubted_headers(part, set().union(*rows["known_as"]), sources)
    homes, sites = _homes(inventory, sources), _sites(inventory.folders, sources)
    paths_in = cache(partial(_paths_and_names, inventory))
    anywhere = list(dict.fromkeys(spot for some in spots.values() for spot in some))
    patients, studies, told, known_as = [], [], [], []
    for unit, place, header in zip(part["unit"], part["place"], part["header"], strict=True):
        home = homes.get(unit, place)
        site, *other_sites = sites[home] or [""]
        path, name = paths_in(home)[unit]
        at_spots = patients_at(path, spots.get(home, ()) if site else anywhere)
        said = said_patient(path, inventory.folders[home])
        number, note = at_spots[0] if site and at_spots else said, ""
        if not number and header and (place, header) not in doubted:
            patient = names.get(f"{site}|{header}") or (named(header, site) if site else header)
        else:
            patient = named(number or name, site or ("" if number else sources[home].name))
            if not number and name in path.split("/")[:-1]:
                note = f"its patient is taken from the folder {name!r}"
        called = {*map(named, filter(None, (*at_spots, said, name, *folders_like_patients(path)))), header} - {""}
        study = study_in_path(path)
        patients.append(names.get(patient, patient))
        studies.append(named(study, site) if study else "")
        told.append(note)
        known_as.append([f"{at}|{one}" for at in (site, *other_sites) for one in sorted(called)])
    return rows.put(free, patient=patients, study=studies, note=told, known_as=known_as), notes


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
    for place in sorted(known, key=lambda place: -len(inventory.folders[place].parts)):
        for unit in inventory.found[place]:
            homes.setdefault(inventory.number[unit.path], place)
    return homes


def _sites(folders: Sequence[Path], sources: Sequence[Source]) -> list[list[str]]:
    """For each source whose patients the images of its folder may be; empty where that is not known."""
    of_folder: dict[Path, dict[str, None]] = {}
    for folder, source in zip(folders, sources, strict=True):
        if source.csv or source.site:
            of_folder.setdefault(folder, {})[source.site or source.name] = None
    return [list(of_folder.get(folder, {})) for folder in folders]


def _paths_and_names(inventory: Inventory, place: int) -> dict[int, tuple[str, str]]:
    """Input of a source → its path below the folder, and the name that tells it apart."""
    numbers = [inventory.number[unit.path] for unit in inventory.found[place]]
    paths = [inventory.path(number, place) for number in numbers]
    return dict(zip(numbers, zip(paths, telling_names(paths), strict=True), strict=True))
