import os
import unicodedata
from pathlib import Path

import pytest

from medssl.data.patients import (
    folders_like_patients,
    hash_patient,
    normal_patient,
    patient_places,
    patients_at,
    said_patient,
    telling_names,
)


@pytest.mark.parametrize(
    "spellings",
    [
        ("4", "0004", "4.0", " 4 ", "P004", "p-4", "patient 4", "Patient00004", "sub-04", "４", "4\u200b", "00000004"),
        ("ab7", "AB 07", "ab 007"),
        ("Müller", "MÜLLER", unicodedata.normalize("NFD", "müller")),
        ("0", "000", "0.0"),
        ("LIDC-IDRI-0001", "lidc-idri-1"),
    ],
)
def test_one_number_in_several_spellings(spellings: tuple[str, ...]) -> None:
    assert len({normal_patient(spelling) for spelling in spellings}) == 1
    assert len({hash_patient("salt", spelling, "north") for spelling in spellings}) == 1


def test_other_numbers_stay_others() -> None:
    numbers = ["4", "40", "4a", "4-1", "41", "1 12", "11 2", "case 4", "A4", "1.20", "1.2", "10.2", "1.02", ""]
    assert len({normal_patient(number) for number in numbers}) == len(numbers)


def test_patients_are_hashed_with_salt_and_site() -> None:
    first = hash_patient("salt", "4711")
    assert len(first) == 16
    others = [hash_patient("salt", "4712"), hash_patient("pepper", "4711"), hash_patient("salt", "4711", "north")]
    assert len({first, *others, hash_patient("salt", "4711", "south")}) == 5
    assert hash_patient("salt", os.fsdecode(b"\xfc"))


@pytest.mark.parametrize(
    ("paths", "numbers", "other", "patient"),
    [
        (["P1/a.png", "P2/b.png", "P2/c/d.png"], ["p1", "2", "P02"], "P3/c/e.png", "P3"),
        (["old/1/a.png", "old/2/a.png"], ["1", "2"], "old/3/b.png", "3"),
        (["00000004_001.png", "00000005_000.png"], ["4", "5"], "x/00000006_000.png", "00000006"),
        (["case_00000_0000.nii.gz", "case_00001_0000.nii.gz"], ["case_0", "case_1"], "case_2_0001.nii.gz", "case_2"),
        (["CT-7.nii", "CT-8.nii"], ["7", "8"], "CT-9.nii", "9"),
    ],
)
def test_a_table_teaches_where_paths_have_the_patient(
    paths: list[str], numbers: list[str], other: str, patient: str
) -> None:
    places = patient_places(paths, numbers)
    assert patients_at(other, places)[0] == patient


def test_nothing_is_learned_from_chance() -> None:
    assert (
        patient_places([f"i{number:03}.png" for number in range(40)], [f"p{number // 2}" for number in range(40)]) == []
    )
    assert patient_places(["a/1.png", "a/2.png"], ["a", "a"]) == []  # one patient may be anything
    assert patient_places([], []) == []


def test_paths_that_say_the_patient() -> None:
    folder = Path("/data/download")
    for path, patient in (
        ("train/patient00004/study1/view1_frontal.jpg", "patient00004"),
        ("images_001/images/00000004_001.png", "4"),
        ("files/p10/p10000032/s50414267/02aa804e.jpg", "10000032"),
        ("sub-07/ses-1/anat/sub-07_T1w.nii.gz", "sub-07"),
        ("a/Subject_3.dcm", "Subject_3"),
        ("images/a.png", ""),
        ("s0001/ct.nii.gz", ""),
    ):
        assert said_patient(path, folder) == patient
    assert said_patient("study2/view1_frontal.jpg", Path("/data/train/patient00004")) == "patient00004"
    assert folders_like_patients("images/P004/12/0004/a1.png") == ["P004", "0004"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["s0/ct.nii.gz", "s1/ct.nii.gz", "other.nii.gz"], ["s0", "s1", "other"]),
        (["case_0/imaging.nii.gz", "case_1/imaging.nii.gz"], ["case_0", "case_1"]),
        (["volume-0.nii", "volume-1.nii"], ["volume-0", "volume-1"]),
        (["P12/ST1/SE00001/IM_0001", "P12/ST1/SE00002/IM_0001", "P13/DICOM/ser 1"], ["P12", "P12", "P13"]),
        (["7/study1/view1_frontal.jpg", "7/study2/view1_frontal.jpg"], ["7", "7"]),
        (["c1/0001.png", "c1/0002.png", "c2/0001.png"], ["c1", "c1", "c2"]),
        ([f"NORMAL/IM-{number:04}.jpeg" for number in range(20)], [f"IM-{number:04}" for number in range(20)]),
        (["before/Anna.nii", "after/Anna.nii"], ["Anna", "Anna"]),
        ([f"case {letter}/lungs.nii" for letter in "abc"], ["case a", "case b", "case c"]),
        (["train/0001.png", "test/0001.png"], ["train/0001", "test/0001"]),
        (["x.y.nii.gz", "1.2.840"], ["x.y", "1.2.840"]),
    ],
)
def test_a_folder_tells_who_it_is_where_files_are_called_alike(paths: list[str], names: list[str]) -> None:
    assert telling_names(paths) == names
