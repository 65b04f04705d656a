"""The last words of an evaluation."""

import json
from pathlib import Path
from typing import Any

from medssl.evaluation import closing_line


def say(folder: Path, **figures: Any) -> str:
    (folder / "metrics.json").write_text(json.dumps({"splits": {"test": figures}}))
    return closing_line(folder, "test")


def test_the_figure_stands_beside_the_trivial_ones_with_its_interval(tmp_path: Path) -> None:
    (tmp_path / "predictions_test.csv").touch()
    baselines = {"pixels": {"mAUROC": [0.61, 0.5, 0.7]}, "untrained": {"mAUROC": None}}
    said = say(tmp_path, mAUROC=0.7123, mAUROC_interval=[0.66, 0.75], baselines=baselines)
    first, second = said.splitlines()
    assert first == (
        "mAUROC on test: 0.712 [0.660, 0.750] (beside it: logistic regression on few pixels 0.610 [0.500, 0.700], "
        "probe of the untrained backbone undefined)"
    )
    assert second == (f"{tmp_path}: metrics.json, predictions_test.csv. As a page: medssl report {tmp_path}")


def test_what_is_undefined_is_said_to_be(tmp_path: Path) -> None:
    assert say(tmp_path, mAUROC=None, mAUROC_interval=None).startswith("mAUROC on test: undefined\n")
    assert say(tmp_path, mAUROC=0.5, mAUROC_interval=None).startswith("mAUROC on test: 0.500\n")
    missing = {"pixels": {"mAUROC": [0.5, None, None]}}
    assert "few pixels 0.500)" in say(tmp_path, mAUROC=0.5, mAUROC_interval=None, baselines=missing)
