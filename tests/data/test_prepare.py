import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import rich
from PIL import Image

from medssl.data import read_datalist, read_labels
from medssl.data.prepare import prepare

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no folder of real images at {SHARED}")


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 8), dtype=np.uint8)).save(path)


def site(folder: Path, csv: str) -> Path:
    (folder / "site.csv").write_text(csv)
    return folder / "site.csv"


def report_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "report.csv", keep_default_na=False, dtype=str)


def test_every_file_and_row_is_accounted_for(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "g.png", "one/same.png", "two/same.png"):
        draw(images / name)
    for name in ("unlisted.png", "sub/deep.png"):
        draw(images / name)
    (images / "broken.png").write_bytes((images / "a.png").read_bytes()[:60])
    (images / "README.txt").write_text("about")
    rows = [
        ("a.png", "1", "1", "0", "used"),
        ("deep.png", "1", "", "1", "used"),  # found by its name alone
        ("b.png", "2", "0", "", "used"),
        ("c.png", "3", "0", "0", "used"),
        ("d.png", "4", "", "", "used"),  # nothing known: unlabelled
        ("e.png", "", "1", "0", "no patient"),
        ("f.png", "5", "maybe", "0", "not a label"),
        ("broken.png", "6", "1", "1", "unreadable"),
        ("gone.png", "7", "1", "1", "no such image"),
        ("same.png", "8", "1", "1", "several such images"),
        ("one/same.png", "8", "1", "1", "used"),
        ("a.png", "1", "1", "", "repeated row"),
        ("g.png", "9", "1", "", "contradiction"),
        ("g.png", "9", "0", "", "contradiction"),
        ("", "9", "0", "", "no image"),
    ]
    table = pd.DataFrame(rows, columns=["Image", "patient", "Edema", "Mass", "expected"])
    csv = site(tmp_path, table.drop(columns="expected").to_csv(index=False, sep=";"))
    summary = prepare(images, csv, tmp_path / "out", fractions=(0.5, 0.25, 0.25))
    report = report_of(tmp_path / "out")
    of_rows = report[report["row"] != ""]
    outcome = of_rows["reason"].where(of_rows["status"] == "set aside", "used")
    assert outcome.tolist() == table["expected"].tolist()
    assert of_rows["row"].astype(int).tolist() == list(range(2, 17))
    assert (report.loc[report["status"] == "set aside", "detail"] != "").all()
    for path in images.rglob("*.*"):
        assert str(path) in set(report["file"]) or path.is_dir()
    others = report[report["row"] == ""].set_index("file")["reason"]
    assert others[str(images / "unlisted.png")] == "not in the CSV"
    assert others[str(images / "two" / "same.png")] == "several such images"
    assert others[str(images / "README.txt")] == "no image"
    assert sum(summary.images.values()) == 6
    assert sum(summary.images.values()) + sum(summary.set_aside.values()) == len(report)
    assert read_labels(summary.datalist) == ["Edema", "Mass"]
    assert [Path(item["image"]).name for item in read_datalist(summary.datalist, "unlabeled")] == ["d.png"]
    known = {
        Path(item["image"]).name: item["label"].tolist()
        for split in ("training", "validation", "test")
        for item in read_datalist(summary.datalist, split)
    }
    np.testing.assert_equal(known["a.png"], [1, 0])
    np.testing.assert_equal(known["deep.png"], [np.nan, 1])


CSV = "image,patient,split,source,Edema,age\n{}"


def test_given_splits_are_kept_and_no_patient_leaks_into_pretraining(tmp_path: Path) -> None:
    names = ["t", "v", "e", "e2", "u", "x"]
    for name in names:
        draw(tmp_path / "images" / f"{name}.png")
    for name in ("new", "e"):  # the second is named as the patient in test is
        draw(tmp_path / "more" / f"{name}.png")
    rows = [
        "t,p,train,A,1,50",
        "v,q,val,A,0,50",
        "e,e,test,,1,50",
        "e2,e,,,1,50",
        "u,p,unlabeled,,1,50",
        "x,e,test,,,50",
    ]
    csv = site(tmp_path, CSV.format("\n".join(row.replace(",", ".png,", 1) for row in rows)))
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"column 'age' holds values such as '50'"):
        prepare(tmp_path / "images", csv, out)
    summary = prepare(tmp_path / "images", csv, out, labels=["Edema"], unlabeled=[tmp_path / "more"])
    splits = {
        split: [Path(i["image"]).stem for i in read_datalist(summary.datalist, split)] for split in summary.images
    }
    assert splits == {"training": ["t"], "validation": ["v"], "test": ["e"], "unlabeled": ["u", "new"]}
    assert summary.set_aside == {"no split": 1, "no label": 1, "patient in test": 1}
    assert [item["source"] for item in read_datalist(summary.datalist, "pretrain")] == ["A", "site", "more"]
    two = site(tmp_path, CSV.format("t.png,p,train,A,1,1\nv.png,p,test,A,1,1\n"))
    with pytest.raises(ValueError, match=r"row 2 \(training\) is in another split in row 3 \(test\)"):
        prepare(tmp_path / "images", two, out, labels=["Edema"])


