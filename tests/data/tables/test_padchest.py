import gzip

from medssl.data import read_table

COLUMNS = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,"
    "LabelsLocalizationsBySentence,labelCUIS,LocalizationsCUIS"
)
IMAGES = [
    ("['cardiomegaly', ' pleural effusion']", "PA", {"cardiomegaly": 1, "pleural effusion": 1, "COPD signs": 0}),
    ("['normal']", "L", {"cardiomegaly": 0, "pleural effusion": 0, "COPD signs": 0}),
    (
        "['cardiomegaly', '', 'COPD signs']",
        "AP_horizontal",
        {"cardiomegaly": 1, "pleural effusion": 0, "COPD signs": 1},
    ),
    ("['unchanged', 'cardiomegaly']", "AP", {"cardiomegaly": 1}),
    ("['unchanged']", "PA", {}),
    ("['suboptimal study']", "COSTAL", {}),
    ("", "EXCLUDE", {}),
    ("nan", "PA", {}),
    ("[]", "PA", {}),
    ("['normal', 'cardiomegaly']", "PA", None),
    ("['exclude']", "PA", None),
    ("['cardiomegaly'", "PA", None),
    ("cardiomegaly", "PA", None),
]


def table_of(images: list) -> str:
    lines = [COLUMNS]
    for number, (labels, view, _) in enumerate(images):
        lines.append(
            f"{number},{number}_k6ga29.png,{number % 3},20140915,20{number},8{number // 2},19{10 + number}.0,"
            f"{'MF'[number % 2]},POSTEROANTERIOR,{view},Manual review of DICOM fields,No,CR,ImagingDynamicsCompanyLtd,"
            f"4765777,sin hallazgos patológicos .,Physician,\"{labels}\",\"['loc right', 'loc basal']\",[],[],[]"
        )
    return "\n".join([*lines, ""])


def test_findings_are_the_text_of_a_list(write, known) -> None:
    csv = write(gzip.compress(table_of(IMAGES).encode()), "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz")
    table = read_table(csv)
    assert table.labels == ["cardiomegaly", "COPD signs", "pleural effusion"]  # the commonest first
    for row, states, (labels, _, expected) in zip(table.rows.itertuples(), known(table), IMAGES, strict=True):
        assert states == (expected or {}), labels
        assert row.reason == ("" if expected is not None else "not a label"), labels
    assert "exclude" in table.rows["detail"][10]
    assert "beside a finding" in table.rows["detail"][9]
    assert "empty in 1 rows" in str(table.notes)
    assert known(read_table(csv, ["pleural effusion"]))[:2] == [{"pleural effusion": 1}, {"pleural effusion": 0}]


def test_who_and_how(write) -> None:
    table = read_table(write(table_of(IMAGES)))
    rows = table.rows
    assert rows["image"].tolist()[:2] == ["0_k6ga29.png", "1_k6ga29.png"]
    assert rows["patient"].tolist()[:3] == ["80", "80", "81"]
    assert rows["study"].tolist()[:2] == ["200", "201"]
    assert rows["age"].tolist()[:2] == [104, 103]
    assert rows["sex"].tolist()[:2] == ["M", "F"]
    assert rows["view"].tolist()[:7] == ["PA", "lateral", "AP", "AP", "PA", "other", "other"]
    assert table.modality == "DX"
