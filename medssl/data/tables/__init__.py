"""Tables of labels: what a site's CSV says of images, patients and findings, whichever form it has.

A form that is known by its columns (`medssl.data.tables.forms.FORMS`) has a file of its own, which says what it takes:
ChestX-ray14, CheXpert, MIMIC-CXR, PadChest, VinDr-CXR, RSNA's pneumonia challenge. Every other table is read as the
generic form, a row for each image:

* ``image`` and ``patient``, under these or other usual names such as ``filename`` or ``subject_id``;
* optionally ``study``, ``split``, ``source``, ``age``, ``sex``, ``view``, ``scanner``;
* a column for each label: 1 or yes, 0 or no, empty or NA for unknown, -1 for uncertain. A column that holds nothing of
  the kind is left out, with a note.

To add a form, write its file and put its name into `FORMS`.
"""

from .cells import table_name
from .forms import FORMS, patient_in_path, study_in_path
from .forms.chestxray14 import CHESTXRAY14_LABELS
from .forms.chexpert import CHEXPERT_LABELS
from .forms.generic import ROLES
from .labels import BLANK, MOST_CLASSES, UNCERTAIN, Blank, Uncertain
from .table import Table, mark, read_table
from .words import SPLIT_WORDS, TRAIN_OR_VALIDATION, VIEWS, near_miss, split_of

__all__ = [
    "BLANK",
    "CHESTXRAY14_LABELS",
    "CHEXPERT_LABELS",
    "FORMS",
    "MOST_CLASSES",
    "ROLES",
    "SPLIT_WORDS",
    "TRAIN_OR_VALIDATION",
    "UNCERTAIN",
    "VIEWS",
    "Blank",
    "Table",
    "Uncertain",
    "mark",
    "near_miss",
    "patient_in_path",
    "read_table",
    "split_of",
    "study_in_path",
    "table_name",
]
