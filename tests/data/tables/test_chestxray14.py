import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl.data import read_table
from medssl.data.tables import CHESTXRAY14_LABELS, TRAIN_OR_VALIDATION, patient_in_path, study_in_path
from medssl.errors import UserError

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))
NIH = SHARED / "nih_cxr" / "Data_Entry_2017.csv"
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
REST = "2682,2749,0.143,0.143,\n"
TABLE = (
    HEADER
    + f"00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,{REST}"
    + f"00000002_000.png,No Finding,0,2,81,F,AP,{REST}"
    + f"00000003_000.png,Edema|Gout,0,3,58,M,PA,{REST}"
    + f"00000004_000.png,,0,4,58,M,PA,{REST}"
    + f"00000005_000.png,No Finding|Edema,0,5,58,M,PA,{REST}"
)


def test_findings_that_are_not_listed_are_absent(write) -> None:
    table = read_table(write(TABLE), ["Emphysema", "Edema"])
    np.testing.assert_equal(table.values, [[1, 0], [0, 0], *[[np.nan, np.nan]] * 3])
    rows = table.rows
    assert rows["patient"].tolist() == list("12345")
    assert rows["age"].tolist() == [58, 81, 58, 58, 58]
    assert rows["sex"].tolist() == list("MFMMM")
    assert rows["view"].tolist() == ["PA", "AP", "PA", "PA", "PA"]
    assert rows["split"].tolist() == [""] * 5
    assert rows["reason"].tolist() == ["", "", "not a label", "", "not a label"]
    assert "Gout" in rows["detail"][2]
    assert "beside" in rows["detail"][4]
    assert "empty in 1 rows" in str(table.notes)
    assert table.modality == "DX"
    assert read_table(write(TABLE)).labels == list(CHESTXRAY14_LABELS)
    assert read_table(write(TABLE), label_columns={"lung oedema": "Edema"}).labels == ["lung oedema"]
    with pytest.raises(UserError, match=r"no finding 'Oedema'.*Did you mean 'Edema'"):
        read_table(write(TABLE), label_columns={"Edema": "Oedema"})


TRAIN_LIST, TEST_LIST = "00000001_000.png\n00000002_000.png\n", "00000003_000.png\r\n00000004_000.png\r\n"


@pytest.mark.parametrize("place", ["", "lists/", "../"])
def test_official_lists_beside_the_table_say_the_split(write, place: str) -> None:
    write(TRAIN_LIST, f"set/{place}train_val_list.txt")
    write(TEST_LIST, f"set/{place}test_list.txt")
    csv = write(TABLE, "set/Data_Entry_2017_v2020.csv")
    table = read_table(csv)
    open_split = [TRAIN_OR_VALIDATION] * 2
    assert table.rows["split"].tolist() == [*open_split, "test", "test", TRAIN_OR_VALIDATION]  # the last is in no list
    note = next(note for note in table.notes if "test_list.txt" in note)
    assert "2 images are for test" in note
    assert "1 that no list names" in note
    assert set(read_table(csv, split="test").rows["split"]) == {"test"}


def test_one_list_says_the_other(write) -> None:
    csv = write(TABLE, "set/Data_Entry_2017.csv")
    path = write(TEST_LIST, "set/test_list.txt")
    assert read_table(csv).rows["split"].tolist() == [*[TRAIN_OR_VALIDATION] * 2, "test", "test", TRAIN_OR_VALIDATION]
    path.unlink()
    path = write(TRAIN_LIST, "set/train_val_list.txt")
    assert read_table(csv).rows["split"].tolist() == [*[TRAIN_OR_VALIDATION] * 2, *["test"] * 3]
    path.write_text("another.png\n")  # another set's
    assert read_table(csv).rows["split"].tolist() == [""] * 5


def test_a_split_of_the_users_own_counts_before_the_lists(write) -> None:
    write(TEST_LIST, "test_list.txt")
    own = write("Image Index,Finding Labels,Patient ID,split\n00000003_000.png,Edema,3,val\n")
    assert read_table(own).rows["split"].tolist() == ["validation"]


def test_the_table_of_boxes_is_another(write) -> None:
    csv = write("Image Index,Finding Label,Bbox [x,y,w,h],,,\n00013118_008.png,Atelectasis,225.1,547.0,86.8,79.2\n")
    with pytest.raises(UserError, match=r"give Data_Entry_2017\.csv"):
        read_table(csv)


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("images_001/images/00000061_012.png", "61"),
        ("00030805_000.jpg", "30805"),
        ("a\\00000001_000.png", "1"),
        ("00000061_012", "61"),
        ("061_012.png", ""),
        ("00000061_012_crop.png", ""),
        ("x00000061_012.png", ""),
    ],
)
def test_names_name_the_patient(path: str, patient: str) -> None:
    assert (patient_in_path(path), study_in_path(path)) == (patient, "")


@pytest.mark.skipif(not NIH.is_file(), reason=f"no {NIH}")
def test_the_real_table() -> None:
    table, cells = read_table(NIH), pd.read_csv(NIH)
    assert (table.rows["reason"] == "").all()
    expected = [[name in found.split("|") for name in CHESTXRAY14_LABELS] for found in cells["Finding Labels"]]
    np.testing.assert_array_equal(table.values, np.array(expected, dtype=float))
    assert table.rows["patient"].tolist() == [patient_in_path(image) for image in cells["Image Index"]]
