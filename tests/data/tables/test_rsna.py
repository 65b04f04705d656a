import numpy as np

from medssl.data import read_table

BOXES = (
    "patientId,x,y,width,height,Target\n"
    "0004cfab,,,,,0\n"
    "00436515,264.0,152.0,213.0,379.0,1\n"
    "00436515,562.0,152.0,256.0,453.0,1\n"
    "00704310,323.0,577.0,160.0,104.0,1\n"
    "00704310,,,,,0\n"
    ",,,,,1\n"
)
CLASSES = (
    "patientId,class\n"
    "0004cfab,No Lung Opacity / Not Normal\n"
    "00436515,Lung Opacity\n"
    "00436515,Lung Opacity\n"
    "003d8fa0,Normal\n"
    "00704310,Odd\n"
)


def test_a_row_for_each_box(write) -> None:
    table = read_table(write(BOXES, "stage_2_train_labels.csv"))
    assert table.labels == ["Pneumonia"]
    rows = table.rows
    assert rows["image"].tolist() == ["0004cfab", "00436515", "00704310", ""]
    assert rows["patient"].tolist() == rows["image"].tolist()
    assert rows["row"].tolist() == [2, 3, 5, 7]
    assert rows["reason"].tolist() == ["", "", "not a label", "no image"]
    np.testing.assert_equal(table.values[:3, 0], [0, 1, np.nan])
    assert "ChestX-ray14's" in str(table.notes)
    assert table.modality == "DX"


def test_classes(write) -> None:
    table = read_table(write(CLASSES, "stage_2_detailed_class_info.csv"))
    assert table.labels == ["Lung Opacity", "Normal"]
    np.testing.assert_equal(table.values, [[0, 0], [1, 0], [0, 1], [np.nan] * 2])
    assert table.rows["reason"].tolist() == ["", "", "", "not a label"]
    exclusive = read_table(write(CLASSES, "stage_2_detailed_class_info.csv"), classes="class")
    assert exclusive.labels == ["Lung Opacity", "No Lung Opacity / Not Normal", "Normal", "Odd"]
    assert exclusive.exclusive
