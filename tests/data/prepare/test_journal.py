import json
from pathlib import Path

from medssl.data.prepare.journal import Journal

ENTRIES = [("a/ü.png", "1", [{"files": ["ü.png"], "stored": "store/1"}]), ("b", "2", [{"x": 1}, {"x": 2}])]


def written(path: Path) -> Path:
    with Journal(path) as journal:
        for name, fingerprint, outcomes in ENTRIES:
            journal.add(name, fingerprint, outcomes)
    return path


def test_what_was_added_is_found_until_it_changes(tmp_path: Path) -> None:
    journal = Journal(written(tmp_path / "store" / "journal.jsonl"))
    for name, fingerprint, outcomes in ENTRIES:
        assert journal.find(name, fingerprint) == outcomes
        assert journal.find(name, "other") is None
    assert journal.find("c", "1") is None


def test_cut_at_any_byte_it_keeps_the_whole_lines_and_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path / "journal.jsonl")
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            journal.add("new", "3", [{"x": 3}])
        journal = Journal(path)
        assert journal.find("new", "3") == [{"x": 3}]
        for name, fingerprint, outcomes in ENTRIES:
            line = json.dumps({"input": name, "fingerprint": fingerprint, "outcomes": outcomes}).encode()
            assert journal.find(name, fingerprint) == (outcomes if line in whole[:length] else None)


def test_compact_forgets_what_is_gone_and_knows_no_order(tmp_path: Path) -> None:
    path = written(tmp_path / "journal.jsonl")
    with Journal(path) as journal:
        journal.add("old", "4", [])
        journal.compact(["b", "a/ü.png"])
    compacted = path.read_bytes()
    assert Journal(path).find("old", "4") is None
    (tmp_path / "again").mkdir()
    with Journal(tmp_path / "again" / "journal.jsonl") as journal:
        for name, fingerprint, outcomes in reversed(ENTRIES):
            journal.add(name, fingerprint, outcomes)
        journal.compact(["a/ü.png", "b"])
    assert journal.path.read_bytes() == compacted
