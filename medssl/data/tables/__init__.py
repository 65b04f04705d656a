"""Tables of labels: what a site's CSV says of images, patients and findings, whichever form it has."""

from .paths import patient_in_path, study_in_path
from .table import (
    CHESTXRAY14_LABELS,
    CHEXPERT_LABELS,
    MOST_CLASSES,
    ROLES,
    SPLIT_WORDS,
    TRAIN_OR_VALIDATION,
    UNCERTAIN,
    Blank,
    Table,
    Uncertain,
    mark,
    near_miss,
    read_table,
)

__all__ = [
    "CHESTXRAY14_LABELS",
    "CHEXPERT_LABELS",
    "MOST_CLASSES",
    "ROLES",
    "SPLIT_WORDS",
    "TRAIN_OR_VALIDATION",
    "UNCERTAIN",
    "Blank",
    "Table",
    "Uncertain",
    "mark",
    "near_miss",
    "patient_in_path",
    "read_table",
    "study_in_path",
]
