"""ChestX-ray14's ``Data_Entry_2017.csv`` (Wang et al. 2017), with its official lists of test and other images.

It is fully labelled: a finding that is not listed is absent.
"""

import re
from pathlib import Path

import pandas as pd

from medssl.errors import UserError

from ..cells import beside
from ..form import Form, Listed
from ..words import TRAIN_OR_VALIDATION, squash

CHESTXRAY14_LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
IMAGE, FINDINGS, NO_FINDING = "Image Index", "Finding Labels", "No Finding"
BOXES = "Finding Label"  # the column of BBox_List_2017.csv
LISTS = {"test": "test_list*.txt", TRAIN_OR_VALIDATION: "train_val_list*.txt"}


def _recognises(cells: pd.DataFrame) -> bool:
    return IMAGE in cells and (BOXES in cells or {FINDINGS, "Patient ID"} <= set(cells.columns))


def _with_official_split(cells: pd.DataFrame, csv: Path) -> tuple[pd.DataFrame, list[str]]:
    if FINDINGS not in cells:
        raise UserError(
            f"{csv} has the boxes of a few images of ChestX-ray14: give Data_Entry_2017.csv, with the findings of all."
        )
    lists = {split: path for split, pattern in LISTS.items() if (path := beside(csv, pattern))}
    if not lists or "split" in map(squash, map(str, cells.columns)):
        return cells, []
    names = cells[IMAGE].str.strip()
    splits = pd.Series("", index=cells.index)
    for split, path in lists.items():
        splits[names.isin(set(path.read_text(encoding="utf-8-sig").split())).to_numpy()] = split
    unlisted = int((splits == "").sum())
    if unlisted == len(cells):
        return cells, []
    # Who is in no list that is there may be in the other one; an image that is in none of both is no test image.
    rest = "test" if "test" not in lists else TRAIN_OR_VALIDATION
    splits = splits.replace("", rest)
    files = " and ".join(path.name for path in lists.values())
    said = ", ".join(f"{count} images are for {split}" for split, count in splits.value_counts().items())
    left = f" ({unlisted} that no list names for {rest})" if unlisted else ""
    return cells.assign(split=splits), [f"by {files}, {said}{left}."]


FORM = Form(
    name="ChestX-ray14",
    recognises=_recognises,
    columns={
        "image": IMAGE,
        "patient": "Patient ID",
        "age": "Patient Age",
        "sex": "Patient Gender",
        "view": "View Position",
    },
    labels=Listed(FINDINGS, lambda text: [name.strip() for name in text.split("|")], NO_FINDING, CHESTXRAY14_LABELS),
    complete=_with_official_split,
    modality="DX",
    patient_in_path=re.compile(r"(?:^|/)(?=\d{8}_)0*(\d+)_\d{3}(?:\.\w+)*$"),
)
