"""The demo, in the smallest form that still runs every part."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from medssl.cli import main
from medssl.studies.demo import RECIPES, folder_name, run_demo
from medssl.studies.pretraining_gain import PRETRAINED, RANDINI, summarise


@pytest.mark.parametrize("kind", ["chest", "head"])
def test_the_demo_compares_both_arms_and_repeats_nothing(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = RECIPES[kind]
    small = replace(
        recipe,
        count=80,
        size=(64, 64) if kind == "chest" else (32, 32, 16),
        labelled_per_class=2,
        shared={**recipe.shared, "batch_size": 16, "epochs": 1},
        pretrain={},
        finetune={},
    )
    run_demo(small, tmp_path, seeds=2)
    screen = capsys.readouterr().out
    (results_file,) = tmp_path.glob("*/results.json")
    results = json.loads(results_file.read_text())
    for arm in (RANDINI, PRETRAINED):
        assert len(results["seeds"][arm]) == 2
    assert results["summary"][0]["name"] == "mAUROC"
    difference = results["summary"][0]["difference"][0]
    values = {arm: [run["mAUROC"] for run in runs] for arm, runs in results["seeds"].items()}
    assert difference == pytest.approx(sum(values[PRETRAINED]) / 2 - sum(values[RANDINI]) / 2)
    assert f"{difference:+.3f}" in screen
    assert "python -m monai.bundle run --config_file " in screen
    for file in (
        "pretrain_seed0/backbone.pt",
        "finetune_pretrained_seed1/model.pt",
        "finetune_randini_seed0/metrics.json",
    ):
        assert (results_file.parent / file).is_file()

    run_demo(small, tmp_path, seeds=2)
    assert "python -m monai.bundle" not in capsys.readouterr().out


def test_each_choice_of_tasks_has_a_folder_of_its_own() -> None:
    assert folder_name({"rotation": {}, "mim": {}}) == "rotation+mim"
    assert folder_name({"rvrm": {"disguise": 1.0}}) == "rvrm_disguise_1.0"
    assert folder_name({"mine.Waves": {}}) == "mine.Waves"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "rotations"], r"There is no pretext task 'rotations'.* rotation"),
        (["--task", "rotation,mmi"], r"There is no pretext task 'mmi'.* mim"),
        (["--task", "{rotation: {"], "neither names nor names with values"),
        (["--seeds", "0"], "at least one seed, got 0"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_written(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "demo"
    assert main(["demo", "--output", str(output), *arguments]) == 1
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert "Traceback" not in said
    assert not output.exists()


def test_the_difference_is_paired_by_seed() -> None:
    def run(value: float, other: float | None) -> dict[str, object]:
        return {"mAUROC": value, "per_class": {"A": value, "B": other}}

    rows = summarise({RANDINI: [run(0.5, 0.1), run(0.7, None)], PRETRAINED: [run(0.6, 0.2), run(0.8, 0.3)]})
    mean, first, second = rows
    assert mean[RANDINI] == pytest.approx([0.6, 0.02**0.5])
    assert mean["difference"] == pytest.approx([0.1, 0.0])
    assert first["name"] == "A"
    assert second[RANDINI] is None
    assert second["difference"] is None
