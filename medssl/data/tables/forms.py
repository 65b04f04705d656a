"""The forms of tables that are recognised, and what their data sets' paths tell of images that no table names."""

import re
from collections.abc import Iterable
from pathlib import Path

from . import chestxray14, chexpert, generic, mimic_cxr, padchest, rsna, vindr_cxr
from .form import Form

FORMS: tuple[Form, ...] = (
    chestxray14.FORM,
    chexpert.FORM,
    mimic_cxr.FORM,
    padchest.FORM,
    rsna.FORM,
    vindr_cxr.FORM,
    generic.FORM,  # the last, for it takes every table
)


def patient_in_path(path: str | Path) -> str:
    """The patient that a path names, as the data set's own table calls the patient; "" where no form's rule fits."""
    return _first((form.patient_in_path for form in FORMS), path)


def study_in_path(path: str | Path) -> str:
    """The study that a path names, unlike any other of the data set; "" where no form's rule fits."""
    return _first((form.study_in_path for form in FORMS), path)


def _first(rules: Iterable[re.Pattern[str] | None], path: str | Path) -> str:
    text = str(path).replace("\\", "/")
    found = next((match for rule in rules if rule and (match := rule.search(text))), None)
    return found[1].lower() if found else ""
