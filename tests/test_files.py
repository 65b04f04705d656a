"""A file is written whole or not at all."""

import json
from pathlib import Path

import pytest

from medssl.files import whole_file, write_json, write_text


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
