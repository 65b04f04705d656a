import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.data import read_table
from medssl.data.tables import CHESTXRAY14_LABELS, CHEXPERT_LABELS

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
NIH = SHARED / "nih_cxr" / "Data_Entry_2017.csv"


def write(folder: Path, text: str, name: str = "site.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


CELLS = ["1", "0", "1.0", "0.0", " 1 ", "0 ", "", " ", "NA", "nan", "-1", "-1.0", "yes", "2", "0.5", "True", "inf"]


def meaning(cell: str, uncertain: float) -> float | None:
    """What a cell of a label says; None when it is a mistake."""
    if cell.strip().lower() in ("", "na", "nan"):
        return np.nan
    try:
        number = float(cell)
    except ValueError:
        return None
    return {1: 1, 0: 0, -1: uncertain}.get(number)


@pytest.mark.parametrize(
    ("uncertain", "state", "separator"), [("unknown", np.nan, ","), ("positive", 1, ";"), ("negative", 0, "\t")]
)
def test_every_cell_means_what_a_slow_reading_says(
    tmp_path: Path, uncertain: str, state: float, separator: str
) -> None:
    random = np.random.default_rng(0)
    weights = np.array([20.0] * 10 + [5.0, 5.0] + [1.0] * 5)
    cells = random.choice(CELLS, (400, 3), p=weights / weights.sum())
    lines = [separator.join([f"{row}.png", f"p{row // 2}", *cells[row]]) for row in range(400)]
    csv = write(tmp_path, "\n".join([separator.join(["Image", "PATIENT", "A", "B", "C"]), *lines]))
    table = read_table(csv, ["C", "A"], uncertain=uncertain)
    assert table.labels == ["C", "A"]
    for row, (_, of_a, _, of_c) in enumerate([(None, *line) for line in cells]):
        expected = [meaning(of_c, state), meaning(of_a, state)]
        assert (table.rows["reason"][row] == "not a label") == (None in expected)
        wrong = [cell for cell, found in zip((of_c, of_a), expected, strict=True) if found is None]
        assert not wrong or repr(str(wrong[-1])) in table.rows["detail"][row]
        np.testing.assert_equal(table.values[row], [np.nan if found is None else found for found in expected])
    assert table.rows["image"].tolist() == [f"{row}.png" for row in range(400)]
    assert table.rows["patient"].tolist() == [f"p{row // 2}" for row in range(400)]
    for column, note in zip((2, 0), table.notes, strict=True):
        assert note == f"{sum(cell.startswith('-1') for cell in cells[:, column])} uncertain entries (-1) of " + (
            f"{'ABC'[column]}: {uncertain}."
        )


def test_rows_keep_their_line_and_say_what_they_lack(tmp_path: Path) -> None:
    csv = write(
        tmp_path,
        "\ufefffile; pid ;split;Source;A\n"
        "a.png;1;Train;;1\n"
        "\n"
        ";;;;\n"
        " b.png ;2;valid;north; 0\n"
        "c.png;;test;;1\n"
        "d.png;NA;test;;1\n"
        ";3;test;;1\n"
        "e.png;3;later;;1\n"
        "f.png;3;;;1\n",
    )
    rows = read_table(csv, columns={"image": "file", "patient": "pid"}).rows
    assert rows["row"].tolist() == [2, 5, 6, 7, 8, 9, 10]
    assert rows["image"].tolist() == ["a.png", "b.png", "c.png", "d.png", "", "e.png", "f.png"]
    assert rows["split"].tolist() == ["training", "validation", "test", "test", "test", "", ""]
    assert rows["source"].tolist() == ["site", "north", *["site"] * 5]
    assert rows["reason"].tolist() == ["", "", "no patient", "no patient", "no image", "no split", "no split"]
    assert ((rows["reason"] == "") == (rows["detail"] == "")).all()
    given = read_table(csv, columns={"image": "file", "patient": "pid"}, split="test", source="south").rows
    assert set(given["split"]) == {"test"}
    assert given["reason"].tolist() == ["", "", "no patient", "no patient", "no image", "", ""]
    assert given["source"].tolist()[:3] == ["south", "north", "south"]


def test_chexpert_is_known_by_its_columns(tmp_path: Path) -> None:
    header = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(CHEXPERT_LABELS)}\n"
    start = "CheXpert-v1.0/train/patient0000"
    csv = write(
        tmp_path,
        header
        + f"{start}1/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n"
        + f"{start}2/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,\n"
        + f"{start}2/study1/view2_lateral.jpg,Female,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,\n"
        + "strange/view2.jpg,Male,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,\n",
    )
    table = read_table(csv)
    assert table.labels == list(CHEXPERT_LABELS)
    assert table.rows["patient"].tolist() == ["patient00001", "patient00002", "patient00002", ""]
    assert table.rows["reason"].tolist() == ["", "", "", "no patient"]
    assert table.rows["image"][0] == f"{start}1/study1/view1_frontal.jpg"
    known = {(row, table.labels[column]): table.values[row, column] for row, column in np.argwhere(table.values >= 0)}
    assert {key: value for key, value in known.items() if key[0] == 0} == {
        (0, "No Finding"): 1,
        (0, "Pneumothorax"): 0,
        (0, "Support Devices"): 1,
    }
    assert {name for row, name in known if row == 1} == {"Lung Opacity", "Fracture"}
    assert "3 uncertain entries (-1) of Consolidation: unknown." in table.notes
    assert read_table(csv, ["Edema"], uncertain="positive").values[:, 0].tolist()[1] == 1
    renamed = read_table(csv, label_columns={"Effusion": "Pleural Effusion"}, uncertain="negative")
    assert renamed.labels == ["Effusion"]
    assert renamed.values[1, 0] == 0
    # The test set's table has labels only.
    bare = write(tmp_path, f"Path,{','.join(CHEXPERT_LABELS)}\ntest/patient64741/study1/view1.jpg{',0.0' * 14}\n")
    assert read_table(bare).rows["patient"].tolist() == ["patient64741"]


