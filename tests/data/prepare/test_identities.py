"""Nobody in two splits: whose image it is, through `prepare` on real files."""

import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bad_inputs import grey, save_radiograph, save_series, volume

from medssl.data import Source
from medssl.data.prepare import Summary, prepare

HELD = ("validation", "test")


def draw(path: Path, **tags: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".dcm":
        save_radiograph(path, **tags)
    else:
        grey().save(path)


def split_of(summary: Summary) -> dict[str, str]:
    """File → split, of what is used."""
    report = pd.read_csv(summary.report, keep_default_na=False)
    used = report[report["status"] == "used"]
    return dict(zip(used["file"], used["split"], strict=True))


def prepared(folder: Path, *sources: Source, **values: object) -> Summary:
    return prepare(sources, folder / "out", size=(16, 16), **values)  # type: ignore[arg-type]


def table(path: Path, rows: Sequence[tuple[object, ...]], header: str = "image,patient,A") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


LAYOUTS: dict[str, tuple[Callable[[int, int], str], Callable[[int], str]]] = {
    "a folder a patient": (lambda who, time: f"im/P{who:04}/x{who}{time}.png", lambda who: f"p{who}"),
    "MIMIC-CXR": (
        lambda who, time: f"im/files/p10/p1000{who:04}/s5000000{time}/{who}{time}.png",
        lambda who: f"1000{who:04}",
    ),
    "a number before a sign": (lambda who, time: f"im/{who:05}-{time}.png", lambda who: str(who)),
    "nnU-Net": (lambda who, time: f"im/case_{who:03}_{time:04}.png", lambda who: f"case_{who}"),
    "a spreadsheet's decimals": (lambda who, time: f"im/{who}/{time}.png", lambda who: f"{who}.0"),
    "another Unicode form": (
        lambda who, time: f"im/{unicodedata.normalize('NFD', f'Bü{who}')}/{time}.png",
        lambda who: f"BÜ {who}",
    ),
    "elsewhere, by its name": (
        lambda who, time: f"more/P{who:04}.png" if time else f"im/{who}.png",
        lambda who: str(who),
    ),
    "elsewhere, by a folder": (
        lambda who, time: f"{'more' if time else 'im'}/P{who:04}/ab{time}.png",
        lambda who: str(who),
    ),
    "elsewhere, as the table's": (
        lambda who, time: f"{'more' if time else 'im'}/x_{who}_{time}.png",
        lambda who: str(who),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_that_no_table_names_stay_with_their_patient(tmp_path: Path, layout: str) -> None:
    path_of, number_of = LAYOUTS[layout]
    for who in range(12):
        for time in range(2):
            draw(tmp_path / path_of(who, time))
    rows = [(path_of(who, 0).removeprefix("im/"), number_of(who), who % 2) for who in range(12)]
    (tmp_path / "more").mkdir(exist_ok=True)
    named = Source(tmp_path / "im", table(tmp_path / "t.csv", rows), name="north")
    summary = prepared(tmp_path, named, Source(tmp_path / "im"), Source(tmp_path / "more"))
    splits = split_of(summary)
    listed = {who: splits[path_of(who, 0).removeprefix("im/")] for who in range(12)}
    assert set(listed.values()) == {"training", "validation", "test"}
    for who, split in listed.items():
        other = path_of(who, 1).removeprefix("im/").removeprefix("more/")
        assert splits.get(other, "") == ("" if split in HELD else "unlabeled")
    if not layout.startswith("elsewhere"):  # at the same site it is the same patient, by name
        content = json.loads(summary.datalist.read_text())
        patients = {split: {item["patient"] for item in content[split]} for split in content if split != "labels"}
        assert patients["unlabeled"] == patients["training"]


def test_numbers_of_another_site_are_other_patients(tmp_path: Path) -> None:
    for name in ("north/a.png", "south/b.png", "south/4.png"):
        draw(tmp_path / name)
    north = Source(tmp_path / "north", table(tmp_path / "n.csv", [("a.png", 4, 1)]), split="test")
    south = Source(tmp_path / "south", table(tmp_path / "s.csv", [("b.png", 5, 1)]), split="training")
    assert split_of(prepared(tmp_path, north, south, Source(tmp_path / "south", name="all"))) == {
        "a.png": "test",
        "b.png": "training",
        "4.png": "unlabeled",
    }
    assert "4.png" not in split_of(prepared(tmp_path, north, Source(tmp_path / "south", name="all")))
    assert "4.png" in split_of(prepared(tmp_path, north, Source(tmp_path / "south", name="all", site="south")))


def test_two_tables_of_one_folder_mean_the_same_patients(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw(tmp_path / "im" / f"{name}.png")
    one = Source(tmp_path / "im", table(tmp_path / "one.csv", [("a.png", "07", 1)]), split="training")
    two = Source(tmp_path / "im", table(tmp_path / "two.csv", [("b.png", "7", 0)]), split="test")
    with pytest.raises(ValueError, match="2 × patient in two splits"):
        prepared(tmp_path, one, two)
    assert set(split_of(prepared(tmp_path, one, Source(two.images, two.csv, site="south", split="test"))).values()) == {
        "training",
        "test",
    }


def test_a_table_may_spell_a_patient_in_several_ways(tmp_path: Path) -> None:
    spellings = ["4", "0004", "4.0", "P4", "Patient 004", " 4"]
    rows = [(f"{number}.png", spelling, number % 2) for number, spelling in enumerate(spellings)]
    rows += [(f"o{number}.png", f"Bj\u00f6rn{number // 2}", 1) for number in range(0, 20, 2)]
    rows += [
        (f"o{number}.png", unicodedata.normalize("NFD", f"BJ\u00d6RN 0{number // 2}"), 1) for number in range(1, 20, 2)
    ]
    for image, _, _ in rows:
        draw(tmp_path / "im" / image)
    summary = prepared(tmp_path, Source(tmp_path / "im", table(tmp_path / "t.csv", rows)))
    splits = split_of(summary)
    assert len({splits[f"{number}.png"] for number in range(6)}) == 1
    assert all(splits[f"o{number}.png"] == splits[f"o{number + 1}.png"] for number in range(0, 20, 2))
    assert sum(summary.patients.values()) == 11


def test_a_public_data_set_in_two_tables_has_each_patient_once(tmp_path: Path) -> None:
    sources = []
    for time, name in enumerate(("one", "two")):
        images = [f"{who:08}_{time:03}.png" for who in range(1, 31)]
        for image in images:
            draw(tmp_path / name / image)
        rows = [(image, who, who % 2) for who, image in enumerate(images, 1)]
        sources.append(Source(tmp_path / name, table(tmp_path / f"{name}.csv", rows)))
    summary = prepared(tmp_path, *sources)
    splits = split_of(summary)
    assert all(splits[f"{who:08}_000.png"] == splits[f"{who:08}_001.png"] for who in range(1, 31))
    assert sum(summary.patients.values()) == 30
    assert any(note.startswith("30 patients") for note in summary.notes)


def headers(folder: Path, patient_ids: Sequence[str], patients: Sequence[object], suffix: str = "dcm") -> Source:
    for number, patient_id in enumerate(patient_ids):
        draw(folder / "im" / f"{number:02}.{suffix}", PatientID=patient_id)
    rows = [(f"{number:02}.{suffix}", patient, number % 2) for number, patient in enumerate(patients)]
    return Source(folder / "im", table(folder / "t.csv", rows), name="north")


def test_patients_who_share_a_patient_id_are_kept_together(tmp_path: Path) -> None:
    # p0 and p1 have one PatientID, p1 has another one too, which it shares with p2; the others are in order.
    patient_ids = ["X", "X", "Y", "y ", *(f"id {number}" for number in range(4, 40))]
    source = headers(tmp_path, patient_ids, ["p0", "p1", "p1", "p2", *(f"p{number}" for number in range(4, 40))])
    draw(tmp_path / "more" / "z.dcm", PatientID="Y")
    for seed in range(4):
        summary = prepared(tmp_path, source, Source(tmp_path / "more"), seed=seed)
        splits = split_of(summary)
        together = {splits[f"{number:02}.dcm"] for number in range(4)}
        assert len(together) == 1
        assert ("z.dcm" in splits) == (together == {"training"})
        assert sum(summary.patients.values()) - summary.patients["unlabeled"] == 37
        said = [note for note in summary.notes if "PatientID" in note]
        assert [note.split(" ")[1] for note in said] == ["3", "1"]


@pytest.mark.parametrize(
    ("patient_ids", "said"),
    [
        (["ANONYMOUS"] * 24, "24 images of 12 patients"),
        (["0"] * 24, "24 images of 12 patients"),
        ([""] * 24, ""),
        (["4711"] * 14 + [f"id {number // 2}" for number in range(14, 24)], "14 images of 7 patients"),
        (
            ["Anonymized", "Anonymized", "Anonymized", *(f"id {number // 2}" for number in range(3, 24))],
            "3 images of 2",
        ),
        (["A"] * 4 + [f"id {number // 2}" for number in range(4, 24)], ""),  # two who are one
    ],
)
def test_a_patient_id_of_everybody_is_nobodys(tmp_path: Path, patient_ids: list[str], said: str) -> None:
    source = headers(tmp_path, patient_ids, [number // 2 for number in range(24)])
    for number in range(5):
        draw(tmp_path / "more" / f"someone {number}.dcm", PatientID=patient_ids[0])
    summary = prepared(tmp_path, source, Source(tmp_path / "more"), labels=["A"])
    placeholders = [note for note in summary.notes if "placeholder" in note]
    joined = said == "" and patient_ids[0] == "A"
    assert sum(summary.images[split] for split in ("training", *HELD)) == 24
    assert sum(summary.patients[split] for split in ("training", *HELD)) == (11 if joined else 12)
    if said:
        assert said in placeholders[0]
    if not joined:
        assert summary.images["unlabeled"] == summary.patients["unlabeled"] == 5


def test_a_patient_id_of_all_unlisted_images_is_no_patient_but_never_leaks(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / "im" / f"case {number}" / "DICOM").mkdir(parents=True)
        save_series(tmp_path / "im" / f"case {number}" / "DICOM", PatientID="TRIAL")
        volume()(tmp_path / "im" / f"case {number}" / "ct.nii.gz")
    summary = prepare([Source(tmp_path / "im")], tmp_path / "out", spatial_dims=3)
    assert summary.patients["unlabeled"] == 6
    assert any("TRIAL" not in note and "one PatientID" in note for note in summary.notes)
    report = pd.read_csv(summary.report, keep_default_na=False)
    assert report["detail"].str.contains("taken from the folder 'case").all()
    # One of these is known by that PatientID, so it may be who is tested.
    draw(tmp_path / "t" / "a.dcm", PatientID="TRIAL")
    for number in range(4):
        draw(tmp_path / "more" / f"{number}x.dcm", PatientID="TRIAL")
    test = Source(tmp_path / "t", table(tmp_path / "t.csv", [("a.dcm", "P1", 1)]), split="test")
    assert split_of(prepared(tmp_path, test, Source(tmp_path / "more"))) == {"a.dcm": "test"}


def test_a_word_for_nobody_is_said_without_a_table_too(tmp_path: Path) -> None:
    for number in range(2):
        draw(tmp_path / "im" / f"someone {number}.dcm", PatientID="ANONYMOUS")
    summary = prepared(tmp_path, Source(tmp_path / "im"))
    assert summary.patients["unlabeled"] == 2
    assert any("2 images" in note and "placeholder" in note for note in summary.notes)


def test_one_patient_for_most_images_is_said(tmp_path: Path) -> None:
    for number in range(20):
        draw(tmp_path / "im" / f"{number}.png")
    rows = [(f"{number}.png", "hospital 1" if number < 14 else f"p{number}", number % 2) for number in range(20)]
    source = Source(tmp_path / "im", table(tmp_path / "t.csv", rows), name="north")
    notes = prepared(tmp_path, source).notes
    assert any("14 of 20" in note and "hospital 1" not in note for note in notes)
    source = Source(tmp_path / "im", table(tmp_path / "t.csv", [(image, "x", label) for image, _, label in rows]))
    with pytest.raises(ValueError, match=r"All 20 images are of one patient"):
        prepared(tmp_path, source)


def test_studies_are_named_like_patients(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        draw(tmp_path / "im" / f"{name}.png")
    rows = [
        ("a.png", 1, 1, "S7", 95, "F", "PA", "Model X"),
        ("b.png", 2, 0, "s 07", "", "", "", "N/A"),
        ("c.png", 3, 1, "", 40, "m", "AP", ""),
    ]
    source = Source(
        tmp_path / "im",
        table(tmp_path / "t.csv", rows, "image,patient,A,study,age,sex,view,Manufacturer"),
        split="training",
        name="n",
    )
    items = json.loads(prepared(tmp_path, source).datalist.read_text())["training"]
    assert items[0]["study"] == items[1]["study"] != ""
    assert [sorted(set(item) - {"image", "label", "patient", "source"}) for item in items] == [
        ["age", "scanner", "sex", "study", "view"],
        ["study"],
        ["age", "sex", "view"],
    ]
    assert [item.get("age") for item in items] == [90, None, 40]
    assert "S7" not in json.dumps(items)
    assert np.isfinite(items[0]["age"])