def test_patients_are_hashed_with_a_salt_that_stays_outside(tmp_path: Path) -> None:
    for index in range(6):
        draw(tmp_path / "images" / f"{index}.png")
    csv = site(tmp_path, "image,patient,A\n" + "".join(f"{i}.png,SMITH{i // 2},{i % 2}\n" for i in range(6)))
    first = prepare(tmp_path / "images", csv, tmp_path / "out").datalist.read_bytes()
    assert prepare(tmp_path / "images", csv, tmp_path / "out").datalist.read_bytes() == first
    for path in (tmp_path / "out").iterdir():
        assert b"SMITH" not in path.read_bytes()
    salt = (tmp_path / "out" / "patient_salt.txt").read_text().strip()
    assert salt.encode() not in first
    assert prepare(tmp_path / "images", csv, tmp_path / "other").datalist.read_bytes() != first
    same = json.loads(prepare(tmp_path / "images", csv, tmp_path / "third", salt=salt).datalist.read_text())
    assert same == json.loads(first)
    assert not (tmp_path / "third" / "patient_salt.txt").exists()


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("file,patient,A\na.png,1,1\n", "no column 'image'"),
        ("image,A\na.png,1\n", "no column 'patient'"),
        ("image,patient,A\n", "no rows"),
        ("", "cannot be read as a CSV"),
        ('image,patient,A\na.png,1,1,1,1\na.png,"', "cannot be read as a CSV"),
        ("image,patient,A\nb.png,1,1\n", "No image can be used"),
        ("image,patient,A\na.png,1,1\n", r"1 patient\(s\) cannot fill 3 splits"),
    ],
)
def test_hopeless_tables_are_refused(tmp_path: Path, csv: str, message: str) -> None:
    draw(tmp_path / "images" / "a.png")
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "images", site(tmp_path, csv), tmp_path / "out")
    assert not (tmp_path / "out" / "datalist.json").exists()


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.png")
    csv = site(tmp_path, "image,patient,A\na.png,1,1\n")
    with pytest.raises(ValueError, match="'B'"):
        prepare(tmp_path / "images", csv, tmp_path / "out", labels=["B"])
    with pytest.raises(ValueError, match="spatial_dims"):
        prepare(tmp_path / "images", None, tmp_path / "out", spatial_dims=4)
    with pytest.raises(ValueError, match="give images"):
        prepare(None, csv, tmp_path / "out")
    with pytest.raises(ValueError, match="No image can be used"):
        prepare(tmp_path / "images", None, tmp_path / "out", spatial_dims=3)
    for images, table in ((tmp_path / "none", csv), (tmp_path / "images", tmp_path / "none.csv")):
        with pytest.raises(FileNotFoundError, match="none"):
            prepare(images, table, tmp_path / "out")


def test_importing_the_room_needs_neither_torch_nor_monai() -> None:
    code = "import sys, medssl.data.prepare; print({'torch', 'monai'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@needs_shared
def test_chestxray14_from_its_official_table(tmp_path: Path) -> None:
    images, csv = SHARED / "nih_cxr" / "images", SHARED / "nih_cxr" / "Data_Entry_2017.csv"
    labels = ["Pneumonia", "Infiltration", "Atelectasis"]
    full = prepare(images, csv, tmp_path / "full", labels=labels)
    assert sum(full.images.values()) == 688
    assert full.set_aside == {}
    assert sum(counts[:, 0] for counts in full.counts.values()).tolist() == [349, 135, 78]  # type: ignore[union-attr]
    table = pd.read_csv(csv).set_index("Image Index")
    for split in ("training", "validation", "test"):
        for item in read_datalist(full.datalist, split):
            findings = table.loc[Path(item["image"]).name, "Finding Labels"].split("|")
            assert item["label"].tolist() == [name in findings for name in labels]
    partial = prepare(images, csv, tmp_path / "part", labels=labels, labelled_per_class=40, check=False)
    assert partial.counts["training"][:, :2].tolist() == [[20, 20]] * 3
    assert partial.images["training"] == 120
    assert any(note.startswith("test: Too few images") for note in partial.notes)
    assert sum(partial.images.values()) + partial.set_aside["patient in test"] == 688
    rich.print(partial)


@needs_shared
def test_volumes_of_several_kinds_without_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loose").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), np.nan), np.eye(4)), tmp_path / "loose" / "nan.nii.gz")
    (tmp_path / "loose" / "up").symlink_to(tmp_path, target_is_directory=True)  # a circle
    folders = [SHARED / "ct", SHARED / "ct_dicom", tmp_path / "loose"]
    summary = prepare(None, None, tmp_path / "out", unlabeled=folders, spatial_dims=3)
    names = {Path(item["image"]).name for item in read_datalist(summary.datalist, "pretrain")}
    assert {"CT_AVM.nii.gz", "trunk_20slices", "compressed_rle"} < names
    report = report_of(tmp_path / "out").set_index("file")
    assert "gantry tilt" in report.loc[str((SHARED / "ct_dicom" / "head_tilted").resolve()), "detail"]
    assert "NaN" in report.loc[str(tmp_path / "loose" / "nan.nii.gz"), "detail"]
    assert summary.set_aside == {"unreadable": 2}
    rich.print(summary)
    assert "unreadable" in capsys.readouterr().out
