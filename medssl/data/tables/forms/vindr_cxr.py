"""VinDr-CXR's tables (Nguyen et al. 2022), and Kaggle's of it: several radiologists read an image.

``image_labels_train.csv`` has a row for each image and radiologist, with a column for each finding;
``annotations_train.csv`` and Kaggle's ``train.csv`` a row for each box, with the finding's name. The tables of the test
set name no radiologist: they agreed. What more than half of an image's readers saw is there, what fewer saw is not, and
where they are even it is unknown. The tables name no patients.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ..cells import spread, texts_of
from ..form import Form
from ..words import squash, state_of
from .generic import ALIASES, names_images

IMAGE, READER, NAME = "image_id", "rad_id", "class_name"
SAME = {"Other disease": "Other diseases"}
"""The test tables spell this label differently."""


def _recognises(cells: pd.DataFrame) -> bool:
    names = {squash(str(name)) for name in cells.columns}
    others = names.isdisjoint(ALIASES["patient"][0]) and not names_images(cells)
    return IMAGE in cells and others and (NAME in cells or READER in cells or "nofinding" in names)


def _one_row_each(cells: pd.DataFrame, csv: Path) -> tuple[pd.DataFrame, list[str]]:
    images, names = pd.factorize(cells[IMAGE].str.strip())
    sound = images >= 0  # a row that names no image stays one
    first = pd.Series(cells.index[sound]).groupby(images[sound]).first()
    joined = pd.DataFrame({IMAGE: names}, index=first.to_numpy())
    votes = _boxes(cells[sound], images[sound]) if NAME in cells else _columns(cells[sound], images[sound])
    torn = 0
    for name, (yes, no, wrong) in votes.items():
        verdict = np.select([yes > no, yes < no, yes > 0], ["1", "0", "unknown"], "")
        joined[SAME.get(name, name)] = np.where(wrong != "", wrong, verdict)
        torn += int(((yes > 0) & (no > 0)).sum())
    notes = ["its tables name no patients: each image is taken for a patient of its own."]
    if torn:
        notes.append(f"the readers of an image disagree on {torn} findings: what more than half of them saw counts.")
    # Empty cells as elsewhere; and rows without an image, for which there is nothing to join.
    return pd.concat([joined.replace("", np.nan), cells.loc[~sound, [IMAGE]]]).sort_index(), notes


Votes = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""For each finding the readers who saw it and who did not, by image, and a text that is neither yes nor no."""


def _columns(cells: pd.DataFrame, images: np.ndarray) -> Votes:
    votes: Votes = {}
    count = images.max(initial=-1) + 1
    for name in cells.columns.drop([IMAGE, READER], errors="ignore"):
        codes, texts = texts_of(cells[name])
        states = np.array([state_of(text) for text in texts] + [np.nan], dtype=float)  # None becomes NaN
        said = states[codes]
        strange = [text if state_of(text) in (None, -1) else "" for text in texts]
        wrong = np.full(count, "", dtype=object)
        here = spread(strange, codes)
        wrong[images[here != ""]] = here[here != ""]
        yes, no = (np.bincount(images[said == state], minlength=count) for state in (1, 0))
        votes[str(name)] = yes, no, wrong
    return votes


def _boxes(cells: pd.DataFrame, images: np.ndarray) -> Votes:
    count = images.max(initial=-1) + 1
    readers = pd.factorize(cells[READER])[0] if READER in cells else np.zeros(len(cells), dtype=int)
    marks = pd.DataFrame({"image": images, "reader": readers, "name": cells[NAME].str.strip().to_numpy()})
    asked = np.bincount(marks[["image", "reader"]].drop_duplicates()["image"], minlength=count)
    seen = marks.dropna().drop_duplicates()
    nothing_wrong = np.full(count, "", dtype=object)
    votes: Votes = {}
    for name, group in seen.groupby("name", sort=True):
        yes = np.bincount(group["image"], minlength=count)
        votes[str(name)] = yes, asked - yes, nothing_wrong
    return votes


FORM = Form(
    name="VinDr-CXR",
    recognises=_recognises,
    columns={"image": IMAGE, "patient": IMAGE},
    complete=_one_row_each,
    modality="DX",
)
