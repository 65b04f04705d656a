"""PadChest's ``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`` (Bustos et al. 2020).

Its column ``Labels`` is the text of a Python list such as ``['cardiomegaly', 'pleural effusion']``. A finding that is
not listed is absent, unless the report says ``unchanged`` (which findings there were before is not said) or calls the
study suboptimal; studies to ``exclude`` are set aside.
"""

import ast

import pandas as pd

from ..form import Form, Listed

IMAGE, LABELS = "ImageID", "Labels"
BORN, TAKEN = "PatientBirth", "StudyDate_DICOM"


def _read(text: str) -> list[str]:
    try:
        listed = ast.literal_eval(text)
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError("it is no list of texts")
    return [name.strip() for name in listed if name.strip()]


def _ages(cells: pd.DataFrame) -> pd.Series:
    """Years from that of the birth to that of the image, which are all that the table tells."""
    if not {BORN, TAKEN} <= set(cells.columns):
        return pd.Series("", index=cells.index)
    born, taken = (pd.to_numeric(cells[name].str[:4], errors="coerce") for name in (BORN, TAKEN))
    return (taken - born).astype(str).where((taken >= born).to_numpy(), "")


FORM = Form(
    name="PadChest",
    recognises=lambda cells: {IMAGE, LABELS, "PatientID"} <= set(cells.columns),
    columns={
        "image": IMAGE,  # and not with its ImageDir: the names are unique, and many lay all images in one folder
        "patient": "PatientID",
        "study": "StudyID",
        "view": "Projection",
        "age": _ages,
        "sex": "PatientSex_DICOM",
    },
    labels=Listed(
        LABELS,
        _read,
        "normal",
        unsure=frozenset({"unchanged", "suboptimal study"}),
        excluded=frozenset({"exclude"}),
    ),
    modality="DX",
)
