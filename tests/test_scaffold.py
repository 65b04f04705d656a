"""Bundles and configs where a user works: whole, complete, and never over their own changes unasked."""

from pathlib import Path

import pytest

from medssl.errors import UserError
from medssl.scaffold import lay_down

ROOT = Path(__file__).parents[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_bundle_and_config_is_laid_down_and_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").write_text("epochs: 3\n")
    first = lay_down(tmp_path)
    found = contents(tmp_path)
    assert set(found) == {*map(str, first.written), "configs/mine.yaml"}
    assert {"bundles/pretrain/configs/train.yaml", "bundles/finetune/configs/inference.yaml"} <= set(found)
    assert not {name for name in found if name.endswith(".py") or "cxr_" in name or "__pycache__" in name}
    assert found["bundles/pretrain/configs/train.yaml"] == (ROOT / "bundles/pretrain/configs/train.yaml").read_bytes()

    again = lay_down(tmp_path)
    assert (again.written, again.unchanged) == ([], first.written)
    assert contents(tmp_path) == found


def test_a_changed_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    lay_down(tmp_path)
    changed = tmp_path / "bundles" / "pretrain" / "configs" / "train.yaml"
    missing = tmp_path / "bundles" / "finetune" / "configs" / "train.yaml"
    ours = changed.read_bytes()
    changed.write_text("epochs: 3\n")
    missing.unlink()
    with pytest.raises(UserError, match=r"train\.yaml") as refused:
        lay_down(tmp_path)
    assert "--overwrite" in str(refused.value)
    assert changed.read_text() == "epochs: 3\n"
    assert not missing.exists()

    done = lay_down(tmp_path, overwrite=True)
    assert sorted(done.written) == sorted(path.relative_to(tmp_path) for path in (changed, missing))
    assert changed.read_bytes() == ours
    assert "2 files" in str(done)


def test_many_changed_files_are_counted(tmp_path: Path) -> None:
    for name in lay_down(tmp_path).written:
        (tmp_path / name).write_text("mine\n")
    with pytest.raises(UserError, match="more: there already"):
        lay_down(tmp_path)
