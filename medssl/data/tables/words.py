"""What the cells of a table say: yes, no and unknown, splits, ages, sexes and views, in the words that people use."""

import difflib
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

UNKNOWN_WORDS = frozenset(
    (
        *("na", "n/a", "#n/a", "<na>", "n.a.", "nan", "null", "none", "nil", "unknown", "unk", "?", "-", "--", "."),
        *("missing", "unclear", "nd", "not done", "not mentioned", "not stated", "not assessed", "not available"),
        *("not applicable",),
    )
)
"""What other programs and people write for an empty cell."""
_LONGEST_UNKNOWN = max(map(len, UNKNOWN_WORDS))
YES_WORDS = (
    *("yes", "y", "true", "t", "positive", "pos", "present"),
    *("ja", "wahr", "oui", "vrai", "sí", "si", "sì", "sim", "verdadero"),
)
NO_WORDS = (
    *("no", "n", "false", "f", "negative", "neg", "absent"),
    *("nein", "falsch", "non", "faux", "não", "nao", "nee", "falso"),
)
UNCERTAIN_WORDS = ("uncertain", "equivocal", "indeterminate")
_STATES: dict[str, float] = {
    **dict.fromkeys(UNKNOWN_WORDS, np.nan),
    **dict.fromkeys(YES_WORDS, 1),
    **dict.fromkeys(NO_WORDS, 0),
    **dict.fromkeys(UNCERTAIN_WORDS, -1),
}

TRAIN_OR_VALIDATION = "training or validation"
"""The split of images of which their data set says only that they are no test images, as ChestX-ray14's list does."""
SPLIT_WORDS = {
    **dict.fromkeys(("training", "train", "tr", "trn"), "training"),
    **dict.fromkeys(
        ("validation", "val", "valid", "validate", "dev", "development", "tune", "tuning"),
        "validation",
    ),
    **dict.fromkeys(("test", "testing", "tst", "ts", "holdout", "heldout"), "test"),
    **dict.fromkeys(("unlabeled", "unlabelled"), "unlabeled"),
    **dict.fromkeys(("trainval", "trainvalid", "trainingorvalidation", "trainingvalidation"), TRAIN_OR_VALIDATION),
}

VIEWS = ("PA", "AP", "frontal", "lateral", "other")
"""How a radiograph may be taken; ``frontal`` is PA or AP, where the table says no more."""
_VIEW_WORDS = {
    **dict.fromkeys(("pa", "posteroanterior"), "PA"),
    **dict.fromkeys(("ap", "anteroposterior"), "AP"),
    **dict.fromkeys(("frontal", "front"), "frontal"),
    **dict.fromkeys(("lateral", "lat", "l", "ll", "rl"), "lateral"),
}
_SEX_WORDS = {
    **dict.fromkeys(("f", "female", "woman", "w", "weiblich", "femme", "féminin", "mujer", "femenino"), "F"),
    **dict.fromkeys(("m", "male", "man", "männlich", "homme", "masculin", "hombre", "masculino"), "M"),
}
_AGE = re.compile(r"[<>~≥≤]?\s*(\d+(?:[.,]\d+)?)\s*\+?\s*([a-z]*)\.?(?: old)?")
_YEARS = {"": 1.0, "y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
_OLDEST = 120


def state_of(text: str) -> float | None:
    """What a cell of a label says: 1, 0, -1 (uncertain), NaN (unknown); None when it says nothing of the kind."""
    word = _word(text)
    if word in _STATES:
        return _STATES[word]
    try:
        number = float(word.replace(",", "."))  # decimal commas, where the separator is a semicolon
    except ValueError:
        return None
    return number if number in (1, 0, -1) else None


def is_unknown(text: str) -> bool:
    """Whether a cell says that something is not known, or nothing."""
    text = text.strip()
    return not text or (len(text) <= _LONGEST_UNKNOWN and text.casefold() in UNKNOWN_WORDS)


def split_of(text: str) -> str:
    """The split that a cell names; "" for a word that is none."""
    return SPLIT_WORDS.get(squash(text).removesuffix("set").removesuffix("split"), "")


def age_of(text: str) -> float:
    """Years, from a number or as DICOM writes ages (``058Y``, ``006M``); NaN when it is neither or beyond 120."""
    found = _AGE.fullmatch(_word(text))
    if not found or found[2][:1] not in _YEARS:
        return np.nan
    years = float(found[1].replace(",", ".")) * _YEARS[found[2][:1]]
    return round(years, 2) if years <= _OLDEST else np.nan


def sex_of(text: str) -> str:
    """``F``, ``M``, or "" for any other word."""
    return _SEX_WORDS.get(_word(text).rstrip("."), "")


def view_of(text: str) -> str:
    """One of `VIEWS`, or "" where a cell says nothing, or names several images."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(antero|postero)[- ]", r"\1", _word(text)))
    named = {_VIEW_WORDS[word] for word in words if word in _VIEW_WORDS}
    if "decubitus" in words:  # lies on the side, and the beam is frontal
        named.discard("lateral")
    if {"PA", "AP"} <= named and "lateral" not in named:
        return "frontal"
    if len(named) > 1:
        named.discard("frontal")
    if len(named) > 1 or is_unknown(text):
        return ""
    return named.pop() if named else "other" if words else ""


def near_miss(name: str, there: Iterable[str]) -> str:
    """A question to add to an error about a wrong name, or nothing when none of the right ones is alike."""
    close = difflib.get_close_matches(name, there, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def squash(name: str) -> str:
    """A name without case, blanks and marks, to compare it: ``Patient ID`` and ``patient_id`` are one."""
    return re.sub(r"[\W_]", "", _word(name))


def _word(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip()).casefold()
