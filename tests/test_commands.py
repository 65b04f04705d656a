"""The command line: every command explains itself, and a mistake gets one sentence."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from medssl.commands import command_parser, main
from medssl.data import Source
from medssl.data.prepare import prepare
from medssl.networks import build_backbone, save_backbone
from medssl.phantoms import write_phantoms

# Words that each command can do with, and whose parameters its options become.
COMMANDS = {
    "demo": ("", "medssl.studies.demo.run_demo"),
    "bundles": ("--to .", "medssl.scaffold.lay_down"),
    "prepare": ("out --images north --spacing 1 1 2 --full-test", "medssl.data.prepare.prepare"),
    "report": ("run", "medssl.report.write_report"),
    "export": ("run --to bundle --no-zip --require torch=2.9.0", "medssl.release.export_run"),
    "verify": ("bundle", "medssl.release.verify.verify_bundle"),
    "overlap": ("data run --split all", "medssl.evaluation.find_overlap"),
    "aggregate": ("--config study.yaml", "medssl.studies.read_study"),
    "affinity": ("run --data data --output out", "medssl.studies.affinity.run_affinity"),
    "curve": ("--data data --output out --recipe dong2024 --epochs 3", "medssl.studies.curve.run_curve"),
    "embed": ("run images --maps --boxes middle", "medssl.studies.embedding.embed"),
    "phantoms": ("out --format dicom", "medssl.phantoms.write_phantoms"),
    "puzzles": ("out.png", "medssl.studies.gallery.draw_gallery"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    screen = capsys.readouterr().out
    assert f"usage: medssl {command}" in screen
    assert "--help" in screen


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_called_like_what_they_become(command: str) -> None:
    words, target = COMMANDS[command]
    options = vars(command_parser().parse_args([command, *words.split()]))
    run: Callable[..., Any] = options.pop("run_command")
    bound = inspect.signature(run).bind(**options)  # raises TypeError for one that the command does not know
    room, _, name = target.rpartition(".")
    known = inspect.signature(getattr(import_module(room), name)).parameters
    assert set(bound.arguments.get("options", {})) <= set(known)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    named = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ") and line[4] != " "
    ]
    assert sorted(named) == sorted(COMMANDS)


MISTAKES = {
    "aggregate --config nowhere.yaml": "There is no file nowhere.yaml: check its path.",
    "aggregate --similarity a b --output out": "--similarity needs --data.",
    "aggregate --similarity a b --output out --datalist d.json": "There is no weights file a",
    "affinity nowhere --datalist d.json --output out": "nowhere",
    "report nowhere": "nowhere",
    "prepare out --images nowhere": "nowhere",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_gets_one_sentence(
    words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 1
    screen = capsys.readouterr().err
    assert screen.startswith("\nmedssl: ")
    assert MISTAKES[words] in screen
    assert "Traceback" not in screen


def test_a_mistyped_command_ends_with_2() -> None:
    done = subprocess.run([sys.executable, "-m", "medssl", "agregate"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "invalid choice: 'agregate'" in done.stderr


@pytest.mark.slow
def test_what_lies_in_the_working_directory_is_taken_for_nobodys_module(tmp_path: Path) -> None:
    table = write_phantoms(tmp_path / "phantoms", "chest", 40, size=32, progress=False)
    for folder in ("dl", "gmpy2", "pyarrow", "pylibjpeg", "pytz", "tensorflow"):  # libraries use these if they can
        (tmp_path / folder).mkdir()
    for file in ("random.py", "statistics.py", "sitecustomize.py", "numpy.py"):
        (tmp_path / file).write_text("raise SystemExit('a script of the user')\n")
    words = ["prepare", "out", "--images", str(table.parent / "images"), "--csv", str(table), "--size", "32"]
    done = subprocess.run(
        [sys.executable, "-m", "medssl", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "datalist.json").is_file()


def test_backbones_are_compared_under_names_that_tell_them_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # or the names are broken into lines
    table = write_phantoms(tmp_path / "phantoms", "chest", 12, size=32, progress=False)
    prepare([Source(images=tmp_path / "phantoms" / "images", csv=table)], tmp_path / "data", size=(32, 32))
    for name in ("old/rotation[red]/backbone.pt", "new/rotation[red]/backbone.pt", "new/src/backbones/epoch_0001.pt"):
        torch.manual_seed(len(name))
        (tmp_path / name).parent.mkdir(parents=True)
        save_backbone(build_backbone("resnet10_quarter", 2, 1), tmp_path / name, image_size=[32, 32])
    runs = ["old/rotation[red]", "new/rotation[red]", "new/src/backbones/epoch_0001.pt"]
    words = ["aggregate", "--datalist", tmp_path / "data" / "datalist.json", "--output", tmp_path / "out"]
    assert main([*map(str, words), "--similarity", *(str(tmp_path / run) for run in runs)]) == 0
    screen = capsys.readouterr().out.replace("\n", "")
    assert "similarity.csv" in screen
    assert "new/rotation[red]" in screen
    frame = pd.read_csv(tmp_path / "out" / "similarity.csv", index_col=0)
    assert list(frame) == list(frame.index) == ["old/rotation[red]", "new/rotation[red]", "backbones/epoch_0001"]
    assert (tmp_path / "out" / "similarity.png").stat().st_size > 5000
    assert main([*map(str, words), "--similarity", str(tmp_path / "old/rotation[red]")]) == 1
    assert main([*map(str, words), "--similarity", *[str(tmp_path / "old/rotation[red]")] * 2]) == 1
    assert "is named twice" in capsys.readouterr().err
