import gzip

import pytest

from medssl.data import read_table
from medssl.data.tables import CHEXPERT_LABELS, patient_in_path, study_in_path
from medssl.errors import UserError

FINDINGS = sorted(CHEXPERT_LABELS)  # as MIMIC-CXR-JPG orders them
METADATA_COLUMNS = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)


def study(patient: int, number: int, **states: str) -> str:
    cells = [states.get(name.replace(" ", "_"), "") for name in FINDINGS]
    return f"{patient},{number},{','.join(cells)}\n"


LABELS = (
    f"subject_id,study_id,{','.join(FINDINGS)}\n"
    + study(10000032, 50414267, No_Finding="1.0", Support_Devices="")
    + study(10000032, 53189527, Edema="1.0", Pneumonia="-1.0")
    + study(10000764, 57375967, Atelectasis="0.0")
)
IMAGES = [
    ("02aa804e-bde0afdd", 10000032, 50414267, "PA"),
    ("174413ec-4ec4c1f7", 10000032, 50414267, "LATERAL"),
    ("2a2277a9-b0ded155", 10000032, 53189527, "AP"),
    ("068e9c4f-11111111", 10000999, 59999999, "PA"),  # of a study without labels
]
METADATA = f"{METADATA_COLUMNS}\n" + "".join(
    f'{image},{patient},{number},"CHEST (PA AND LAT)",{view},3056,2544,21800506,213014.5,,,Erect\n'
    for image, patient, number, view in IMAGES
)
SPLIT = "dicom_id,study_id,subject_id,split\n" + "".join(
    f"{image},{number},{patient},{split}\n"
    for (image, patient, number, _), split in zip(IMAGES, ("train", "train", "validate", "test"), strict=True)
)
START = "mimic-cxr-2.0.0-"


@pytest.mark.parametrize("kind", ["chexpert", "negbio"])
@pytest.mark.parametrize("packed", [True, False])
def test_labels_of_studies_meet_their_images(write, known, kind: str, packed: bool) -> None:
    def put(text: str, name: str) -> object:
        return write(gzip.compress(text.encode()), f"{name}.gz") if packed else write(text, name)

    csv = put(LABELS, f"{START}{kind}.csv")
    put(METADATA, f"{START}metadata.csv")
    put(SPLIT, f"{START}split.csv")
    table = read_table(csv)
    rows = table.rows
    start = "files/p10/p10000032/"
    assert rows["image"].tolist() == [
        f"{start}s50414267/02aa804e-bde0afdd",
        f"{start}s50414267/174413ec-4ec4c1f7",
        f"{start}s53189527/2a2277a9-b0ded155",
        "",
    ]
    assert rows["row"].tolist() == [2, 2, 3, 4]
    assert rows["patient"].tolist() == ["10000032"] * 3 + ["10000764"]
    assert rows["study"].tolist() == ["50414267", "50414267", "53189527", "57375967"]
    assert rows["view"].tolist() == ["PA", "lateral", "AP", ""]
    assert rows["split"].tolist() == ["training", "training", "validation", ""]
    assert rows["reason"].tolist() == ["", "", "", "no image"]
    healthy = {name: int(name == "No Finding") for name in FINDINGS if name != "Support Devices"}
    assert known(table)[:3] == [healthy, healthy, {"Edema": 1}]
    assert table.modality == "DX"
    notes = " ".join(table.notes)
    for word in ("3 images, and 1 studies without one", "split.csv", "which makes 24 unknown findings 0"):
        assert word in notes


def test_without_metadata_the_sentence_says_what_to_put_there(write) -> None:
    csv = write(LABELS, f"{START}chexpert.csv")
    with pytest.raises(UserError, match=r"chexpert\.csv.*put mimic-cxr-2\.0\.0-metadata\.csv"):
        read_table(csv)
    write("a,b\n1,2\n", f"{START}metadata.csv")
    with pytest.raises(UserError, match=r"put mimic-cxr-2\.0\.0-metadata\.csv"):
        read_table(csv)


def test_a_table_that_somebody_merged_is_read_as_it_stands(write, known) -> None:
    merged = (
        "subject_id,study_id,dicom_id,ViewPosition,split,Edema,Pneumonia,No Finding\n"
        "10000032,50414267,02aa804e,AP,validate,1.0,,\n"
        "10000032.0,50414267.0,02aa804f,LL,test,,,1.0\n"
    )
    table = read_table(write(merged))
    assert known(table) == [{"Edema": 1}, {"No Finding": 1, "Edema": 0, "Pneumonia": 0}]
    assert table.rows["split"].tolist() == ["validation", "test"]
    assert table.rows["view"].tolist() == ["AP", "lateral"]
    assert table.rows["patient"].tolist() == ["10000032"] * 2
    assert table.rows["image"].tolist()[0] == "files/p10/p10000032/s50414267/02aa804e"


def test_the_test_set_names_studies_only(write) -> None:
    write(METADATA, f"{START}metadata.csv")
    header = ",".join(name for name in FINDINGS if name != "No Finding")
    csv = write(f"study_id,{header}\n50414267{',0' * 13}\n", "mimic-cxr-2.1.0-test-set-labeled.csv")
    rows = read_table(csv).rows
    assert rows["patient"].tolist() == ["10000032"] * 2
    assert rows["reason"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("path", "patient", "study"),
    [
        ("mimic/2.0.0/files/p10/p10000032/s50414267/02aa804e.jpg", "10000032", "50414267"),
        ("p10000032\\s50414267\\02aa804e.dcm", "10000032", "50414267"),
        ("files/p10/p10000032/s50414267", "10000032", "50414267"),
        ("p10/x.jpg", "", ""),
    ],
)
def test_paths_name_the_patient(path: str, patient: str, study: str) -> None:
    assert (patient_in_path(path), study_in_path(path)) == (patient, study)


def test_other_tables_with_such_labels_and_studies_are_read_as_they_stand(write) -> None:
    own = f"filename,patient_id,study_id,{','.join(FINDINGS)}\na.png,p1,s1{',1' * 14}\n"
    table = read_table(write(own))
    assert table.rows.loc[0, ["image", "patient", "study", "reason"]].tolist() == ["a.png", "p1", "s1", ""]
    assert table.modality == ""
