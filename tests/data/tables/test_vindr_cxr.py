import numpy as np
import pytest

from medssl.data import read_table

READERS = (
    "image_id,rad_id,Aortic enlargement,Cardiomegaly,Other diseases,No finding\n"
    "9a5094b2,R9,1,0,0,0\n"
    "051132a7,R10,0,0,0,1\n"
    "9a5094b2,R10,1,1,0,0\n"
    "051132a7,R7,0.0,0,0,1\n"
    "9a5094b2,R11,1,0,,0\n"
    "051132a7,R15,0,0,0,1.0\n"
    "7f3c1b00,R8,1,0,maybe,0\n"
    "7f3c1b00,R9,0,0,0,0\n"
)


def test_most_readers_of_an_image_decide(write) -> None:
    table = read_table(write(READERS, "image_labels_train.csv"))
    rows = table.rows
    assert table.labels == ["Aortic enlargement", "Cardiomegaly", "Other diseases", "No finding"]
    assert rows["image"].tolist() == ["9a5094b2", "051132a7", "7f3c1b00"]
    assert rows["patient"].tolist() == rows["image"].tolist()
    assert rows["row"].tolist() == [2, 3, 8]
    np.testing.assert_equal(table.values, [[1, 0, 0, 0], [0, 0, 0, 1], [np.nan, 0, np.nan, 0]])
    assert rows["reason"].tolist() == ["", "", "not a label"]
    assert "disagree on 2 findings" in str(table.notes)
    assert "patient of its own" in str(table.notes)
    assert table.modality == "DX"


def test_the_test_set_has_one_row_for_each_image(write) -> None:
    text = "image_id,Aortic enlargement,Other disease,No finding\n008bdde2,1.0,0.0,0.0\n00a2145d,0.0,0.0,1.0\n"
    table = read_table(write(text, "image_labels_test.csv"))
    assert table.labels == ["Aortic enlargement", "Other diseases", "No finding"]  # as the training set calls it
    assert table.values.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert "disagree" not in str(table.notes)


@pytest.mark.parametrize(
    "header",
    [
        "image_id,rad_id,class_name,x_min,y_min,x_max,y_max",
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max",  # Kaggle's
    ],
)
def test_boxes_of_readers(write, header: str) -> None:
    marks = [
        ("50a4", "R11", "No finding"),
        ("50a4", "R15", "No finding"),
        ("50a4", "R10", "Cardiomegaly"),
        ("9a50", "R10", "Cardiomegaly"),
        ("9a50", "R8", "Cardiomegaly"),
        ("9a50", "R8", "Cardiomegaly"),  # the same reader's second box
        ("9a50", "R9", "Nodule/Mass"),
        ("0511", "R8", "Nodule/Mass"),
        ("0511", "R9", "No finding"),
    ]
    cells = {"class_id": "3", "x_min": "1.0", "y_min": "1.0", "x_max": "9.0", "y_max": "9.0"}
    names = header.split(",")
    lines = [{**cells, "image_id": image, "rad_id": reader, "class_name": name} for image, reader, name in marks]
    csv = write("\n".join([header, *(",".join(line[name] for name in names) for line in lines)]))
    table = read_table(csv)
    assert table.labels == ["Cardiomegaly", "No finding", "Nodule/Mass"]
    assert table.rows["image"].tolist() == ["50a4", "9a50", "0511"]
    np.testing.assert_equal(table.values, [[0, 1, 0], [1, 0, 0], [0, np.nan, np.nan]])
    np.testing.assert_equal(read_table(csv, blank="negative").values, table.values)  # even is not empty


def test_boxes_on_which_the_readers_agreed(write, known) -> None:
    text = "image_id,class_name,x_min,y_min,x_max,y_max\na,Cardiomegaly,1,1,2,2\na,ILD,1,1,2,2\nb,No finding,,,,\n"
    states = known(read_table(write(text, "annotations_test.csv")))
    assert states == [{"Cardiomegaly": 1, "ILD": 1, "No finding": 0}, {"Cardiomegaly": 0, "ILD": 0, "No finding": 1}]


def test_rows_without_an_image_and_tables_with_patients(write) -> None:
    rows = read_table(write("image_id,rad_id,ILD,No finding\na,R1,1,0\n,R1,1,0\n")).rows
    assert rows["reason"].tolist() == ["", "no image"]
    own = read_table(write("image_id,patient_id,ILD,No finding\na,1,1,0\nb,1,1,0\n"))
    assert own.rows["patient"].tolist() == ["1", "1"]
    assert own.modality == ""
