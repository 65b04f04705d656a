"""MIMIC-CXR-JPG's label tables (Johnson et al. 2019), which label studies; the images stand in other files beside them.

``mimic-cxr-2.0.0-chexpert.csv`` and ``-negbio.csv`` have a row for each study. Its images, with their views, are in
``-metadata.csv``, the official split in ``-split.csv``; both are read where they lie beside the labels, gzipped or not.
A table with ``dicom_id`` is read as it stands.
"""

import re
from pathlib import Path

import pandas as pd

from medssl.errors import UserError

from ..cells import beside, read_cells
from ..form import Form
from ..words import squash
from .chexpert import CHEXPERT_LABELS, DEVICES, HEALTHY, has_findings
from .generic import names_images

IMAGE, STUDY, PATIENT = "dicom_id", "study_id", "subject_id"
METADATA = ("mimic-cxr-*-metadata.csv*", "*metadata.csv", "*metadata.csv.gz")
SPLIT = ("mimic-cxr-*-split.csv*", "*split.csv", "*split.csv.gz")


def _recognises(cells: pd.DataFrame) -> bool:
    studies = has_findings(cells) and not names_images(cells)
    return STUDY in cells and (studies or (IMAGE in cells and PATIENT in cells))


def _with_images(cells: pd.DataFrame, csv: Path) -> tuple[pd.DataFrame, list[str]]:
    notes = []
    if IMAGE not in cells:
        found = beside(csv, *METADATA)
        metadata = read_cells(found)[0] if found else pd.DataFrame()
        if not {IMAGE, STUDY, PATIENT} <= set(metadata.columns):
            raise UserError(
                f"{csv} has labels of studies and names no images: put mimic-cxr-2.0.0-metadata.csv(.gz), which has "
                "dicom_id, subject_id and study_id, into its folder."
            )
        keys = [key for key in (PATIENT, STUDY) if key in cells]
        wanted = metadata.columns.intersection([IMAGE, PATIENT, STUDY, "ViewPosition"])
        cells = _join(cells, metadata[wanted], keys)
        without = int(cells[IMAGE].isna().sum())
        images = len(cells) - without
        notes.append(
            f"the images of its studies are taken from {found.name if found else ''}: {images} images"
            + (f", and {without} studies without one." if without else ".")
        )
    if "split" not in map(squash, map(str, cells.columns)) and (found := beside(csv, *SPLIT)):
        splits = read_cells(found)[0]
        if {IMAGE, "split"} <= set(splits.columns):
            cells = _join(cells, splits[[IMAGE, "split"]].drop_duplicates(IMAGE), [IMAGE])
            notes.append(f"the official split is taken from {found.name}.")
    return cells, notes


def _join(cells: pd.DataFrame, other: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """With the columns of ``other``; the index goes on saying the row of the CSV."""
    joined = cells.rename_axis("row").reset_index().merge(other, on=keys, how="left")
    return joined.set_index("row")


def _paths(cells: pd.DataFrame) -> pd.Series:
    """Where PhysioNet's folders have an image; whether it is a JPEG or DICOM does not matter."""
    image, patient, study = (cells[name].fillna("").str.strip() for name in (IMAGE, PATIENT, STUDY))
    paths = "files/p" + patient.str[:2] + "/p" + patient + "/s" + study + "/" + image
    return paths.where((image != "") & (patient != "") & (study != ""), image)


FORM = Form(
    name="MIMIC-CXR",
    recognises=_recognises,
    columns={"image": _paths, "patient": PATIENT, "study": STUDY, "view": "ViewPosition"},
    labels=CHEXPERT_LABELS,
    complete=_with_images,
    healthy=HEALTHY,
    beside_healthy=(DEVICES,),
    unmentioned=True,
    modality="DX",
    patient_in_path=re.compile(r"(?:^|/)p(\d{8})(?=/s\d{8}(?:/|$))"),
    study_in_path=re.compile(r"(?:^|/)p\d{8}/s(\d{8})(?=/|$)"),
)
