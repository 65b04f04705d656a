import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_inputs import grey, save_radiograph

from medssl.data.images import ImageIndex, shared_folders
from medssl.data.prepare.examine import examine, fingerprint
from medssl.data.store import check_settings
from medssl.readers import Unit, find_units, is_slice
from medssl.transforms import write_stored

assert write_stored  # imported before a test gives up the right to read what is imported


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names_of(folder: Path, dims: int, skip: Path | None = None) -> tuple[list[str], list[str]]:
    units, others = find_units(folder, dims, skip)
    return [unit.name(folder.resolve()) for unit in units], [str(path.relative_to(folder.resolve())) for path in others]


def test_units_and_other_files_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpeg", "s/1.dcm", "s/2.IMA", "s/note.txt", "v.nii.gz", ".hidden.png", ".git/x.png")
    save_radiograph(tmp_path / "s" / "1.2.840")
    assert names_of(tmp_path, 2) == (["a.jpeg", "b.PNG", "s/1.2.840", "s/1.dcm", "s/2.IMA"], ["v.nii.gz", "s/note.txt"])
    assert names_of(tmp_path, 3) == (["v.nii.gz", "s"], ["a.jpeg", "b.PNG", "s/note.txt"])
    units, _ = find_units(tmp_path, 3)
    assert [path.name for path in units[1].files] == ["1.2.840", "1.dcm", "2.IMA"]
    assert names_of(tmp_path, 2, skip=tmp_path / "s") == (["a.jpeg", "b.PNG"], ["v.nii.gz"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_units(tmp_path / "nowhere", 2)


def test_links_are_followed_once_and_never_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path, "in/b/x.png", "in/z/y.png", "out/o.png", "written/w.png")
    for link, target in (("a", "in/b"), ("b/up", "in"), ("c", "out"), ("d", "."), ("z/once more", "out")):
        (tmp_path / "in" / link).symlink_to(tmp_path / target, target_is_directory=True)
    (tmp_path / "out" / "back").symlink_to(tmp_path / "in" / "z", target_is_directory=True)
    units, _ = names_of(tmp_path / "in", 2, skip=tmp_path / "written")
    assert units == ["b/x.png", "z/y.png", "c/o.png"]  # by its own path what has one


def indexed(folder: Path, *names: str) -> ImageIndex:
    return ImageIndex(folder, [Unit(folder / name, (folder / name,)) for name in names])


def found(index: ImageIndex, folder: Path, *images: str, shared: int = 0) -> list[list[str]]:
    return [[unit.name(folder) for unit in match.units] for match in index.find(images, shared)]


def test_a_row_is_found_by_path_tail_or_name(tmp_path: Path) -> None:
    names = ["a.png", "one/b.png", "one/c.png", "two/c.png", "patient1/study1/view1.jpg", "patient2/study1/view1.jpg"]
    series = Unit(tmp_path / "ct" / "7", (tmp_path / "ct" / "7" / "1.dcm", tmp_path / "ct" / "7" / "2.dcm"))
    index = ImageIndex(tmp_path, [*(Unit(tmp_path / name, (tmp_path / name,)) for name in names), series])
    for images, path in (
        (("a.png", "./a.png", str(tmp_path / "a.png"), f"{tmp_path.name}/a.png", f"x/{tmp_path.name}/a.png"), "a.png"),
        (("b.png", "x/../one/b.png", "far/above/one/b.png", "../one/b.png"), "one/b.png"),
        (("CheXpert/train/patient2/study1/view1.jpg",), "patient2/study1/view1.jpg"),
    ):
        matches = index.find(images)
        assert [[unit.name(tmp_path) for unit in match.units] for match in matches] == [[path]] * len(images)
        assert {match.note for match in matches} == {""}
    assert found(index, tmp_path, "c.png", "study1/view1.jpg") == [names[2:4], names[4:]]
    for image in ("", ".", "/", "gone.png", "three/a.png", "../a.png", "one", "2.dcm", "patient3/study1/view1.jpg"):
        assert found(index, tmp_path, image) == [[]]  # another folder's a.png is another image
    slices = [(match.units, match.slice) for match in index.find(["ct/7", "7", "ct/7/2.dcm", "all/ct/7/1.dcm"])]
    assert slices == [((series,), ""), ((series,), ""), ((series,), "2.dcm"), ((series,), "1.dcm")]


@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("id00", "id00.png"),  # VinDr-CXR, RSNA, MIMIC-CXR
        ("1.2.840.113", "deep/1.2.840.113.dcm"),
        ("case_7", "case_7.nii.gz"),
        ("a/b/i.png", "a/b/i.jpg"),
        ("a/b/i.dicom", "a/b/i.png"),
        ("7.0", "0007.png"),  # a spreadsheet's
        ("a/b/12", "a/b/00012.dcm"),
        ("S0001", "set/s0001/ct.nii.gz"),  # a case that is a folder
        ("a\\b\\i.png", "a/b/i.png"),
        ("b\\i.png", "a/b/i.png"),
        ("D:\\archive\\a\\b\\i.png", "a/b/i.png"),
        ("\\\\server\\archive\\a\\b\\i.png", "a/b/i.png"),
        ("A/B/I.PNG", "a/b/i.png"),
        ("\u00fc.png", "u\u0308.png"),
        ("Bu\u0308ro/Straße.png", "b\u00fcro/STRASSE.PNG"),
        ("R\u00f6ntgen%20bild.png", "röntgen bild.png"),
        ("a b.png", "a%20b.png"),
        ("100%.png", "100%.jpg"),
        ("train\\IMG 1.JPG", "download/set/Train/img 1.png"),
    ],
)
def test_a_row_is_found_however_it_is_spelled(tmp_path: Path, image: str, file: str) -> None:
    index = indexed(tmp_path, file, "other/image.png", "x.png")
    (match,) = index.find([image])
    assert [unit.name(tmp_path) for unit in match.units] == [file]
    assert repr(image) in match.note
    # Where two would do, none is chosen; and an image that a row names outright is not given to another.
    twin = f"twin/{Path(file).name}"
    both = indexed(tmp_path, f"one/{file}", f"two/{file}", "x.png")
    assert found(both, tmp_path, image) in ([[f"one/{file}", f"two/{file}"]], [[]])
    assert found(indexed(tmp_path, file, twin), tmp_path, file, image)[0] == [file]
    assert found(indexed(tmp_path, file), tmp_path, file, image) == [[file], []]