def test_chestxray14_is_known_by_its_columns(tmp_path: Path) -> None:
    csv = write(
        tmp_path,
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
        "1_000.png,Cardiomegaly|Emphysema,0,1,58,M,PA,2682,2749,0.143,0.143,\n"
        "2_000.png,No Finding,0,2,58,M,PA,2682,2749,0.143,0.143,\n"
        "3_000.png,Edema|Gout,0,3,58,M,PA,2682,2749,0.143,0.143,\n"
        "4_000.png,,0,4,58,M,PA,2682,2749,0.143,0.143,\n"
        "5_000.png,No Finding|Edema,0,5,58,M,PA,2682,2749,0.143,0.143,\n",
    )
    table = read_table(csv, ["Emphysema", "Edema"])
    np.testing.assert_equal(table.values, [[1, 0], [0, 0], *[[np.nan, np.nan]] * 3])
    assert table.rows["patient"].tolist() == list("12345")
    assert table.rows["reason"].tolist() == ["", "", *["not a label"] * 3]
    for word, detail in zip(("Gout", "is empty", "beside"), table.rows["detail"].tolist()[2:], strict=True):
        assert word in detail
    assert read_table(csv, label_columns={"lung oedema": "Edema"}).labels == ["lung oedema"]
    with pytest.raises(ValueError, match=r"no finding 'Oedema'.*Did you mean 'Edema'"):
        read_table(csv, label_columns={"Edema": "Oedema"})


@pytest.mark.skipif(not NIH.is_file(), reason=f"no {NIH}")
def test_the_real_chestxray14_table() -> None:
    table, cells = read_table(NIH), pd.read_csv(NIH)
    assert (table.rows["reason"] == "").all()
    assert table.labels == list(CHESTXRAY14_LABELS)
    expected = [[name in found.split("|") for name in CHESTXRAY14_LABELS] for found in cells["Finding Labels"]]
    np.testing.assert_array_equal(table.values, np.array(expected, dtype=float))


