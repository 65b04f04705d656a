"""Runs of bundles in this process do as ``python -m monai.bundle`` does."""

import sys
from pathlib import Path

import pytest
from rich.console import Console

from medssl.errors import UserError
from medssl.studies import BundleRun
from medssl.studies.comparison import say

CLASS = """
from medssl.pretext import Rotation

class Turned(Rotation):
    question = "which way up?"
"""
MIX_IN = """
tasks:
  turned:
    _target_: my_tasks_of_today.Turned
    backbone: '@backbone'
    image_size: [32, 32]
"""


def test_a_users_class_is_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_tasks_of_today.py").write_text(CLASS)
    (tmp_path / "turned.yaml").write_text(MIX_IN)
    path = sys.path[:]
    run = BundleRun("cxr_pretrain", mix_ins=[tmp_path / "turned.yaml", "backbones/resnet10_quarter"])
    run.check("network_def")
    assert sys.path == path
    with pytest.raises(UserError, match="nonsense"):
        run.with_options(nonsense=1).check()
    assert sys.path == path


def test_commands_are_shown_as_they_are_to_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    run = BundleRun("cxr_pretrain", options={"output_dir": "runs/[bold]1[/x]:smile:"})
    say(Console(markup=False, emoji=False, width=500), "Pre-training on [red]", run)
    screen = capsys.readouterr().out
    assert "Pre-training on [red]" in screen
    assert '--output_dir "runs/[bold]1[/x]:smile:"' in screen
