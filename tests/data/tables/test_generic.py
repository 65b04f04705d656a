"""The table of a hospital of its own: its columns, and what their cells say."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medssl.data import read_table
from medssl.data.tables import CHEXPERT_LABELS
from medssl.errors import UserError

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder of real images at {SHARED}")

YES = ["1", "1.0", " 1 ", "01", "1,0", "yes", "Y", "TRUE", "t", "Positive", "pos", "present", "Ja", "oui", "sí", "WAHR"]
NO = [
    "0",
    "0.0",
    "0 ",
    "-0",
    "0,0",
    "no",
    "n",
    "False",
    "F",
    "negative",
    "NEG",
    "absent",
    "nein",
    "non",
    "não",
    "FALSCH",
]
UNKNOWN = ["", " ", "NA", "n/a", "nan", "NULL", "None", "unknown", "?", "-", ".", "not mentioned", "<NA>"]
UNCERTAIN = ["-1", "-1.0", "-1,0", "uncertain", "Equivocal"]
WRONG = ["2", "0.5", "inf", "1e", "maybe", "x", "1 0"]
MEANING = {
    **dict.fromkeys(YES, 1),
    **dict.fromkeys(NO, 0),
    **dict.fromkeys(UNKNOWN, np.nan),
    **dict.fromkeys(UNCERTAIN, -1),
    **dict.fromkeys(WRONG, None),
}


@pytest.mark.parametrize(
    ("uncertain", "state", "blank", "empty", "separator"),
    [
        ("unknown", np.nan, "unknown", np.nan, ";"),
        ("positive", 1, "unknown", np.nan, "\t"),
        ("negative", 0, "negative", 0, ";"),
    ],
)
def test_every_cell_means_what_a_slow_reading_says(
    write, uncertain: str, state: float, blank: str, empty: float, separator: str
) -> None:
    random = np.random.default_rng(0)
    weights = np.array([0.02 if cell in WRONG else 1.0 for cell in MEANING])
    cells = random.choice(list(MEANING), (400, 3), p=weights / weights.sum())
    lines = [separator.join([f"{row}.png", f"p{row // 2}", *cells[row]]) for row in range(400)]
    csv = write("\n".join([separator.join(["Image", "PATIENT", "A", "B", "C"]), *lines]))
    table = read_table(csv, ["C", "A"], uncertain=uncertain, blank=blank)
    assert table.labels == ["C", "A"]
    assert (table.rows["reason"] != "").any()
    for row, (of_a, _, of_c) in enumerate(cells.tolist()):
        states = [empty if not cell.strip() else MEANING[cell] for cell in (of_c, of_a)]
        assert (table.rows["reason"][row] == "not a label") == (None in states)
        assert all(repr(cell) in table.rows["detail"][row] for cell in (of_a,) if MEANING[cell] is None)
        expected = [np.nan if each is None else state if each == -1 else each for each in states]
        np.testing.assert_equal(table.values[row], expected)
    assert table.rows["image"].tolist() == [f"{row}.png" for row in range(400)]
    assert table.rows["patient"].tolist() == [f"p{row // 2}" for row in range(400)]
    for column, label in ((2, "C"), (0, "A")):
        count = np.isin(cells[:, column], UNCERTAIN).sum()
        assert f"{count} uncertain entries (-1) of {label}: {uncertain}." in table.notes
    blanks = {label: int((np.char.strip(cells[:, column]) == "").sum()) for column, label in ((2, "C"), (0, "A"))}
    assert table.added == ({"blank": blanks} if blank == "negative" else {})


def test_rows_keep_their_line_and_say_what_they_lack(write) -> None:
    csv = write(
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


def test_other_columns_are_kept_where_they_are_known_and_left_out_with_a_note_otherwise(write) -> None:
    csv = write(
        "Filename,Subject ID,Hospital,Patient Gender,Age,View_Position,StudyID,Visits,Comment,Date,Empty,Mass\n"
        + "".join(
            f"{n}.png,{n % 3}.0,North,{'MF'[n % 2]},0{50 + n}Y,{('PA', 'll')[n % 2]},1.2.{n},{n},"
            f"'n, {n}',2020-01-{n + 10},,{n % 2}\n".replace("'", '"')
            for n in range(12)
        )
    )
    table = read_table(csv)
    assert table.labels == ["Mass"]
    left_out = next(note for note in table.notes if "left out" in note)
    for name in ("Hospital", "Visits", "Comment", "Date", "Empty"):
        assert name in left_out
    assert "North" not in str(table.notes)  # what cells say may be anybody's name
    assert "'Filename' is taken for the image" in str(table.notes)
    assert "'Subject ID' is taken for the patient" in str(table.notes)
    rows = table.rows
    assert (rows["reason"] == "").all()
    assert rows["patient"].tolist() == [str(n % 3) for n in range(12)]
    assert rows["study"].tolist() == [f"1.2.{n}" for n in range(12)]
    assert rows["age"].tolist() == [50 + n for n in range(12)]
    assert rows["sex"].tolist() == ["M", "F"] * 6
    assert rows["view"].tolist() == ["PA", "lateral"] * 6


def test_a_column_is_of_labels_when_few_of_its_cells_are_none(write) -> None:
    columns = {
        "always": ["1"] * 20,
        "typing": ["1", "0"] * 9 + ["2", "11"],
        "grade": ["0", "1", "2", "3"] * 5,
        "share": ["0", "1"] + [f"0.{n}" for n in range(18)],
        "rare": [""] * 18 + ["0", "1"],
        "words": ["seen", "not seen"] * 10,
        "unknown": ["NA"] * 20,
        "count": [str(n) for n in range(20)],
    }
    lines = [",".join(["image", "patient", *columns])]
    lines += [",".join([f"{n}.png", str(n), *(cells[n] for cells in columns.values())]) for n in range(20)]
    table = read_table(write("\n".join(lines)))
    assert table.labels == ["always", "typing", "rare"]
    assert table.rows["reason"].tolist() == [""] * 18 + ["not a label"] * 2
    assert "'11'" in table.rows["detail"][19]
    for named in ({"labels": ["words"]}, {"label_columns": {"Seen": "words"}}):  # a column that is named must hold them
        with pytest.raises(UserError, match="'words' holds values such as 'seen'"):
            read_table(write("\n".join(lines)), **named)
    assert read_table(write("\n".join(lines)), ["unknown", "always"]).labels == ["unknown", "always"]


def test_a_label_may_be_called_like_a_role(write) -> None:
    csv = write("image,patient,sex,view\na,1,1,PA\nb,2,0,AP\n")
    assert read_table(csv).labels == []
    assert "holds no labels" in str(read_table(csv).notes)
    table = read_table(csv, label_columns={"female": "sex"})
    assert table.values.tolist() == [[1], [0]]
    assert table.rows["sex"].tolist() == ["", ""]
    assert table.rows["view"].tolist() == ["PA", "AP"]


@pytest.mark.parametrize(
    ("word", "split"),
    [
        *((word, "training") for word in ("train", "Training", "TR", "train_set", "train set")),
        *((word, "validation") for word in ("val", "valid", "validate", "Validation", "dev", "tune")),
        *((word, "test") for word in ("test", "Testing", "hold-out", "test_split")),
        *((word, "unlabeled") for word in ("unlabeled", "Unlabelled")),
        *((word, "training or validation") for word in ("train_val", "trainval", "training or validation")),
    ],
)
def test_words_for_splits(write, word: str, split: str) -> None:
    table = read_table(write(f"image,patient,split,A\na,1,{word},1\n"))
    assert table.rows["split"].tolist() == [split]
    assert read_table(write(f"image,patient,partition,A\na,1,{word},1\n")).rows["split"].tolist() == [split]


def test_words_for_ages_sexes_and_views(write) -> None:
    cells = [
        ("058Y", 58, "F", "F", "PA", "PA"),
        ("6M", 0.5, "female", "F", "AP_horizontal", "AP"),
        ("063", 63, "Male", "M", "AP Supine", "AP"),
        ("58.0", 58, "m", "M", "antero-posterior", "AP"),
        ("58,5", 58.5, "weiblich", "F", "L", "lateral"),
        ("90+", 90, "U", "", "LATERAL", "lateral"),
        ("14 years", 14, "", "", "XTABLE LATERAL", "lateral"),
        ("411", np.nan, "0", "", "frontal", "frontal"),
        ("old", np.nan, "Other", "", "AP LLD", "AP"),
        ("", np.nan, "M.", "M", "COSTAL", "other"),
        ("021D", 0.06, "Femme", "F", "PA and lateral", ""),  # of which image?
        ("NA", np.nan, "?", "", "UNK", ""),
    ]
    lines = [f"{n}.png;{n};{age};{sex};{view};1" for n, (age, _, sex, _, view, _) in enumerate(cells)]
    rows = read_table(write("\n".join(["image;patient;age;sex;view;A", *lines]))).rows
    np.testing.assert_equal(rows["age"].to_numpy(), [row[1] for row in cells])
    assert rows["sex"].tolist() == [row[3] for row in cells]
    assert rows["view"].tolist() == [row[5] for row in cells]


def test_a_source_is_a_hospital(write) -> None:
    rows = [f"{n}.png,{n},https://example.org/{n},{n % 2}\n" for n in range(10)]
    table = read_table(write("image,patient,source,A\n" + "".join(rows)))
    assert set(table.rows["source"]) == {"site"}
    assert "source" in next(note for note in table.notes if "left out" in note)


def test_patients_may_stand_in_the_paths_of_the_images(write) -> None:
    start = "files/p10/p1000003"
    table = read_table(write(f"image,A\n{start}2/s50414267/a.jpg,1\n{start}3/s50414268/b.jpg,0\n"))
    assert table.rows["patient"].tolist() == ["10000032", "10000033"]
    assert "no column patient" in str(table.notes)
    with pytest.raises(UserError, match="no column 'patient'"):
        read_table(write(f"image,A\n{start}2/s50414267/a.jpg,1\nb.jpg,0\n"))


def test_one_class_for_each_image(write) -> None:
    csv = write("image,patient,organ\na,1,part 10\nb,2,part 2\nc,3,\nd,4,part 10\ne,5,None\nf,6,n/a\n")
    table = read_table(csv, classes="organ")
    assert table.exclusive
    assert table.labels == ["None", "part 2", "part 10"]  # a word such as None is a class too
    expected = [[0, 0, 1], [0, 1, 0], [np.nan] * 3, [0, 0, 1], [1, 0, 0], [np.nan] * 3]
    np.testing.assert_equal(table.values, expected)
    chosen = read_table(csv, classes="organ", label_columns={"liver": "part 2", "none": "None"})
    assert chosen.labels == ["liver", "none"]
    assert chosen.rows["reason"].tolist() == ["not a label", "", "", "not a label", "", ""]
    np.testing.assert_equal(chosen.values, [[np.nan] * 2, [1, 0], *[[np.nan] * 2] * 2, [0, 1], [np.nan] * 2])
    numbered = write("image,patient,organ\n" + "".join(f"{i},{i},{i}\n" for i in range(300)))
    with pytest.raises(UserError, match="'organ' holds 300 different texts such as '0'"):
        read_table(numbered, classes="organ")


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("pixels,patient,A\na,1,1\n", {}, r"no column 'image' but pixels, patient, A"),
        ("imaeg,patient,A\na,1,1\n", {}, "Did you mean 'imaeg'"),
        ("image,A\na,1\n", {}, "no column 'patient'"),
        ("path,filename,patient,A\na,a,1,1\n", {}, "several columns that may be the image, path, filename"),
        ("image,patient_id,subject_id,A\na,1,1,1\n", {}, "several columns that may be the patient"),
        ("image,patient,Mass\na,1,1\n", {"labels": ["Mess"]}, "no label 'Mess': it has Mass.* Did you mean 'Mass'"),
        ("image,patient,A\na,1,1\n", {"labels": ["A", "A"]}, "named twice"),
        ("image,patient,A\na,1,1\n", {"columns": {"patient": "patent"}}, "Did you mean 'patient'"),
        ("image,patient,A\na,1,1\n", {"columns": {"imag": "image"}}, "not 'imag'. Did you mean 'image'"),
        ("image,patient,Ab\na,1,1\n", {"label_columns": {"A": "ab"}}, "no column 'ab'"),
        ("image,patient,A\na,1,1\n", {"classes": "B"}, "no column 'B'"),
        ("image,patient,A\na,1,1\n", {"uncertain": "maybe"}, "not 'maybe'"),
        ("image,patient,A\na,1,1\n", {"blank": "positive"}, "not 'positive'"),
    ],
)
def test_hopeless_tables_are_refused(write, text: str, values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_table(write(text), **values)


def test_labels_that_some_tables_lack(write) -> None:
    assert read_table(write("image,patient,A\na,1,1\n"), ["B", "A"], require_labels=False).labels == ["A"]


@needs_shared
@pytest.mark.parametrize(
    ("folder", "labels"),
    [
        ("shenzhen_tb", {"No Finding", "Tuberculosis", "has_lung_mask"}),
        ("hannover_covid", {"COVID-19", "ICU", "Died"}),
        ("ieee_covid", {"No Finding", "Pneumonia", "COVID-19", "SARS", "Viral", "Bacterial", "Fungal"}),
        ("kermany", {"No Finding", "Pneumonia", "Bacterial", "Viral"}),
    ],
)
def test_real_tables_have_other_columns(folder: str, labels: set[str]) -> None:
    table = read_table(SHARED / "cxr_pool" / folder / "labels.csv")
    assert set(table.labels) == labels
    assert (table.rows["reason"] == "").all()


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
def test_a_large_table_is_read_and_split_in_seconds(write) -> None:
    """Of 220 000 rows in 20 s and 1 GB its share for 40 000; benchmarks/label_table.py measures all of them."""
    random = np.random.default_rng(0)
    cells = random.choice(["1.0", "0.0", "-1.0", ""], (40000, 14), p=[0.2, 0.1, 0.1, 0.6])
    patients = random.integers(0, 12000, 40000)
    lines = [
        f"train/patient{patient:05d}/study1/{row}.jpg,F,60,Frontal,AP,{','.join(line)}"
        for row, (patient, line) in enumerate(zip(patients, cells, strict=True))
    ]
    header = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(CHEXPERT_LABELS)}"
    csv = write("\n".join([header, *lines]))
    answer = subprocess.run([sys.executable, "-c", MEASURE, str(csv)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    seconds, megabytes = map(float, answer.stdout.split())
    assert seconds < 20 * 40 / 220
    assert megabytes < 1024 * 40 / 220