def test_folders_that_all_rows_share_may_be_called_otherwise(tmp_path: Path) -> None:
    rows = ["CheXpert-v1.0-small/train/patient1/study1/v.jpg", "CheXpert-v1.0-small/train/patient2/study1/v.jpg"]
    here = ["archive/chexpert/train/patient1/study1/v.jpg", "archive/chexpert/train/patient2/study1/v.jpg"]
    assert shared_folders(rows) == 2
    assert shared_folders([]) == shared_folders(["a.png"]) == shared_folders(["x/a.png", "b.png"]) == 0
    assert shared_folders(["x\\a.png", "x/b.png"]) == 1
    index = indexed(tmp_path, *here, "archive/chexpert/valid/patient1/study1/v.jpg")
    assert found(index, tmp_path, *rows) == [[], []]
    assert found(index, tmp_path, *rows, shared=2) == [[here[0]], [here[1]]]
    assert found(index, tmp_path, rows[0].replace("patient1", "patient3"), shared=2) == [[]]


def test_the_nearest_file_is_named(tmp_path: Path) -> None:
    names = [f"images/{number:05}_{view}.png" for number in range(3000) for view in ("pa", "ap")]
    index = indexed(tmp_path, *names, "elsewhere/x01234.png")
    for image, near in (
        ("images/01234_pa.jpeg", "images/01234_pa.png"),
        ("02999_lat.png", "images/02999_pa.png"),
        ("three/x01234.png", "elsewhere/x01234.png"),
        ("y01234.png", "elsewhere/x01234.png"),
    ):
        assert index.nearest(image) == near
    assert indexed(tmp_path).nearest("a.png") == ""
    assert indexed(tmp_path, "a.png").nearest("") == "a.png"


@pytest.fixture
def stranger() -> Iterator[Path]:
    """A folder of everybody's, and the rights of nobody in particular."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        was_root = os.getuid() == 0
        if was_root:
            os.setresuid(65534, 65534, 0)
        try:
            yield Path(name)
        finally:
            if was_root:
                os.setresuid(0, 0, 0)


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="needs the rights of Linux")
def test_what_may_not_be_read_is_said(stranger: Path) -> None:
    settings = check_settings(2, [16, 16], [])
    for name in ("a.png", "sub/b.png"):
        (stranger / name).parent.mkdir(exist_ok=True)
        grey().save(stranger / name)
    unit = find_units(stranger, 2)[0][0]
    os.chmod(unit.path, 0)
    assert not is_slice(unit.path)
    before = fingerprint(unit, settings, "salt")
    (outcome,) = examine(unit, settings, stranger / "out", "salt")
    assert outcome.reason == "unreadable"
    assert "Permission denied" in outcome.detail
    os.chmod(unit.path, 0o600)
    assert fingerprint(unit, settings, "salt") != before  # so the next run looks again
    assert examine(unit, settings, stranger / "out", "salt")[0].stored
    os.chmod(stranger / "sub", 0)
    with pytest.raises(ValueError, match=r"sub cannot be read \(Permission denied\)"):
        find_units(stranger, 2)
