"""However a program writes a table, its cells are the same."""

import gzip
import io
import zipfile
from itertools import count

import numpy as np
import pytest

from medssl.data import read_table
from medssl.errors import UserError

PLAIN = "image,patient,Ödem,note\na.png,1,1,fine\nb.png,2,0,\nc.png,3,,fine\n"


def zipped(*members: tuple[str, str]) -> bytes:
    with zipfile.ZipFile(stream := io.BytesIO(), "w") as archive:
        for name, text in members:
            archive.writestr(name, text)
    return stream.getvalue()


WAYS = {
    "plain": PLAIN.encode(),
    "semicolons": PLAIN.replace(",", ";").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "a byte order mark": PLAIN.encode("utf-8-sig"),
    "Excel's Unicode text": PLAIN.replace(",", "\t").encode("utf-16"),
    "UTF-16 without its mark": PLAIN.encode("utf-16-le"),
    "big-endian": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "Windows-1252": PLAIN.encode("cp1252"),
    "lines of DOS": PLAIN.replace("\n", "\r\n").encode(),
    "lines of an old Mac": PLAIN.replace("\n", "\r").encode(),
    "Excel's first line": f"sep=;\n{PLAIN.replace(',', ';')}".encode(),
    "empty lines before": f"\n\n{PLAIN}".encode(),
    "gzip": gzip.compress(PLAIN.encode()),
    "zip": zipped(("set/site.csv", PLAIN), ("__MACOSX/set/._site.csv", "x")),
    "the row numbers of pandas": "".join(f"{n or ''},{line}\n" for n, line in enumerate(PLAIN.splitlines())).encode(),
    "row numbers saved twice": "".join(
        f"{n if n else 'Unnamed: 0'},{line}\n" for n, line in enumerate(PLAIN.splitlines())
    ).encode(),
    "a comma at the end": PLAIN.replace("\n", ",\n").encode(),
    "a comma at the end of the rows": PLAIN.replace("\n", ",\n").replace(",\n", "\n", 1).encode(),
    "blanks and quotes": PLAIN.replace("image,patient", '" image ", "patient"').replace(",", " , ").encode(),
    "a comment of two lines": PLAIN.replace("fine", '"fine,\nwell"').encode(),
    "a column twice": "\n".join(f"{line},{line.split(',')[2]}" for line in PLAIN.splitlines()).encode(),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_however_it_is_written(write, way: str) -> None:
    table = read_table(write(WAYS[way]))
    assert table.labels == ["Ödem"]
    np.testing.assert_equal(table.values[:, 0], [1, 0, np.nan])
    assert table.rows["image"].tolist() == ["a.png", "b.png", "c.png"]
    assert table.rows["patient"].tolist() == ["1", "2", "3"]
    first = {"empty lines before": 4, "Excel's first line": 3}.get(way, 2)
    assert table.rows["row"].tolist() == [first, first + 1, first + 2]
    notes = " ".join(table.notes)
    for ways, word in (
        ("Windows-1252", "Windows-1252"),
        ("row numbers", "without a name"),
        ("a column twice", "twice"),
    ):
        assert (word in notes) == (ways in way)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (zipped(("xl/workbook.xml", ""), ("[Content_Types].xml", "")), "spreadsheet"),
        (zipped(("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", "")), "spreadsheet"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512), "spreadsheet"),
        (zipped(("a.csv", PLAIN), ("b.csv", PLAIN)), "2 files"),
        (gzip.compress(PLAIN.encode())[:-20], "damaged"),
        (b"", "cannot be read"),
        (bytes(64), "no text"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "no text"),
        ("image,patient,A\n", "no rows"),
        ("image,patient,A\n\n,,\n", "no rows"),
        ("image,patient,A\na,1,1,1,1\n", "cannot be read as a CSV"),
        ("image,patient,A\na,1,1\nb,1,1,1\n", "cannot be read as a CSV"),
        ("image,patient,A\na,1,1,1\nb,1,1\n", "cannot be read as a CSV"),  # and not shifted by a column
        ('image,patient,A\na,1,"1\n', "cannot be read as a CSV"),
        ("image,patient,A,A \na,1,1,0\n", "has the column 'A' twice"),
    ],
    ids=count(),  # not the bytes, in which there is the time
)
def test_what_is_no_table_is_refused_in_a_sentence(write, content: str | bytes, word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        read_table(write(content))
    assert "site.csv" in str(caught.value)


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_table(tmp_path / "none.csv")
