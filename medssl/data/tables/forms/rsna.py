"""RSNA's Pneumonia Detection Challenge (Shih et al. 2019): ``stage_2_train_labels.csv``, with a row for each box, and
``stage_2_detailed_class_info.csv``, with one of three classes. ``patientId`` is the name of the image.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ..form import Form
from .generic import names_images

IMAGE, TARGET, CLASS = "patientId", "Target", "class"
PNEUMONIA, OPACITY, NORMAL, NEITHER = "Pneumonia", "Lung Opacity", "Normal", "No Lung Opacity / Not Normal"
STATES = {OPACITY: ("1", "0"), NORMAL: ("0", "1"), NEITHER: ("0", "0")}
"""Class → opacity, normal."""


def _recognises(cells: pd.DataFrame) -> bool:
    return IMAGE in cells and not names_images(cells) and (TARGET in cells or set(cells.columns) == {IMAGE, CLASS})


def _one_row_each(cells: pd.DataFrame, csv: Path) -> tuple[pd.DataFrame, list[str]]:
    said = TARGET if TARGET in cells else CLASS
    texts = cells[said].fillna("").str.strip()
    differ = texts.groupby(cells[IMAGE]).transform("nunique") > 1
    texts = texts.mask(differ, "both yes and no")
    first = ~cells[IMAGE].duplicated() | cells[IMAGE].isna()
    rows = cells.loc[first, [IMAGE]].assign(**{said: texts[first]})
    if said == TARGET:
        rows[PNEUMONIA] = texts[first]
    else:
        for place, name in enumerate((OPACITY, NORMAL)):
            rows[name] = [STATES.get(text, (text, text))[place] for text in texts[first]]
    notes = [
        "each image is taken for a patient of its own, as patientId has it; but the images are ChestX-ray14's, which "
        "has several of some patients, and this table does not say which."
    ]
    return rows.replace("", np.nan), notes


FORM = Form(
    name="RSNA Pneumonia",
    recognises=_recognises,
    columns={"image": IMAGE, "patient": IMAGE},
    labels=(PNEUMONIA, OPACITY, NORMAL),
    complete=_one_row_each,
    modality="DX",
)
