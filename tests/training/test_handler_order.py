"""Handlers stand in the order that their docstrings ask for, in every bundle: an engine runs them as attached."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

BUNDLES = Path(__file__).parents[2] / "bundles"
CONFIGS = [path for path in sorted(BUNDLES.glob("*/configs/*.yaml")) if not path.parents[1].is_symlink()]
METRICS = ["EpochMeans", "ValidateEpochs", "PretextMetrics", "OnlineProbe"]
"""What makes the metrics of an epoch, in order; it comes before what reads them."""
BEFORE = [
    # No infinite number reaches a validation or a file.
    *(("StopAtNonFinite", later) for later in ("ValidateEpochs", "OnlineProbe", "SaveBackbone")),
    ("AfterStep", "RunCheckpoint"),
    *pairwise(METRICS),
    *((maker, reader) for maker in METRICS for reader in ("MetricsFile", "TensorBoardLog", "ProgressBar")),
]
"""Handlers of the trainer of which the first must come before the second, where there are both."""


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.name == "train.yaml"], ids=lambda path: path.parents[1].name
)
def test_the_handlers_of_the_trainer_stand_in_the_order_that_they_ask_for(path: Path) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    handlers = config["train"]["handlers"]
    assert all(isinstance(handler, dict) for handler in handlers)  # other tools ask each of them for its _target_
    names = [handler["_target_"].rpartition(".")[2] for handler in handlers]
    assert {"StopAtNonFinite", "ReseedEachEpoch"} <= set(names)
    assert not [pair for pair in BEFORE if set(pair) <= set(names) and names.index(pair[0]) > names.index(pair[1])]
    # A checkpoint holds what all others did, and whatever remembers something from one epoch to the next.
    assert names[-1] == "RunCheckpoint"
    remembered = {"network", "optimizer", *({"averaged", "keeper", "watch"} & set(config))}
    assert remembered == set(config["train"]["handlers"][-1]["states"])
    keeps = ["$@keeper.set_trainer(@train::trainer)"] if "keeper" in config else []  # after the checkpoint is restored
    assert config["run"][-1 - len(keeps) :] == [*keeps, "$medssl.training.run_training(@train::trainer)"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_options_are_looked_at_first_and_the_config_is_kept_after_all_checks(path: Path) -> None:
    steps = yaml.safe_load(path.read_text(encoding="utf-8"))["initialize"]
    assert steps[0].startswith("$medssl.training.check_options(")
    assert "quiet=@quiet" in steps[0]  # before anything is said
    kept = next(number for number, step in enumerate(steps) if "begin_run(" in step)
    assert "check" not in str(steps[kept:])
