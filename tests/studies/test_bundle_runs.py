"""Runs of bundles in this process do as ``python -m monai.bundle`` does."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fire.parser import DefaultParseValue
from rich.console import Console

from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.errors import UserError
from medssl.phantoms import write_phantoms
from medssl.pretext import named_tasks
from medssl.studies import BundleRun
from medssl.studies.bundle_runs import say

CLASS = """
from medssl.pretext import Rotation

class Turned(Rotation):
    question = "which way up?"
"""


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    """Eight radiographs, prepared."""
    write_phantoms(tmp_path / "phantoms", "chest", 8, size=32, progress=False)
    prepare([Source(images=tmp_path / "phantoms" / "images")], tmp_path / "data", size=(32, 32))
    return tmp_path / "data"


def test_a_users_class_is_found_in_the_working_directory(
    chest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_tasks_of_today.py").write_text(CLASS)
    path = sys.path[:]
    tasks = {"my_tasks_of_today.Turned": {}}
    run = BundleRun("pretrain", {"data": chest, "tasks": tasks, "architecture": "resnet10_quarter"})
    run.check("network_def")
    assert sys.path == path
    with pytest.raises(UserError, match="nonsense"):
        run.with_options(nonsense=1).check()
    assert sys.path == path


def test_commands_are_shown_as_they_are_to_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    run = BundleRun("pretrain", {"output_dir": "runs/[bold]1[/x]:smile:"})
    say(Console(markup=False, emoji=False, width=500), "Pre-training on [red]", run)
    screen = capsys.readouterr().out
    assert "Pre-training on [red]" in screen
    assert "--output_dir 'runs/[bold]1[/x]:smile:'" in screen


TASKS: dict[str, Any] = {
    "rotation": {"rotation": {}},
    "rotation,mim": {"rotation": {}, "mim": {}},
    "\"{'rotation': {}, 'rvrm': {'disguise': 1.0}}\"": {"rotation": {}, "rvrm": {"disguise": 1.0}},
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_command_arrives_at_a_bundle_as_it_was_meant(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}")
    values = {"output_dir": tmp_path / "it's $HOME \"!", "image_size": [32, 32, 16], "learning_rate": 1e-05}
    for word, tasks in TASKS.items():
        run = BundleRun("pretrain", {"tasks": tasks, **values})
        command = run.command()
        assert f" --tasks {word} " in command
        shown = subprocess.run(
            [shell, "-c", f"print_words() {{ printf '%s\\n' \"$@\"; }}; print_words {command}"],
            capture_output=True,
            text=True,
            check=True,
        )
        words = shown.stdout.splitlines()
        assert words[:2] == ["python", "-m"]
        found = dict(zip(words[4::2], words[5::2], strict=True))
        assert Path(found["--config_file"]).resolve() == run.config_files[0].resolve()
        assert found["--output_dir"] == str(values["output_dir"])
        assert [DefaultParseValue(found[f"--{name}"]) for name in ("image_size", "learning_rate")] == [
            [32, 32, 16],
            1e-05,
        ]
        assert named_tasks(DefaultParseValue(found["--tasks"])) == tasks


def test_an_evaluation_keeps_what_is_not_about_training() -> None:
    options = {"data": Path("data"), "output_dir": Path("runs/a"), "epochs": 3, "resume": True, "workers": 0}
    run = BundleRun("finetune", options, processes=2).evaluation(split="validation")
    assert run.options == {**{name: options[name] for name in ("data", "output_dir", "workers")}, "split": "validation"}
    assert [path.name for path in run.config_files] == ["evaluate.yaml"]
