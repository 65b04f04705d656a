"""The picture of all puzzles, drawn small."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medssl.commands import main
from medssl.studies import gallery


@pytest.mark.slow
def test_the_command_draws_every_task_in_2d_and_3d(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gallery, "CHEST", (64, 64))
    monkeypatch.setattr(gallery, "HEAD", (32, 32, 32))
    shown = []
    show = gallery._show
    monkeypatch.setattr(
        gallery,
        "_show",
        lambda axis, name, task, pictures, dims: shown.append((name, dims)) or show(axis, name, task, pictures, dims),
    )
    assert main(["puzzles", str(tmp_path / "docs" / "puzzles.png")]) == 0
    assert shown == [(name, dims) for name in gallery.DRAWN for dims in (2, 3)]
    assert str(tmp_path / "docs" / "puzzles.png") in capsys.readouterr().out
    first = np.asarray(Image.open(tmp_path / "docs" / "puzzles.png").convert("L"))
    assert first.std() > 20
    assert main(["puzzles", str(tmp_path / "again.png")]) == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "again.png").convert("L")), first)


def test_some_tasks_can_be_drawn_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["puzzles", str(tmp_path / "one.png"), "--tasks", "rotation"]) == 0
    assert np.asarray(Image.open(tmp_path / "one.png").convert("L")).std() > 20
    assert main(["puzzles", str(tmp_path / "none.png"), "--tasks", "rotate"]) == 1
    assert "rotate" in capsys.readouterr().err
