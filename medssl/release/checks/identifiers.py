"""Names of patients and files, found in texts as whole words; 10^5 of them take some seconds.

What counts as a find, so that figures and common words raise no alarm:

- A name counts where it stands alone: ``P0017`` is not in ``XP00179``, and no number is in a decimal (``0.643217``).
- Digits alone count from eight on, or from five on with a leading zero. A shorter number may be anything, so it counts
  only behind a word such as *patient*; and only when it is a patient's.
- Anything else counts from six letters and digits on (the name of a patient: four with a digit, five without). In
  binary data, where chance writes short words, from eight on.
- Of a path the whole counts, and of its parts those that belong to a single patient: the file name; a folder or the
  name without its ending only with a digit or of several words, for ``images`` tells nothing of anybody.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from medssl.data import read_datalist
from medssl.data.datalist import SPLITS
from medssl.errors import UserError
from medssl.runs import read_run

WORD = re.compile(r"[^\W_]+")
BEHIND_A_PERSON = re.compile(r"(?<![^\W_])(?:(?:patient|subject|person)(?:[_ ]?id)?|pid|mrn)[\s_:=#'\"]{0,5}$")
SHORTEST, SHORTEST_IN_BINARY = 6, 8
"""Letters and digits of a name that counts anywhere."""


class Image(NamedTuple):
    """An image of a run."""

    path: str
    patient: str
    """Whose it is; "" when unknown."""


class Names(NamedTuple):
    """What must not be passed on."""

    patients: set[str]
    images: list[Image]
    others: set[str]
    """Such as the salt of the patients' hashes."""


def run_names(run: Path) -> Names:
    """Every patient and image that a run has seen, read from its files and those beside its datalist.

    Raises:
        UserError: it is no run, or knows of no image any more.
    """
    datalist = Path(read_run(run).text("datalist") or "nowhere")
    patients, images, others = set[str](), list[Image](), set[str]()
    if datalist.is_file():
        for split in SPLITS:
            items = read_datalist(datalist, split, check_files=False)
            folder = str(datalist.parent.resolve())
            images += [Image(_below(item["image"], folder), item["patient"]) for item in items]
            patients |= {item["patient"] for item in items}
    for table in (*sorted(run.glob("*.csv")), datalist.with_name("report.csv")):
        if table.is_file():
            columns = pd.read_csv(table, dtype=str, keep_default_na=False)
            patients |= set(columns.get("patient", ()))
            owners = columns.get("patient", [""] * len(columns))
            for column in {"image", "file", "named"} & set(columns):
                images += map(Image, columns[column], owners)
    salt = datalist.with_name("patient_salt.txt")
    if salt.is_file():
        others.add(salt.read_text(encoding="utf-8").strip())
    if not images:
        raise UserError(f"{run} names no image: neither its datalist {datalist} nor a table of predictions is there.")
    return Names(patients - {""}, [image for image in images if image.path], others - {""})


def _below(path: str, folder: str) -> str:
    return path.removeprefix(folder).lstrip("/\\")


class Identifiers:
    """A search for many names at once.

    Args:
        names: what to look for.
    """

    def __init__(self, names: Names) -> None:
        patients = {name.lower() for name in names.patients}
        known = patients | {name.lower() for name in (*names.others, *_of_images(names.images))}
        anywhere = {name for name in known if _counts(name, name in patients)}
        self._only_behind_a_person = {name for name in patients - anywhere if WORD.search(name)}
        # The rarest word of a name leads to few others; a common one, such as a hospital's, leads to all of them.
        words = {name: WORD.findall(name) for name in anywhere | self._only_behind_a_person}
        frequency = Counter(word for found in words.values() for word in set(found))
        self._by_word: dict[str, list[tuple[int, str]]] = {}
        for name, found in words.items():
            word = min(found, key=lambda one: (frequency[one], -len(one)))
            start = next(match.start() for match in WORD.finditer(name) if match.group() == word)
            self._by_word.setdefault(word, []).append((start, name))

    def __len__(self) -> int:
        return sum(map(len, self._by_word.values()))

    def find(self, text: str, is_binary: bool = False) -> Iterator[tuple[int, str]]:
        """The names that a text holds, in lower case, and where.

        Args:
            text: to search.
            is_binary: it is what can be read of binary data.
        """
        text = text.lower()
        for match in WORD.finditer(text):
            for offset, name in self._by_word.get(match.group(), ()):
                start = match.start() - offset
                found = start >= 0 and text.startswith(name, start) and self._stands_alone(text, start, name)
                if found and (not is_binary or _letters_and_digits(name) >= SHORTEST_IN_BINARY):
                    yield start, name

    def _stands_alone(self, text: str, start: int, name: str) -> bool:
        end = start + len(name)
        before, behind = text[max(0, start - 24) : start], text[end : end + 2]
        if before[-1:].isalnum() or behind[:1].isalnum():
            return False
        if name.isdigit() and (re.search(r"\d\.$", before) or re.match(r"\.\d", behind)):
            return False
        return name not in self._only_behind_a_person or bool(BEHIND_A_PERSON.search(before))


def _of_images(images: Sequence[Image]) -> set[str]:
    """For each image the shortest that tells of it: its name without ending, with it, or its path; and folders."""
    places = [_parts(image.path) for image in images]
    owners = _owners(places, [image.patient for image in images])
    everybody = len(set().union(*owners.values())) if owners else 0
    of_one = {part for part, whose in owners.items() if len(whose) == 1}
    found = set[str]()
    for path, folders, stem, name in places:
        found |= {folder for folder in folders if folder in of_one and everybody > 1 and _is_telling(folder)}
        if stem in of_one and _is_telling(stem) and _counts(stem.lower(), of_patient=False):
            found.add(stem)
        else:
            found |= {path, name} if name in of_one else {path}
    return found


def _owners(places: Sequence["_Parts"], patients: Sequence[str]) -> dict[str, set[str]]:
    """Part of a path → whose it is.

    The same image may stand in one table with its patient and in another without, below another folder: the latter
    counts only where nothing is known of a part.
    """
    known, unknown = dict[str, set[str]](), dict[str, set[str]]()
    for parts, patient in zip(places, patients, strict=True):
        owners, owner = (known, patient) if patient else (unknown, parts.path.rpartition("/")[0])
        for part in (*parts.folders, parts.stem, parts.name):
            owners.setdefault(part, set()).add(owner)
    return unknown | known


class _Parts(NamedTuple):
    path: str
    folders: list[str]
    stem: str
    name: str


def _parts(path: str) -> _Parts:
    path = path.replace("\\", "/")
    if path[:1] in ("/", "."):
        path = re.sub(r"^(\.{0,2}/)+", "", path)
    *folders, name = path.split("/")
    if "." not in name:  # a folder of slices
        return _Parts(path, [*folders, name], path, path)
    return _Parts(path, folders, name.partition(".")[0], name)


def _is_telling(part: str) -> bool:
    return any(map(str.isdigit, part)) or len(WORD.findall(part)) > 1


def _counts(name: str, of_patient: bool) -> bool:
    """Whether a name is long enough to count anywhere."""
    length = _letters_and_digits(name)
    if not any(map(str.isalpha, name)):
        return length >= 8 or (length >= 5 and name.lstrip("/.-_ ").startswith("0"))
    shortest = (4 if any(map(str.isdigit, name)) else 5) if of_patient else SHORTEST
    return length >= shortest


def _letters_and_digits(name: str) -> int:
    return sum(map(str.isalnum, name))
