import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_inputs import grey, save_radiograph

from medssl.data.images import ImageIndex, hash_patient, patient_of
from medssl.readers import Unit, find_units, is_slice


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


def test_a_row_is_found_by_path_tail_or_name(tmp_path: Path) -> None:
    names = ["a.png", "one/b.png", "one/c.png", "two/c.png", "patient1/study1/view1.jpg", "patient2/study1/view1.jpg"]
    units = [Unit(tmp_path / name, (tmp_path / name,)) for name in names]
    series = Unit(tmp_path / "ct" / "7", (tmp_path / "ct" / "7" / "1.dcm", tmp_path / "ct" / "7" / "2.dcm"))
    index = ImageIndex(tmp_path, [*units, series])

    def found(image: str) -> list[str]:
        return [unit.name(tmp_path) for unit in index.find(image)[0]]

    assert found("a.png") == found("./a.png") == found(str(tmp_path / "a.png")) == ["a.png"]
    assert found("b.png") == found("x/../one/b.png") == found("far/above/one/b.png") == ["one/b.png"]
    assert found("c.png") == ["one/c.png", "two/c.png"]
    assert found("CheXpert/train/patient2/study1/view1.jpg") == ["patient2/study1/view1.jpg"]
    for image in ("", ".", "/", "gone.png", "three/a.png", "../a.png", "one"):
        assert found(image) == []  # another folder's a.png is another image
    assert index.find("ct/7") == index.find("7") == ([series], "")
    assert index.find("ct/7/2.dcm") == ([series], "2.dcm")


def test_patients_are_named_by_file_and_hashed_with_the_salt() -> None:
    assert patient_of(Path("x/CT 7.nii.gz")) == patient_of(Path("CT 7")) == patient_of(Path("CT 7.DCM")) == "CT 7"
    assert patient_of(Path("1.2.840")) == "1.2.840"
    first = hash_patient("salt", "4711")
    assert len(first) == 16
    assert first == hash_patient("salt", "4711")
    assert len({first, hash_patient("salt", "4712"), hash_patient("pepper", "4711")}) == 3
    assert hash_patient("salt", os.fsdecode(b"\xfc"))


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
    from medssl.data.prepare.examine import examine, fingerprint
    from medssl.data.store import check_settings

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
