"""What leads back to a machine or a person: absolute paths, and the names of a run's patients and images.

Looked for in the names of files, in text files and in the names of weights. A name counts where it stands alone as a
word or several, whatever lies between those: `P0017` is not in `XP00179`, and no number is in a decimal such as
`0.643217`. So that figures and common words raise no alarm, short names do not count.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd

from medssl.data import Datalist
from medssl.data.datalist_file import SPLITS
from medssl.errors import MissingFileError, UserError
from medssl.runs import Run

from .bundle import WEIGHT_SUFFIXES, Bundle

WORD = re.compile(r"\d+\.\d+|[^\W_]+")
ABSOLUTE = re.compile(
    r"""(?<!\+['\"])(?<!\+[ ]['\"])(?<!\+[ ]f['\"])(?<![^\s'\"`(\[{<=,;])(   # alone, and not behind `root + '`
        /(?!dev/|usr/bin/env)[\w.@+-]+/[\w.@+-][\w./@+-]*                   # /two/parts or more
        | ~/[\w.]+ | \\{2,4}[A-Za-z][\w.-]{2,}\\[^\s'"]*                   # ~/images and \\server\share
        | (?:file:/+|[A-Za-z]:(?:\\{1,2}|/))\w[^\s'"]*                      # file:///data and C:\Users
    ) | (?<=[:=-][ ])['"]?/[A-Za-z][\w.-]*(?=['"]?\s*$)                     # a value of one part: dataset_dir: /data
    """,
    re.VERBOSE | re.MULTILINE,
)


def absolute_paths(bundle: Bundle) -> Iterator[str]:
    """Name the first path of somebody's machine in each file that holds one."""
    for file, text in bundle.texts():
        if match := ABSOLUTE.search(text):
            path = match.group().strip(" '\"")
            yield f"{_place(file, text, match)} holds the absolute path {path}: make it relative, or drop it."


def identifiers(bundle: Bundle) -> Iterator[str]:
    """Name the files that hold names of the run's patients or images, but of these names the beginning only."""
    words = {name: parts for name in bundle.names or () if (parts := WORD.findall(name))}
    for file in bundle.files:
        if _found(words, file):
            yield f"The name {file!r} is that of a patient or an image of the run: take it out."
    for file, text in bundle.texts():
        if found := _found(words, text):
            count = f"{len(found)} names of patients or images" if len(found) > 1 else "the name of a patient or image"
            place = _place(file, text, found[0])
            yield f"{place} holds {found[0].group()[:2]}…: {count} of the run in this file, take them out."


def _found(words: dict[str, list[str]], text: str) -> list[re.Match[str]]:
    """Where names stand in a text, each once; 10^5 names take 20 ms."""
    text = text.lower()
    present = set(WORD.findall(text))
    patterns = (r"[\W_]+".join(map(re.escape, parts)) for parts in words.values() if present.issuperset(parts))
    matches = (re.search(rf"(?<![^\W_]){pattern}(?![^\W_])", text) for pattern in patterns)
    return sorted(filter(None, matches), key=lambda match: match.start())


def _place(file: str, text: str, match: re.Match[str]) -> str:
    if file.endswith(WEIGHT_SUFFIXES):
        return f"{file}, in the name of a weight,"
    return f"{file}, line {text.count(chr(10), 0, match.start()) + 1},"


def run_names(run: Path) -> frozenset[str]:
    """What names the patients and images that a run has seen, in lower case: from its files and beside its datalist.

    Of the path of an image, folders and the file's name without its ending count that lead to a single patient.

    Raises:
        UserError: it is no run, or knows of no image any more.
    """
    data = Path(Run.read(run).data or "nowhere")
    folder = data if data.is_dir() else data.parent
    images: list[tuple[str, str]] = []  # path and patient, "" when unknown
    with suppress(MissingFileError):
        content = Datalist.read(data).content
        images += [(item["image"], item["patient"]) for split in SPLITS for item in content.get(split, ())]
    for table in (*sorted(run.glob("*.csv")), folder / "report.csv"):
        if table.is_file():
            columns = pd.read_csv(table, dtype=str, keep_default_na=False)
            patients = columns.get("patient", [""] * len(columns))
            for column in {"image", "file", "named"} & set(columns):
                images += zip(columns[column], patients, strict=True)
    if not images:
        raise UserError(f"{run} names no image: neither its datalist in {folder} nor a table of predictions is there.")
    names = {patient for _, patient in images if _is_long(patient)}
    names |= {part for part in _parts_of_one_patient(images) if _is_long(part) and _is_telling(part)}
    salt = folder / "patient_salt.txt"  # of the patients' hashes
    names |= {salt.read_text(encoding="utf-8").strip()} if salt.is_file() else set()
    return frozenset(name.lower() for name in names)


def _parts_of_one_patient(images: list[tuple[str, str]]) -> set[str]:
    """Of paths with their patients ("" when unknown) the names of files and folders that lead to a single patient."""
    owners: dict[str, set[str]] = {}
    folders: set[str] = set()
    for path, patient in images:
        *above, name = path.replace("\\", "/").split("/")
        folders.update(above)
        for part in (*above, re.sub(r"(\.[A-Za-z]\w*)+$", "", name)):
            owners.setdefault(part, set()).update({patient} - {""})
    one = {part for part, whose in owners.items() if len(whose) < 2}
    several = len(set().union(*owners.values())) > 1
    return {part for part in one if part not in folders or (several and owners[part])}


def _is_long(name: str) -> bool:
    """Whether a name is long enough: five letters and digits, four with both, digits alone eight, or five from 0 on."""
    length, has_digit = sum(map(str.isalnum, name)), any(map(str.isdigit, name))
    if not any(map(str.isalpha, name)):
        return length >= 8 or (length >= 5 and name.startswith("0"))
    return length >= (4 if has_digit else 5)


def _is_telling(part: str) -> bool:
    """Whether part of a path is no common word, such as `images`."""
    return any(map(str.isdigit, part)) or len(WORD.findall(part)) > 1
