"""The forms of tables that are recognised, a file each, and what their paths tell of images that no table names.

Every file here that has a `FORM` is one; nothing else lists them.
"""

import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from ..form import Form
from . import generic

_FILES = [import_module(f".{file.name}", __name__) for file in iter_modules(__path__)]
# The generic one comes last, for it takes every table.
FORMS: tuple[Form, ...] = (*(file.FORM for file in _FILES if file is not generic), generic.FORM)


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
