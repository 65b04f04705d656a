"""The list of images that a training leaves: counts, and hashes by which only the same picture is found again."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medssl.commands import main
from medssl.data import Datalist, SeenImages, Source
from medssl.data.prepare import prepare
from medssl.data.seen_images import hashes
from medssl.errors import MissingFileError, UserError
from medssl.evaluation import find_overlap
from medssl.training import record_images


def draw(folder: Path, seeds: range, kind: str = "png") -> Source:
    """Pictures with a table; a seed is a picture, whatever its file is called."""
    folder.mkdir(parents=True)
    for seed in seeds:
        values = np.random.default_rng(seed).integers(0, 255, (24, 24)).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{folder.name}_{seed}.{kind}")
    rows = "".join(f"{folder.name}_{seed}.{kind},{folder.name}{seed},{seed % 2}\n" for seed in seeds)
    (folder / "labels.csv").write_text("image,patient,Mass\n" + rows)
    return Source(images=folder, csv=folder / "labels.csv", name=folder.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was trained on (0 to 19), and a test set of another hospital, of which 17 to 19 are the same pictures."""
    folder = tmp_path_factory.mktemp("seen")
    prepare([draw(folder / "north", range(20))], folder / "data", size=(16, 16), fractions=(1, 0, 0))
    tests = draw(folder / "south", range(17, 27), "tiff")
    prepare([tests], folder / "other", size=(20, 20), fractions=(0, 0, 1))
    record_images(folder / "pre", Datalist.read(folder / "data").items("pretrain"))
    record_images(folder / "fine", Datalist.read(folder / "other").items("test")[:2], folder / "pre" / "backbone.pt")
    return folder


def test_a_list_counts_and_names_nobody(folder: Path) -> None:
    seen = SeenImages.read(folder / "pre" / "images.json")
    assert (seen.images, seen.patients, seen.sources) == (20, 20, {"north": 20})
    assert len(seen.known) == 20
    text = (folder / "pre" / "images.json").read_text()
    items = Datalist.read(folder / "data").items("pretrain")
    assert not [item for item in items if item["patient"] in text or Path(item["file"]).stem in text]
    assert [stage.images for stage in SeenImages.read(folder / "fine" / "images.json").chain] == [2, 20]


def test_the_same_picture_is_found_in_another_file_of_another_size(folder: Path) -> None:
    overlap = find_overlap(folder / "other", folder / "pre")
    assert (overlap.images, overlap.unknown, overlap.unlisted, len(overlap.found)) == (10, 0, 0, 3)
    same = {path.stem for path in folder.glob("south/south_1[789].tiff")}
    report = (folder / "other" / "report.csv").read_text().splitlines()
    patients = {line for line in report if any(name in line for name in same)}
    assert len(patients) >= 3
    table = (folder / "other" / "overlap.csv").read_text().splitlines()
    assert table[0] == "image,patient,source,seen_in"
    assert len(table) == 4
    with_before = find_overlap(folder / "other", folder / "fine" / "images.json", "all", folder / "table.csv")
    assert set(with_before.found["seen_in"]) == {"training", "pre-training"}


def test_exit_codes_and_what_cannot_be_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["overlap", str(folder / "other"), str(folder / "pre"), "--output", str(tmp_path / "table.csv")]
    assert main(words) == 1
    assert "3 of 10" in capsys.readouterr().out
    assert main([*words, "--split", "validation"]) == 1
    assert "no image in validation" in capsys.readouterr().err
    SeenImages(1, 1, {"west": 1}, ["0" * 32]).write(tmp_path / "images.json")
    assert main([*words[:2], str(tmp_path), *words[3:]]) == 0
    with pytest.raises(MissingFileError):
        find_overlap(folder / "other", folder / "data")
    (tmp_path / "images.json").write_text(json.dumps({"images": 1}))
    with pytest.raises(UserError, match="no list"):
        find_overlap(folder / "other", tmp_path)


def test_an_image_without_a_store_has_no_hash(tmp_path: Path) -> None:
    items = [{"file": str(tmp_path / "a" / "b.png"), "patient": "x", "source": ""}]
    assert hashes(items) == [""]
    assert (SeenImages.of_items(items).images, list(SeenImages.of_items(items).hashes)) == (1, [])
