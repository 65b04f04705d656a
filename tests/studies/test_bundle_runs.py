"""Runs of bundles in this process do as ``python -m monai.bundle`` does."""

import sys
from pathlib import Path

import pytest

from medssl.errors import UserError
from medssl.studies import BundleRun

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
