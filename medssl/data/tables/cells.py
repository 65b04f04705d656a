"""Reading a CSV as cells of text, whatever program wrote it, and finding what lies beside it."""

import codecs
import csv
import gzip
import io
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medssl.errors import MissingFileError, UserError

SEPARATORS = ",;\t|"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OLD_OFFICE = bytes.fromhex("d0cf11e0a1b11ae1")  # Compound File Binary Format, as in .xls
_SHEETS = ("xl/workbook.xml", "xl/workbook.bin", "mimetype")  # members of .xlsx, .xlsb and .ods


def read_cells(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read a CSV, separated by comma, semicolon, tab or bar, plain, gzipped or alone in a zip.

    Returns:
        All cells as text, empty ones as NaN; the index counts the rows as a spreadsheet does, the header being 1, and
        empty rows are left out. And notes on what was guessed or left out.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is no such table.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no CSV {path}: check its path.")
    text, notes = _decode(_unpacked(path), path)
    text, skipped, separator = _begin(text)
    try:
        cells = _parse(text, separator)
    except (ValueError, csv.Error, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise UserError(f"{path} cannot be read as a CSV ({error}): save it as UTF-8 with commas.") from error
    cells.index = pd.RangeIndex(2 + skipped, len(cells) + 2 + skipped)
    cells = cells[cells.notna().any(axis=1)]
    if cells.empty:
        raise UserError(f"{path} has no rows: it must name at least one image.")
    return _named(cells, path, notes), notes


Coded = tuple[np.ndarray, list[str]]
"""A column of N cells: for each the number of its text, -1 where it is empty; and the different texts."""


def texts_of(column: pd.Series) -> Coded:
    """A column as codes [N] into its different texts, without the blanks around them; -1 where it is empty.

    Most columns have few different texts, so that what is done for each of them takes no time.
    """
    codes, raw = pd.factorize(column)
    texts = [str(text).strip() for text in raw]
    if all(texts) and len(set(texts)) == len(texts):
        return codes, texts
    recode, stripped = pd.factorize(np.array([text or None for text in texts], dtype=object))
    return np.append(recode, -1)[codes], [str(text) for text in stripped]


def spread(texts: Sequence[str], codes: np.ndarray) -> np.ndarray:
    """For each code its text, and "" for -1: an object array [N]."""
    return np.array([*texts, ""], dtype=object)[codes]


def table_name(path: Path) -> str:
    """The name of a table's file without suffixes."""
    return Path(path.name.removesuffix(".gz").removesuffix(".zip")).stem


def beside(path: Path, *patterns: str) -> Path | None:
    """The first file of such a name in the folder of ``path``, in the one above, or in one directly below."""
    folder = path.absolute().parent
    for pattern in patterns:
        for place, start in ((folder, ""), (folder.parent, ""), (folder, "*/")):
            for found in sorted(place.glob(start + pattern)):
                if found.is_file():
                    return found
    return None


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    try:
        if content.startswith(b"\x1f\x8b"):
            return gzip.decompress(content)
        if content.startswith(b"PK\x03\x04"):
            return _only_member(content, path)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be unpacked ({error}): it is damaged; copy it again.") from error
    if content.startswith(_OLD_OFFICE):
        raise UserError(_is_spreadsheet(path))
    return content


def _only_member(content: bytes, path: Path) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if not name.startswith("__MACOSX") and not name.endswith("/")]
        if set(names) & set(_SHEETS):
            raise UserError(_is_spreadsheet(path))
        if len(names) != 1:
            raise UserError(f"{path} holds {len(names)} files: unpack it, and give the CSV of the labels.")
        return archive.read(names[0])


def _is_spreadsheet(path: Path) -> str:
    return f"{path} is a spreadsheet: save the sheet with the labels as CSV (UTF-8), and give that file."


def _decode(content: bytes, path: Path) -> tuple[str, list[str]]:
    if content.startswith(_UTF_16):
        encodings = ["utf-16"]
    elif b"\0" in content[:2]:
        encodings = ["utf-16-be" if content[:1] == b"\0" else "utf-16-le"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        guessed = encoding in ("cp1252", "latin-1")
        note = "it is not UTF-8 and was read as Windows-1252: look at the names with accents or umlauts."
        return text, [note] if guessed else []
    raise UserError(f"{path} cannot be read as a CSV (it holds no text): save it as UTF-8 with commas.")


def _begin(text: str) -> tuple[str, int, str]:
    """The text from its header on, the lines before it, and the separator: the one that parts the header most often."""
    header = text.lstrip("\r\n")
    skipped = text[: len(text) - len(header)].count("\n")
    first, _, rest = header.partition("\n")
    if first.strip().lower()[:4] == "sep=" and len(first.strip()) == 5:  # as Excel writes it
        return rest, skipped + 1, first.strip()[4]
    return header, skipped, max(SEPARATORS, key=lambda each: len(_first_rows(header, each)[0]))


def _first_rows(text: str, separator: str) -> list[list[str]]:
    """The header and the first row that is not empty."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    try:
        return [next(lines, []), next((line for line in lines if line), [])]
    except csv.Error:  # a quote that is not closed, or a cell beyond what the module csv takes
        return [text.split("\n", 1)[0].split(separator), []]


def _parse(text: str, separator: str) -> pd.DataFrame:
    titles, first = _first_rows(text, separator)
    # Rows may end in a separator where the header does not; ChestX-ray14's own header does, too.
    width = max(len(titles), len(first))
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would be cut
        cells = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=0,
            names=range(width),
            dtype=str,
            skipinitialspace=True,
            keep_default_na=False,
            na_values=[""],
            index_col=False,  # or pandas takes rows that end in a comma to begin with an index
            skip_blank_lines=False,  # to count the rows as the user's spreadsheet does
        )
    for place in range(len(titles), width):
        if cells[place].notna().any():
            raise ValueError(f"rows have {width} cells and the header has {len(titles)}")
    cells.columns = [title.strip() for title in titles] + [""] * (width - len(titles))
    return cells


def _named(cells: pd.DataFrame, path: Path, notes: list[str]) -> pd.DataFrame:
    """The columns that have a name, each once; what is left out stands in ``notes``."""
    nameless = [not name or name.startswith("Unnamed: ") for name in cells.columns]
    if cells.loc[:, nameless].notna().to_numpy().any():
        notes.append("a column without a name was left out, such as the row numbers that pandas writes.")
    cells = cells.loc[:, ~np.array(nameless)]
    names = cells.columns
    for name in names[names.duplicated()].unique():
        same = cells.loc[:, names == name]
        if not same.T.drop_duplicates().shape[0] == 1:
            raise UserError(f"{path} has the column {name!r} twice, with other cells: rename one.")
        notes.append(f"the column {name!r} stands there twice with the same cells: one was left out.")
    return cells.loc[:, ~names.duplicated()]
