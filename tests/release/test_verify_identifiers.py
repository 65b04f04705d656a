"""What counts as the name of a patient, of an image or of a folder, and where the names of a run come from."""

from pathlib import Path

import pytest
import yaml

from medssl.data import write_datalist
from medssl.files import write_text
from medssl.release.checks.bundle import Bundle
from medssl.release.checks.identifiers import ABSOLUTE, identifiers, run_names

PATIENTS = ["P0017", "Miller", "00013", "17", "Jürgen^Groß", "5e0c17af90b2d3c4"]
IMAGES = [
    "../north/images/00000099_001.png",
    "north/images/scan2024/1.png",
    "north/Smith_John/study1/ct.nii.gz",
    "north/Doe_Jane/study1/ct.nii.gz",
    "series 12/slices",
    "north/1.2.840.113619.dcm",
]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Of a run with these patients and images; two more images stand in its tables alone."""
    folder = tmp_path_factory.mktemp("run")
    data, run = folder / "data", folder / "run"
    items = [{"image": image, "patient": name} for image, name in zip(IMAGES, PATIENTS, strict=True)]
    labelled = {"training": [{**items[0], "label": [1]}], "test": [{**items[1], "label": [0]}]}
    write_datalist(data / "datalist.json", ["Mass"], {**labelled, "unlabeled": items[2:]})
    write_text(run / "config.yaml", yaml.safe_dump({"datalist": str(data / "datalist.json")}))
    write_text(run / "predictions.csv", "image,Mass\nfolder/probe_7.png,0.5\nimages/00000099_001.png,0.5\n")
    write_text(data / "report.csv", "source,file,named\nnorth,broken_8.dcm,\nnorth,,missing_9.dcm\n")
    write_text(data / "patient_salt.txt", "0123456789abcdef0123\n")
    return run_names(run)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nothing of anybody: 0.17 of 17 images, north/images, ct.nii.gz, study1, slices", []),
        ("Thanks to P0017.", ["p0"]),
        ("in p0017_left.png", ["p0"]),
        ("XP0017 and P00179", []),
        ("MILLER", ["mi"]),
        ("Millers", []),
        ("00013", ["00"]),
        ("0.00013 and 00013.5", []),
        ("of jürgen^groß,", ["jü"]),
        ("as DATA\\00000099_001.PNG", ["00"]),
        ("00000099_0012", []),
        ("images/scan2024/x", ["sc"]),
        ("Smith, John", ["sm"]),
        ("John Smith", []),
        ("1.2.840.113619", ["1."]),
        ("a run's salt 0123456789ABCDEF0123", ["01"]),
        ("probe_7", ["pr"]),
        ("broken_8, and missing_9", ["br"]),
    ],
)
def test_a_name_counts_where_it_stands_alone_and_is_no_common_word(
    text: str, found: list[str], names: frozenset[str], tmp_path: Path
) -> None:
    write_text(tmp_path / "notes.txt", f"first line\n{text}\n")
    said = list(identifiers(Bundle(tmp_path, names)))
    assert [sentence.partition(" holds ")[2][:2] for sentence in said] == found
    assert all(sentence.startswith("notes.txt, line 2,") for sentence in said)


def test_many_names_are_searched_for_at_once(tmp_path: Path) -> None:
    many = frozenset(f"hospital_x_{number}" for number in range(100_000))
    write_text(tmp_path / "notes.txt", "hospital x\n" * 1000 + "see hospital_x_77 of hospital_x")
    (sentence,) = identifiers(Bundle(tmp_path, many))
    assert "line 1001," in sentence


def test_a_run_that_knows_of_no_image_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "config.yaml", f"datalist: {tmp_path}/gone.json\n")
    with pytest.raises(ValueError, match="names no image"):
        run_names(tmp_path)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("see /mnt/store/chest.", "/mnt/store/chest."),
        ("dataset_dir: /data", "/data"),
        ('"dataset_dir": "/data/chest"', "/data/chest"),
        ("--dataset_dir=/data/chest", "/data/chest"),
        ("file:///data", "file:///data"),
        ("~/images", "~/images"),
        ("C:\\Users\\anna", "C:\\Users\\anna"),
        ("at D:/scans/1", "D:/scans/1"),
        ("\\\\server\\share", "\\\\server\\share"),
        ("https://example.org/models/model.pt and http://a.b/c/d", None),
        ("model: $@bundle_root + '/models/model.pt'", None),
        ("path = root + f'/models/{name}'", None),
        ("sensitivity/specificity, and/or, 1/2/3, models/model.pt, ./configs/a.yaml, image/png", None),
        ("#!/usr/bin/env python > /dev/null", None),
        ("a ratio: 3:/4, [B, C, *spatial]", None),
    ],
)
def test_what_is_an_absolute_path(text: str, path: str | None) -> None:
    match = ABSOLUTE.search(text)
    assert (match and match.group().strip(" \"'")) == path
