"""Whose image a path names, by the public data sets' own rules, for files that no table names."""

from __future__ import annotations

import re
from pathlib import Path

PATIENTS = (
    re.compile(r"(?:^|/)(patient\d+)(?=[/_-])", re.IGNORECASE),  # CheXpert: train/patient00001/study1/…
    re.compile(r"(?:^|/)p(\d{8})(?=/s\d{8}(?:/|$))"),  # MIMIC-CXR: files/p10/p10000032/s50414267/…
    re.compile(r"(?:^|/)(?=\d{8}_)0*(\d+)_\d{3}(?:\.\w+)*$"),  # ChestX-ray14: 00000001_000.png
)
STUDIES = (
    re.compile(r"(?:^|/)(patient\d+[/_-]study\d+)(?=[/_-]|$)", re.IGNORECASE),
    re.compile(r"(?:^|/)p\d{8}/s(\d{8})(?=/|$)"),
)


def patient_in_path(path: str | Path) -> str:
    """The patient that a path names, as the data set's own table calls the patient; "" where no rule fits."""
    return _first(PATIENTS, path)


def study_in_path(path: str | Path) -> str:
    """The study that a path names, unlike any other of the data set; "" where no rule fits."""
    return _first(STUDIES, path)


def _first(rules: tuple[re.Pattern[str], ...], path: str | Path) -> str:
    text = str(path).replace("\\", "/")
    found = next(filter(None, (rule.search(text) for rule in rules)), None)
    return found[1].lower() if found else ""