def test_one_class_for_each_image(tmp_path: Path) -> None:
    csv = write(tmp_path, "image,patient,organ\na,1,part 10\nb,2,part 2\nc,3,\nd,4,part 10\ne,5,None\n")
    table = read_table(csv, classes="organ")
    assert table.exclusive
    assert table.labels == ["None", "part 2", "part 10"]  # a word such as None is a class too
    np.testing.assert_equal(table.values, [[0, 0, 1], [0, 1, 0], [np.nan] * 3, [0, 0, 1], [1, 0, 0]])
    chosen = read_table(csv, classes="organ", label_columns={"liver": "part 2", "none": "None"})
    assert chosen.labels == ["liver", "none"]
    assert chosen.rows["reason"].tolist() == ["not a label", "", "", "not a label", ""]
    np.testing.assert_equal(chosen.values, [[np.nan] * 2, [1, 0], [np.nan] * 2, [np.nan] * 2, [0, 1]])
    numbered = write(tmp_path, "image,patient,organ\n" + "".join(f"{i},{i},{i}\n" for i in range(300)))
    with pytest.raises(ValueError, match="'organ' holds 300 different texts such as '0'"):
        read_table(numbered, classes="organ")


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("file,patient,A\na,1,1\n", {}, r"no column 'image' but file, patient, A"),
        ("image,A\na,1\n", {}, "no column 'patient'"),
        ("image,patient,A\n", {}, "no rows"),
        ("", {}, "cannot be read as a CSV"),
        ("image,patient,A\na,1,1,1,1\n", {}, "cannot be read as a CSV"),
        ("image,patient,A\na,1,1,1\nb,1,1\n", {}, "cannot be read as a CSV"),  # and not shifted by a column
        ('image,patient,A\na,1,"1\n', {}, "cannot be read as a CSV"),
        ("image,patient,A,A \na,1,1,0\n", {}, "has the column 'A' twice"),
        ("image,patient,A,age\na,1,1,50\n", {}, "column 'age' holds values such as '50'"),
        ("image,patient,Mass\na,1,1\n", {"labels": ["Mess"]}, "no label 'Mess': it has Mass.* Did you mean 'Mass'"),
        ("image,patient,A\na,1,1\n", {"labels": ["A", "A"]}, "named twice"),
        ("image,patient,A\na,1,1\n", {"columns": {"patient": "patent"}}, "Did you mean 'patient'"),
        ("image,patient,A\na,1,1\n", {"columns": {"imag": "image"}}, "not 'imag'. Did you mean 'image'"),
        ("image,patient,Ab\na,1,1\n", {"label_columns": {"A": "ab"}}, "no column 'ab'"),
        ("image,patient,A\na,1,1\n", {"classes": "B"}, "no column 'B'"),
        ("image,patient,A\na,1,1\n", {"uncertain": "maybe"}, "not 'maybe'"),
    ],
)
def test_hopeless_tables_are_refused(tmp_path: Path, text: str, values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(write(tmp_path, text), **values)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_table(tmp_path / "none.csv")
    for content in (b"\xff\xfei\x00m\x00", "image,patient,Ödem\na,1,1\n".encode("latin-1"), b"\x00" * 64):
        (tmp_path / "site.csv").write_bytes(content)
        with pytest.raises(ValueError, match=r"site\.csv"):
            read_table(tmp_path / "site.csv")
    some = read_table(write(tmp_path, "image,patient,A\na,1,1\n"), ["B", "A"], require_labels=False)
    assert some.labels == ["A"]


MEASURE = """
import resource, sys, time
from pathlib import Path
from medssl.data import read_table, split_patients
memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, start = memory(), time.process_time()
table = read_table(Path(sys.argv[1]))
assert (table.rows["reason"] == "").all()
split_patients(table.rows["patient"].to_list(), table.values)
print(time.process_time() - start, (memory() - before) / 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the module resource is not there")
def test_a_large_table_is_read_and_split_in_seconds(tmp_path: Path) -> None:
    """Of 220 000 rows in 20 s and 1 GB its share for 40 000; benchmarks/label_table.py measures all of them."""
    random = np.random.default_rng(0)
    cells = random.choice(["1.0", "0.0", "-1.0", ""], (40000, 14), p=[0.2, 0.1, 0.1, 0.6])
    patients = random.integers(0, 12000, 40000)
    lines = [
        f"train/patient{patient:05d}/study1/{row}.jpg,F,60,Frontal,AP,{','.join(line)}"
        for row, (patient, line) in enumerate(zip(patients, cells, strict=True))
    ]
    header = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(CHEXPERT_LABELS)}"
    csv = write(tmp_path, "\n".join([header, *lines]))
    answer = subprocess.run([sys.executable, "-c", MEASURE, str(csv)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    seconds, megabytes = map(float, answer.stdout.split())
    assert seconds < 20 * 40 / 220
    assert megabytes < 1024 * 40 / 220
