from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medssl.data import Source, merge_sources, name_sources, read_sources, read_tables
from medssl.errors import UserError

NORTH = "file,pid,oedema,Mass\na.png,1,1,\nb.png,2,-1,0\n"
SOUTH = "image,patient,source,Mass,TB\na.png,1,ward,1,0\nb.png,,ward,1,1\n"
YAML = """
sources:
  - images: north/images
    csv: north/labels.csv
    columns: {image: file, patient: pid}
    labels: {Edema: oedema, Mass: Mass}
    uncertain: positive
  - {images: south/images, csv: south/labels.csv, name: south, split: test}
  - {images: south/images, name: more, site: south}
"""


def two_hospitals(folder: Path, yaml: str = YAML) -> Path:
    for name, text in (("north", NORTH), ("south", SOUTH)):
        (folder / name / "images").mkdir(parents=True, exist_ok=True)
        (folder / name / "labels.csv").write_text(text)
    (folder / "sources.yaml").write_text(yaml)
    return folder / "sources.yaml"


def test_sources_are_read_and_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = two_hospitals(tmp_path)
    monkeypatch.chdir(tmp_path)
    sources = read_sources("sources.yaml")
    assert sources == read_sources(path)  # paths are relative to the file, wherever one stands
    north, south, more = sources
    assert [source.name for source in sources] == ["north", "south", "more"]
    assert north.images == tmp_path / "north" / "images"
    assert (north.uncertain, south.uncertain, south.split, more.csv) == ("positive", "unknown", "test", None)
    assert more.patient("1") == south.patient("1") != north.patient("1")
    table = merge_sources(read_tables(sources))
    assert table.labels == ["Edema", "Mass", "TB"]
    assert not table.exclusive
    np.testing.assert_equal(table.values, [[1, np.nan, np.nan], [1, 0, np.nan], [np.nan, 1, 0], [np.nan, 1, 1]])
    rows = table.rows
    assert rows.index.tolist() == [0, 1, 2, 3]
    assert rows["row"].tolist() == [2, 3, 2, 3]
    assert rows["table"].tolist() == ["north", "north", "south", "south"]
    assert rows["source"].tolist() == ["north", "north", "ward", "ward"]
    assert rows["split"].tolist() == ["", "", "test", "test"]
    assert rows["patient"].tolist() == [*(north.patient(number) for number in "12"), south.patient("1"), ""]
    assert rows["reason"].tolist() == ["", "", "", "no patient"]
    assert table.notes == ["north: 1 uncertain entry (-1) of Edema: positive."]
    chosen = merge_sources(read_tables(sources, ["TB", "Edema"]), ["TB", "Edema"])
    np.testing.assert_equal(chosen.values, [[np.nan, 1], [np.nan, 1], [0, np.nan], [1, np.nan]])
    with pytest.raises(ValueError, match=r"'Edma': there are Edema, Mass, TB.* Did you mean 'Edema'"):
        read_tables(sources, ["TB", "Edma"])


def test_classes_of_several_sources_exclude_each_other(tmp_path: Path) -> None:
    for name, text in (("a", "cyst\nliver\n\n"), ("b", "liver\nspleen\nspleen\n")):
        lines = [f"{index},{index},{organ}" for index, organ in enumerate(text.split("\n")[:3])]
        (tmp_path / f"{name}.csv").write_text("\n".join(["image,patient,organ", *lines]))
    sources = name_sources([Source(tmp_path, tmp_path / f"{name}.csv", classes="organ") for name in "ab"])
    table = merge_sources(read_tables(sources))
    assert table.exclusive
    assert table.labels == ["cyst", "liver", "spleen"]
    expected = [[1, 0, 0], [0, 1, 0], [np.nan] * 3, [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    np.testing.assert_equal(table.values, expected)
    for chosen in (merge_sources(read_tables(sources), ["spleen"]), merge_sources(read_tables(sources, ["spleen"]))):
        np.testing.assert_equal(chosen.values[:, 0], [np.nan, np.nan, np.nan, np.nan, 1, 1])
        assert chosen.rows["reason"].tolist() == ["not a label", "not a label", "", "not a label", "", ""]
    (tmp_path / "c.csv").write_text("image,patient,cyst\n1,1,1\n")
    mixed = [*sources, Source(tmp_path, tmp_path / "c.csv", name="c")]
    with pytest.raises(ValueError, match="b has one class for each image, and c has labels"):
        merge_sources(read_tables(mixed))
    with pytest.raises(ValueError, match="no tables"):
        merge_sources({})


def test_labels_that_look_alike_are_named(tmp_path: Path) -> None:
    for name, label in (("a", "Pleural_Thickening"), ("b", "pleural thickening"), ("c", "Pleural_Thickening")):
        (tmp_path / f"{name}.csv").write_text(f"image,patient,{label}\n1,1,1\n")
    sources = [Source(tmp_path, tmp_path / f"{name}.csv", name=name) for name in "abc"]
    table = merge_sources(read_tables(sources))
    assert table.labels == ["Pleural_Thickening", "pleural thickening"]
    assert len(table.notes) == 1
    assert "'Pleural_Thickening' (a) and 'pleural thickening' (b)" in table.notes[0]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["north/train.csv", "south/train.csv"], ["north", "south"]),
        (["north/labels.csv"], ["north"]),
        (["north/tables/labels.csv", "images of north"], ["north", "images of north"]),
        (["CheXpert-v1.0/train.csv", "CheXpert-v1.0/valid.csv"], ["CheXpert-v1.0_train", "CheXpert-v1.0_valid"]),
        (["nih_cxr/Data_Entry_2017.csv.gz", "nih_64/Data_Entry_2017.csv"], ["nih_cxr", "nih_64"]),
        (["north/site.csv", "south/site.csv"], ["north_site", "south_site"]),
        (["north/site.csv", "north/site.csv", "other.csv"], ["site", "site_2", "other"]),
        (["a/north/images", "a/south/images", "x.y"], ["north", "south", "x.y"]),
        (["a.csv", "b.csv", "set.npz", "test.npz"], ["a", "b", "set", "test"]),
    ],
)
def test_names_say_which_hospital(files: list[str], names: list[str]) -> None:
    home = Path("/DATA")

    def source(file: str) -> Source:
        path = home / file
        if path.suffix == ".npz":
            return Source(npz=path)
        return Source(path.parent / "images", path) if ".csv" in file else Source(path)

    assert [each.name for each in name_sources([source(file) for file in files])] == names


