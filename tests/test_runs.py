"""Run folders are read, not executed, and say how to go on with them."""

from pathlib import Path

import pytest
import yaml

from medssl.files import write_json, write_text
from medssl.runs import Run, kept_file, predictions_file, shown_path


def run_of(folder: Path, /, **config: object) -> Run:
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    return Run.read(folder)


@pytest.mark.parametrize("begun", ["pretrain", "pretrain/backbone.pt"])
def test_the_pretraining_of_a_run_is_found_by_its_folder_or_its_file(begun: str, tmp_path: Path) -> None:
    write_json(tmp_path / "pretrain" / "backbone.json", {"tasks": ["rvrm"]})
    assert run_of(tmp_path, pretrained=str(tmp_path / begun)).pretraining_description() == {"tasks": ["rvrm"]}
    assert run_of(tmp_path, pretrained="").pretraining_description() == {}


def test_a_config_is_read_and_not_run(tmp_path: Path) -> None:
    run = run_of(
        tmp_path,
        root="data",
        folder="$@root + '/nih'",
        datalist="$@folder + '/datalist.json'",
        circle="$@circle",
        code=f"$open({str(tmp_path / 'made')!r}, 'w')",
        rate=0.01,
    )
    assert run.text("datalist") == run.data == "data/nih/datalist.json"
    assert [run.text(name) for name in ("circle", "code", "absent", "rate")] == ["", "", "", "0.01"]
    assert not (tmp_path / "made").exists()


def test_a_path_is_shown_without_the_folders_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / "runs" / "a", tmp_path, "runs/a", "/home/someone/data/b", r"C:\someone\c"]
    assert [shown_path(path) for path in paths] == ["runs/a", tmp_path.name, "runs/a", "b", "c"]


@pytest.mark.parametrize("tasks", ["rotation,mim", ["rotation", "mim"], {"rotation": {}, "mim": {}}])
def test_tasks_are_named_however_they_were_given(tasks: object, tmp_path: Path) -> None:
    run = run_of(tmp_path, tasks=tasks, network_def="$anything")
    assert (run.tasks, run.is_pretraining, run.bundle) == (["rotation", "mim"], True, "pretrain")


@pytest.mark.parametrize(
    ("description", "dims"),
    [
        ({"spatial_dims": 3}, 3),
        ({"network": {"spatial_dims": 3}}, 3),
        ({"image_size": [8, 8, 8]}, 3),
        ({"image_size": [8, 8]}, 2),
        ({}, 2),
    ],
)
def test_the_number_of_axes_is_the_one_described(description: dict, dims: int, tmp_path: Path) -> None:
    write_json(tmp_path / "model.json", description)
    assert run_of(tmp_path, network_def={"spatial_dims": "$@view.spatial_dims"}).spatial_dims == dims


def test_a_run_says_how_to_go_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_of(tmp_path / "runs" / "seg", bundle="segment", data="data/liver")
    start = "python -m monai.bundle run --config_file"
    assert run.resume_command() == f"{start} runs/seg/config.yaml --output_dir runs/seg --resume True"
    evaluate = f"{start} bundles/segment/configs/evaluate.yaml --data data/liver --output_dir runs/seg"
    assert run.evaluate_command() == evaluate


def test_files_have_one_name() -> None:
    assert (predictions_file(), predictions_file("test")) == ("predictions.csv", "predictions_test.csv")
    assert (kept_file(7), Path("backbones/epoch_0007.pt").match(kept_file())) == ("epoch_0007.pt", True)
