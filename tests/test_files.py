"""A file is written whole or not at all, and what could not be written is said in a sentence."""

import json
import os
from pathlib import Path

import pytest

from medssl.files import remove_half_written, whole_file, write_json, write_text, writing


def write_half(path: Path) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("power cut")


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="power cut"):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stands_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.suffix == path.suffix
        assert temporary.parent == path.parent  # a rename is whole only within one file system
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(path):
        pass
    assert path.read_text() == "old"


def test_text_and_json_make_their_folders_and_keep_every_letter(tmp_path: Path) -> None:
    content = {"Größe": [1, None, 0.5], "名前": "λ"}
    write_json(tmp_path / "a" / "b" / "c.json", content)
    written = (tmp_path / "a" / "b" / "c.json").read_bytes()
    assert json.loads(written.decode("utf-8")) == content
    assert "名前" in written.decode("utf-8")
    write_text(tmp_path / "a" / "lines.txt", "one\ntwo\n")
    assert (tmp_path / "a" / "lines.txt").read_bytes() == b"one\ntwo\n"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["c.json", "lines.txt"]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"epoch": 1})
    with pytest.raises(TypeError):
        write_json(path, {"epoch": object()})
    assert json.loads(path.read_text()) == {"epoch": 1}


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    names = ["whole.pt", ".hidden", ".12-hidden.pt", "12-34.pt"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    with whole_file(tmp_path / "last.pt") as temporary, whole_file(tmp_path / "below" / "image.b2nd") as below:
        for path in (temporary, below):
            path.touch()
            os.link(path, path.with_name(path.name + "2"))  # as a kill here would leave it
    remove_half_written(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(found) == sorted([*names, "last.pt", "below/image.b2nd"])


def test_a_file_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"a\.json could not be written \(Not a directory\)\. Mend that"):  # noqa: SIM117
        with writing(tmp_path / "file" / "a.json") as path:
            path.write_text("text")
    with pytest.raises(KeyError), writing(tmp_path / "b.json"):
        raise KeyError("a bug stays one")