def test_the_folder_of_images_names_a_table_that_lies_elsewhere() -> None:
    sources = [Source(Path(f"/data/{name}/png"), Path("/data/tables/labels.csv")) for name in ("north", "south")]
    assert [source.name for source in name_sources(sources)] == ["north", "south"]
    named = [Source(Path("/x"), name="north"), Source(Path("/data/north"))]
    assert [source.name for source in name_sources(named)] == ["north", "north_2"]
    with pytest.raises(UserError, match="2 sources are called 'x'"):
        name_sources([Source(Path("/a"), name="x"), Source(Path("/b"), name="x")])


def test_modalities_and_rules_go_with_the_tables(tmp_path: Path) -> None:
    labels = "No Finding,Cardiomegaly,Edema,Pneumonia,Fracture"
    text = f"Path,{labels}\ntrain/patient00001/study1/view1_frontal.jpg,1.0,,,,\n"
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(text)
    chexpert = Source(tmp_path, tmp_path / "a.csv", name="a", labels={"Oedema": "Edema"})
    absent = Source(tmp_path, tmp_path / "b.csv", name="b", blank="negative")
    tables = read_tables([chexpert, absent])
    assert [table.modality for table in tables.values()] == ["DX", "DX"]
    merged = merge_sources(tables)
    assert merged.modality == "DX"
    blanks = {"No Finding": 0, "Cardiomegaly": 1, "Edema": 1, "Pneumonia": 1, "Fracture": 1}
    assert merged.added == {"a: No Finding": {"Oedema": 1}, "b: blank": blanks}
    other = read_tables([chexpert, replace(absent, modality="CR")])
    assert other["b"].modality == "CR"
    assert merge_sources(other).modality == ""


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{images: north/images, cvs: north/labels.csv}", "source 2: there is no key 'cvs'.* Did you mean 'csv'"),
        ("{images: north/images, columns: {imege: file}}", "source 2: columns maps .* Did you mean 'image'"),
        ("{images: north/images, uncertain: ignore}", "uncertain must be unknown, positive, negative, not 'ignore'"),
        ("{images: north/images, blank: positive}", "blank must be unknown or negative, not 'positive'"),
        ("{images: north/images, modality: x-ray}", "such as CR, DX, CT, MR or US, not 'x-ray'"),
        ("{images: north/images, split: tests}", "Did you mean 'test'"),
        ("{images: north/images, labels: {No: 1}}", "must be text, not False: put it in quotes"),
        ("{images: north/images, labels: Edema}", "labels must map names"),
        ("{images: north/images, name: south}", "2 sources are called 'south'"),
        ("{csv: north/labels.csv}", "no folder holds them: give images"),
        ("{npz: north/labels.csv, images: north/images}", "give no images or csv beside an npz"),
        ("{name: x}", "source 2: A source needs images"),
        ("north/images", "source 2: it is 'north/images'"),
        ("{images: north", "no valid YAML"),
    ],
)
def test_wrong_entries_are_refused(tmp_path: Path, entry: str, message: str) -> None:
    path = two_hospitals(tmp_path, f"sources:\n  - {{images: south/images, name: south}}\n  - {entry}\n")
    with pytest.raises(ValueError, match=message) as caught:
        read_sources(path)
    assert "sources.yaml" in str(caught.value) or "called" in message


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        read_sources(tmp_path / "none.yaml")
    with pytest.raises(FileNotFoundError, match=r"source 1: csv: there is no .*gone\.csv"):
        read_sources(two_hospitals(tmp_path, "sources: [{images: north/images, csv: gone.csv}]"))
    for text in ("", "sources:", "- images: north/images", "sources: []", "sources: [{images: north}]\nextra: 1"):
        with pytest.raises(ValueError, match=r"sources\.yaml"):
            read_sources(two_hospitals(tmp_path, text))
