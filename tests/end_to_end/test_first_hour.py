"""The first tutorial, typed as it stands but for smaller numbers, from the first command to the verified bundle."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fire.parser import DefaultParseValue
from pages import blocks, commands

from medssl.commands import main
from medssl.studies import BundleRun

PAGE = "docs/tutorials/first-hour.md"
SMALL = {"--count": "40", "--size": "48", "--labelled-per-class": "6"}
FEWER: dict[str, dict[str, Any]] = {
    "pretrain/train": {"steps": 2, "batch_size": 8},
    "finetune/train": {"steps": 2, "batch_size": 8},
    "finetune/evaluate": {"resamples": 20},
    "finetune/inference": {},
}


def type_in(words: list[str]) -> None:
    """Run a command here, as its program would."""
    if words[0] == "medssl":
        small = [SMALL.get(before, word) for before, word in zip(["", *words], words, strict=False)]
        assert main(small[1:]) == 0
    elif "monai.bundle" in words:
        words = words[words.index("run") + 1 :]
        options = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
        _, bundle, _, file = options.pop("config_file").split("/")
        config = file.removesuffix(".yaml")
        typed = {name: DefaultParseValue(value) for name, value in options.items()}
        BundleRun(bundle, {**typed, "workers": 0, **FEWER[f"{bundle}/{config}"]}, config).run()


def test_the_first_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for language, text in blocks(PAGE):
        assert language == ""
        for words in commands(text):
            type_in(words)
    assert len(pd.read_csv("runs/finetune/predictions.csv")) == 40
    assert Path("runs/finetune/report/report.html").is_file()
    card = Path("bundles_out/findings/docs/data_card.md").read_text(encoding="utf-8")
    assert "## Training" in card
    assert "## Pre-training" in card
    assert main(["overlap", "data", "bundles_out/findings"]) == 0  # no patient of test was learned from
    assert main(["overlap", "data", "runs/pretrain", "--split", "training"]) == 1
