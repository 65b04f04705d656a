"""The demo, in the smallest form that still runs every part."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from medssl.commands import main
from medssl.studies.demo import RECIPES, folder_name, run_demo
from medssl.studies.hospital_table import WORDS
from medssl.studies.pretraining_gain import PRETRAINED, RANDINI


@pytest.mark.parametrize(
    ("kind", "seeds"), [("chest", 1), *(pytest.param(kind, 2, marks=pytest.mark.slow) for kind in RECIPES)]
)
def test_the_demo_compares_both_arms_and_repeats_nothing(
    kind: str, seeds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = RECIPES[kind]
    counts = {"labelled": 80, "unlabelled": 20, "unseen": 24}
    small = replace(
        recipe,
        hospitals=[replace(hospital, count=counts[hospital.role]) for hospital in recipe.hospitals],
        labelled_per_class=2,
        shared={**recipe.shared, "batch_size": 16, "steps": 3},
        pretrain={},
        finetune={},
    )
    run_demo(small, tmp_path, seeds=seeds)
    screen = capsys.readouterr().out
    (results_file,) = tmp_path.glob("*/results.json")
    results = json.loads(results_file.read_text())
    rows = {(row["row"], row["place"]): row for row in results["rows"]}
    places = ["within north", "at south, never seen"] if kind == "chest" else ["within north"]
    assert list(rows) == [(words, place) for place in places for words in WORDS.values()]
    folder = results_file.parent
    for arm, words in ((RANDINI, "RandIni, fine-tuned"), (PRETRAINED, "pre-trained, fine-tuned")):
        for number in range(seeds):
            run = f"finetune_{arm.lower().replace('-', '')}_seed{number}"
            said = json.loads((folder / run / "metrics.json").read_text())["splits"]["test"]
            by_source = said.get("sources", {"north": said})
            for place, source in zip(places, ("north", "south"), strict=False):
                assert rows[words, place]["mAUROC"][number] == pytest.approx(by_source[source]["mAUROC"])
                assert rows[words, place]["unseen"] == (source == "south")
    cell = rows["pre-trained, fine-tuned", places[-1]]
    shown = f"{sum(cell['mAUROC']) / seeds:.3f}" + (" ± " if seeds > 1 else "")
    assert shown in screen
    assert shown in (folder / "report" / "report.md").read_text()
    assert "python -m monai.bundle run --config_file " in screen
    assert (folder / "pretrain_seed0" / "backbone.pt").is_file()
    assert (folder / f"finetune_pretrained_seed{seeds - 1}" / "model.pt").is_file()
    content = json.loads((tmp_path / "data" / "datalist.json").read_text())
    assert all(
        item["source"] != "south" for split in ("training", "validation", "unlabeled") for item in content[split]
    )
    assert {item["source"] for item in content["unlabeled"]} >= ({"west"} if kind == "chest" else set())

    run_demo(small, tmp_path, seeds=seeds)
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
