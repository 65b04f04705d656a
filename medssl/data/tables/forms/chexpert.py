"""CheXpert's ``train.csv``, ``valid.csv`` and test labels (Irvin et al. 2019): patient and study stand in the path."""

import re

import pandas as pd

from ..form import Form, from_path

CHEXPERT_LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
HEALTHY, DEVICES = "No Finding", "Support Devices"
FEWEST = 5
"""So many of the labels make a table one of CheXpert's."""
PATIENT = re.compile(r"(?:^|/)(patient\d+)(?=[/_-])", re.IGNORECASE)
STUDY = re.compile(r"(?:^|/)(patient\d+[/_-]study\d+)(?=[/_-]|$)", re.IGNORECASE)
FRONTAL, PROJECTION = "Frontal/Lateral", "AP/PA"


def has_findings(cells: pd.DataFrame) -> bool:
    """Whether cells have columns of CheXpert's labels, which its labeller gives to other data sets, too."""
    return len(set(CHEXPERT_LABELS) & set(cells.columns)) >= FEWEST


def _recognises(cells: pd.DataFrame) -> bool:
    return "Path" in cells and (FRONTAL in cells or has_findings(cells))


def _views(cells: pd.DataFrame) -> pd.Series:
    named = [cells[name].fillna("") for name in (FRONTAL, PROJECTION) if name in cells]
    return sum((each + " " for each in named), pd.Series("", index=cells.index))


FORM = Form(
    name="CheXpert",
    recognises=_recognises,
    columns={
        "image": "Path",
        "patient": from_path(PATIENT, "Path"),
        "study": from_path(STUDY, "Path"),
        "view": _views,
        "age": "Age",
        "sex": "Sex",
    },
    labels=CHEXPERT_LABELS,
    healthy=HEALTHY,
    beside_healthy=(DEVICES,),
    unmentioned=True,
    modality="DX",
    patient_in_path=PATIENT,
    study_in_path=STUDY,
)
