"""Handlers stand in the order that their docstrings ask for, in every bundle: an engine runs them as attached."""

from pathlib import Path

import pytest
import yaml

BUNDLES = Path(__file__).parents[2] / "bundles"
TRAININGS = sorted(BUNDLES.glob("*/configs/train.yaml"))

BEFORE = [
    ("ReseedEachEpoch", "RunCheckpoint"),
    # No infinite number reaches a validation or a file.
    *(("StopAtNonFinite", later) for later in ("ValidationHandler", "OnlineProbe", "SaveBackbone", "RunCheckpoint")),
    # What makes the metrics of an epoch comes before what reads them.
    ("ValidationHandler", "FineTuneMetrics"),
    *(
        (maker, reader)
        for maker in ("FineTuneMetrics", "PretextMetrics", "OnlineProbe")
        for reader in ("MetricsFile", "TensorBoardLog", "ProgressBar")
    ),
    ("PretextMetrics", "OnlineProbe"),
    ("SaveBackbone", "RunCheckpoint"),  # which puts other weights in place of the random ones when it resumes
]
"""Handlers of the trainer of which the first must come before the second, where there are both."""
LAST = "RunCheckpoint"
"""A checkpoint holds what all others did."""
VALIDATION = ["best_model", "best_predictions", "best_figures", "early_stop"]
"""What a fine-tuning attaches to the evaluator: the first says whether the others have something to do."""


def test_every_bundle_is_looked_at() -> None:
    assert len(TRAININGS) == len([folder for folder in BUNDLES.iterdir() if (folder / "configs").is_dir()]) >= 2


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.parents[1].name)
def test_the_handlers_of_the_trainer_stand_in_the_order_that_they_ask_for(path: Path) -> None:
    handlers = yaml.safe_load(path.read_text(encoding="utf-8"))["train"]["handlers"]
    names = [handler["_target_"].rpartition(".")[2] for handler in handlers]
    assert len(set(names)) == len(names)
    assert {"StopAtNonFinite", "ReseedEachEpoch", LAST} <= set(names)
    wrong = [pair for pair in BEFORE if set(pair) <= set(names) and names.index(pair[0]) > names.index(pair[1])]
    assert not wrong
    assert names[-1] == LAST


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.parents[1].name)
def test_the_validation_s_handlers_are_attached_in_their_order_before_the_training_runs(path: Path) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    attached = [step.removeprefix("$@").partition(".attach(")[0] for step in config["run"] if ".attach(" in step]
    assert attached == (VALIDATION if "validate" in config else [])
    assert config["run"][-1] == "$medssl.training.run_training(@train::trainer)"
    states = config["train"]["handlers"][-1]["states"]
    # Whatever remembers something from one epoch to the next is part of the checkpoint.
    assert {"network", "optimizer", *({"best_model", "early_stop"} & set(config))} == set(states)


@pytest.mark.parametrize("path", sorted(BUNDLES.glob("*/configs/evaluate.yaml")), ids=lambda path: path.parents[1].name)
def test_an_evaluation_writes_the_predictions_before_the_figures_that_take_thresholds_from_them(path: Path) -> None:
    handlers = yaml.safe_load(path.read_text(encoding="utf-8"))["validate::handlers"]
    names = [handler["_target_"].rpartition(".")[2] for handler in handlers]
    assert names.index("PredictionsFile") < names.index("EvaluationFile")


@pytest.mark.parametrize(
    "path", sorted(BUNDLES.glob("*/configs/*.yaml")), ids=lambda path: f"{path.parents[1].name}-{path.stem}"
)
def test_options_are_looked_at_first_and_the_config_is_kept_after_all_checks(path: Path) -> None:
    steps = yaml.safe_load(path.read_text(encoding="utf-8"))["initialize"]
    assert steps[0].startswith("$medssl.training.check_options(")
    kept = next(number for number, step in enumerate(steps) if "begin_run(" in step)
    assert "'@checks'" not in str(steps[kept:])
    assert path.stem == "inference" or steps[1] == "@checks"
