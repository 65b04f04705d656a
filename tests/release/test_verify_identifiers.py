"""What counts as the name of a patient, of an image or of a folder, and where the names of a run come from."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from medssl.data import write_datalist
from medssl.files import write_text
from medssl.release.checks.bundle import Content
from medssl.release.checks.identifiers import Identifiers, Image, Names, run_names
from medssl.release.checks.privacy import ABSOLUTE, _is_added

PATIENTS = {"P0017", "Miller", "00013", "64321789", "1234567", "17", "Jürgen^Groß", "5e0c17af90b2d3c4"}
IMAGES = [
    Image("../north/images/00000099_001.png", "a"),
    Image("north/images/scan2024/1.png", "b"),
    Image("north/Smith_John/study1/ct.nii.gz", "c"),
    Image("north/Doe_Jane/study1/ct.nii.gz", "d"),
    Image("series 12/slices", "e"),
]


@pytest.fixture(scope="module")
def names() -> Identifiers:
    return Identifiers(Names(PATIENTS, IMAGES, {"0123456789abcdef0123"}))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nothing of anybody: 0.17 of 17 images, north/images, ct.nii.gz, study1", set()),
        ("Thanks to P0017.", {"p0017"}),
        ("in p0017_left.png", {"p0017"}),
        ("XP0017 and P00179", set()),
        ("MILLER", {"miller"}),
        ("Millers", set()),
        ("patient 17", {"17"}),
        ('"patient_id": "17"', {"17"}),
        ("17 patients, of each patient 1 of 17 images, valid 17", set()),
        ("1234567 weights", set()),
        ("MRN: 1234567", {"1234567"}),
        ("00013", {"00013"}),
        ("0.00013 and 00013.5", set()),
        ("64321789 and more", {"64321789"}),
        ("0.64321789", set()),
        ("of jürgen^groß,", {"jürgen^groß"}),
        ("00000099_001", {"00000099_001"}),
        ("as DATA\\00000099_001.PNG", {"00000099_001"}),
        ("00000099_0012", set()),
        ("images/scan2024/x", {"scan2024"}),
        ("north/Doe_Jane/study1/ct.nii.gz", {"doe_jane", "north/doe_jane/study1/ct.nii.gz"}),
        ("north/images/scan2024/1.png", {"scan2024", "north/images/scan2024/1.png"}),
        ("by John Smith, Smith_John", {"smith_john"}),
        ("series 12", {"series 12"}),
        ("salt 0123456789ABCDEF0123", {"0123456789abcdef0123"}),
    ],
)
def test_a_name_counts_where_it_stands_alone_and_is_no_common_word(
    text: str, found: set[str], names: Identifiers
) -> None:
    assert {name for _, name in names.find(text)} == found


def test_an_image_that_another_table_names_without_its_patient_stays_that_patients() -> None:
    images = [Image("images/00000001_000.png", "a"), Image("images/00000002_000.png", "b")]
    again = [Image(image.path.removeprefix("images/"), "") for image in images]
    slices = [Image(f"Miller_Anna/{number}.dcm", "") for number in range(3)] + [Image("Doe_Jane/0.dcm", "")]
    names = Identifiers(Names(set(), images + again + slices, set()))
    assert [name for _, name in names.find("00000001_000 and images")] == ["00000001_000"]
    assert [name for _, name in names.find("Doe_Jane and 0.dcm")] == ["doe_jane"]


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
    match = next((one for one in ABSOLUTE.finditer(text) if not _is_added(text, one.start())), None)
    assert (match and match.group().strip(" \"'")) == path


def test_in_binary_data_only_what_chance_does_not_write_counts(names: Identifiers) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 100_000).astype(np.uint8).tobytes()
    content = Content("weights", noise + b"\0 P0017 5e0c17af90b2d3c4 \xff" + noise)
    assert content.is_binary
    assert {name for _, name in names.find(content.text, content.is_binary)} == {"5e0c17af90b2d3c4"}


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_is_read_and_not_loaded(protocol: int, names: Identifiers) -> None:
    content = Content("data.pkl", pickle.dumps({"5e0c17af90b2d3c4": [print, "Jürgen^Groß"]}, protocol))
    assert {name for _, name in names.find(content.text, content.is_binary)} == {"5e0c17af90b2d3c4", "jürgen^groß"}


def test_stretches_of_text_are_found_wherever_they_lie() -> None:
    for length, before in ((7, b"\0"), (8, b""), (8, b"\0"), (9, b"\xff" * 5), (40, b"\0\0")):
        text = bytes(range(65, 65 + length))
        assert Content("file", before + text + b"\0").text == ("" if length < 8 else text.decode())
        assert Content("file", b"\0" + text).text == ("" if length < 8 else text.decode())


def test_a_common_word_in_every_name_does_not_slow_the_search() -> None:
    many = Identifiers(Names({f"hospital_x_{number}" for number in range(2000)}, [], set()))
    assert len(many) == 2000
    assert max(map(len, many._by_word.values())) == 1
    assert list(many.find("see hospital_x_77 of hospital_x")) == [(4, "hospital_x_77")]


def test_the_names_of_a_run_are_those_of_all_its_files(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    items = [{"image": f"images/{split}.png", "patient": f"patient of {split}", "label": [1]} for split in ("a", "b")]
    unlabelled = {"image": "../other/c.png", "patient": "patient of c"}
    write_datalist(
        data / "datalist.json", ["Mass"], {"training": items[:1], "test": items[1:], "unlabeled": [unlabelled]}
    )
    write_text(run / "config.yaml", f"dataset_dir: {data}\ndatalist: $@dataset_dir + '/datalist.json'\n")
    write_text(run / "predictions.csv", "image,Mass\nfolder/d.png,0.5\n")
    write_text(data / "report.csv", "source,file,named\nnorth,e.dcm,\nnorth,,f.dcm\n")
    write_text(data / "patient_salt.txt", "the salt\n")
    found = run_names(run)
    assert found.patients == {"patient of a", "patient of b", "patient of c"}
    paths = {image.path.rpartition("/")[2]: image.patient for image in found.images}
    assert paths == {"a.png": "patient of a", "b.png": "patient of b", "c.png": "patient of c"} | dict.fromkeys(
        ("d.png", "e.dcm", "f.dcm"), ""
    )
    assert found.others == {"the salt"}
    (data / "datalist.json").rename(data / "gone.json")
    (run / "predictions.csv").unlink()
    (data / "report.csv").unlink()
    with pytest.raises(
        ValueError, match=r"names no image: neither its datalist .* nor a table of predictions is there"
    ):
        run_names(run)
