import numpy as np
import pytest

from medssl.data import read_table
from medssl.data.tables import CHEXPERT_LABELS, patient_in_path, study_in_path

HEADER = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(CHEXPERT_LABELS)}\n"
START = "CheXpert-v1.0/train/patient0000"
TRAIN = (
    HEADER
    + f"{START}1/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n"
    + f"{START}2/study2/view1_frontal.jpg,Male,87,Frontal,,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,\n"
    + f"{START}2/study1/view2_lateral.jpg,Unknown,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,\n"
    + "strange/view2.jpg,Male,83,Frontal,PA,,,,1.0,,,-1.0,,,,,,1.0,\n"
)
FINDINGS = CHEXPERT_LABELS[1:-1]


def test_patient_study_and_view_stand_in_the_table(write) -> None:
    table = read_table(write(TRAIN, "train.csv"))
    assert table.labels == list(CHEXPERT_LABELS)
    assert table.modality == "DX"
    rows = table.rows
    assert rows["image"][0] == f"{START}1/study1/view1_frontal.jpg"
    assert rows["patient"].tolist() == ["patient00001", "patient00002", "patient00002", ""]
    assert rows["study"].tolist() == [f"patient0000{n}" for n in ("1/study1", "2/study2", "2/study1")] + [""]
    assert rows["reason"].tolist() == ["", "", "", "no patient"]
    assert rows["view"].tolist() == ["AP", "frontal", "lateral", "PA"]
    assert rows["age"].tolist() == [68, 87, 83, 83]
    assert rows["sex"].tolist() == ["F", "M", "", "M"]


def test_what_is_not_mentioned_is_unknown_but_where_there_is_no_finding(write, known) -> None:
    csv = write(TRAIN, "train.csv")
    table = read_table(csv)
    assert known(table)[0] == {"No Finding": 1, **dict.fromkeys(FINDINGS, 0), "Support Devices": 1}
    assert known(table)[1] == {"Lung Opacity": 1, "Fracture": 1}
    filled = [name for name in FINDINGS if name != "Pneumothorax"]
    assert table.added == {"No Finding": dict.fromkeys(filled, 1)}
    assert "No Finding is 1 in 1 rows, which makes 11 unknown findings 0." in table.notes
    assert "3 uncertain entries (-1) of Consolidation: unknown." in table.notes
    chosen = read_table(csv, label_columns={"Oedema": "Edema"}, uncertain="positive")
    np.testing.assert_equal(chosen.values[:, 0], [0, 1, np.nan, np.nan])
    # What is not selected rules all the same.
    assert known(read_table(csv, ["Lung Lesion"])) == [{"Lung Lesion": 0}, {}, {}, {}]


def test_what_is_not_mentioned_may_be_taken_for_absent(write, known) -> None:
    table = read_table(write(TRAIN, "train.csv"), blank="negative")
    uncertain = {"Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion"}
    expected = {name: int(name in ("Lung Opacity", "Fracture")) for name in CHEXPERT_LABELS if name not in uncertain}
    assert known(table)[1] == expected
    blanks = table.added["blank"]
    assert (blanks["No Finding"], blanks["Pneumothorax"], blanks["Lung Opacity"]) == (3, 3, 1)
    assert f"{sum(blanks.values())} empty cells" in str(table.notes)


def test_a_row_that_contradicts_itself_is_left_as_it_is(write, known) -> None:
    table = read_table(write(f"{HEADER}{START}1/study1/v.jpg,Male,1,Frontal,AP,1.0,,1.0{',' * 11}\n"))
    assert known(table) == [{"No Finding": 1, "Cardiomegaly": 1}]
    assert "beside a finding in 1 rows" in str(table.notes)


def test_the_test_set_has_labels_only(write) -> None:
    csv = write(f"Path,{','.join(CHEXPERT_LABELS[1:])}\ntest/patient64741/study1/view1_frontal.jpg{',0.0' * 13}\n")
    table = read_table(csv)
    assert table.labels == list(CHEXPERT_LABELS[1:])
    assert table.rows["patient"].tolist() == ["patient64741"]
    assert (table.values == 0).all()


def test_a_column_of_patients_counts_before_the_path(write) -> None:
    csv = write(f"Path,Patient ID,{','.join(CHEXPERT_LABELS)}\ntrain/patient00001/study1/v.jpg,7{',' * 14}\n")
    assert read_table(csv).rows["patient"].tolist() == ["7"]


def test_chexpert_plus_names_patients_and_views(write) -> None:
    csv = write(
        "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,patient_report_date_order,report,age,sex,split\n"
        "train/patient42142/study5/view1_frontal.jpg,train/patient42142/study5/view1_frontal.dcm,Frontal,AP,"
        'patient42142,5,"NARRATIVE:\nCHEST, 1 VIEW",73.0,Male,train\n'
    )
    table = read_table(csv)
    said = table.rows.loc[0, ["image", "patient", "split", "age", "sex", "view", "reason"]].tolist()
    image = "train/patient42142/study5/view1_frontal.jpg"
    assert said == [image, "patient42142", "training", 73, "M", "frontal", ""]
    assert table.labels == []  # they are in a JSON file of its own


@pytest.mark.parametrize(
    ("path", "patient", "study"),
    [
        ("CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg", "patient64541", "patient64541/study1"),
        ("train\\patient00001\\study2\\view1.jpg", "patient00001", "patient00001/study2"),
        ("patient00001_study2_view1.jpg", "patient00001", "patient00001_study2"),
        ("inpatient01/a.jpg", "", ""),
        ("patients/a.jpg", "", ""),
    ],
)
def test_paths_name_the_patient(path: str, patient: str, study: str) -> None:
    assert (patient_in_path(path), study_in_path(path)) == (patient, study)
