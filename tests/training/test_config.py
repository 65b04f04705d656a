"""Mistyped options are named, and the config is kept."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser

from medssl.errors import print_plain_error, user_error
from medssl.progress import QUIET, is_quiet
from medssl.training import begin_run, check_ids

CONFIG = {
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/runs'",
    "epochs": 3,
    "learning_rate": 0.01,
    "preprocessing": {"_target_": "Compose"},
    "train": {"trainer": {"max_epochs": "@epochs", "lr": "@learning_rate", "transform": "%preprocessing"}},
    "run": ["$@train::trainer.run()"],
}


def test_a_config_whose_options_are_all_used_passes() -> None:
    check_ids(CONFIG)


@pytest.mark.parametrize(
    ("option", "guess"),
    [("epoch", "epochs"), ("leaning_rate", "learning_rate"), ("epochs_", "epochs"), ("learningrate", "learning_rate")],
)
def test_a_mistyped_option_is_named_with_what_may_be_meant(option: str, guess: str) -> None:
    with pytest.raises(ValueError, match=rf"option --{option}\. Did you mean --{guess}\?"):
        check_ids({**CONFIG, option: 5})


def test_an_option_like_none_is_answered_with_all_there_are() -> None:
    with pytest.raises(ValueError, match=r"option --zzz\. There are: .*epochs, learning_rate"):
        check_ids({**CONFIG, "zzz": 5})


def test_parts_that_another_config_no_longer_uses_may_be_left_over() -> None:
    check_ids({**CONFIG, "best_model": {"_target_": "BestModel"}, "network": "$@train::trainer"})


INITIALIZE = ["$medssl.training.check_options('output_dir')", "$medssl.training.begin_run(@output_dir)"]


def run_config(folder: Path, **overrides: object) -> Path:
    config = {**CONFIG, "initialize": INITIALIZE, "imports": ["$import medssl"]}
    config |= {"bundle_root": str(folder), "epochs": 7, "train": {"n": "@epochs", "lr": "@learning_rate"}, "run": []}
    parser = ConfigParser({**config, "preprocessing": "$1", **overrides})
    parser.get_parsed_content("imports")
    for number in range(len(INITIALIZE)):
        parser.get_parsed_content(f"initialize::{number}")
    return folder / "runs" / "config.yaml"


@pytest.fixture(autouse=True)
def hook_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def test_a_run_keeps_its_config_with_the_overrides_of_the_command_line(tmp_path: Path) -> None:
    written = yaml.safe_load(run_config(tmp_path, learning_rate=0.5, _meta_={"version": "1"}).read_text())
    assert (written["learning_rate"], written["epochs"]) == (0.5, 7)
    assert "_meta_" not in written
    assert sys.excepthook is print_plain_error


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("medssl")
    before = logger.level
    yield logger
    logger.setLevel(before)


def test_a_run_that_is_to_be_quiet_logs_warnings_alone(
    tmp_path: Path, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(QUIET, "0")  # which is undone afterwards
    logger.setLevel(logging.INFO)  # as logging.conf has it
    initialize = [INITIALIZE[0].replace(")", ", quiet=@quiet)"), INITIALIZE[1]]
    run_config(tmp_path, quiet=False, initialize=initialize)
    assert not is_quiet()
    assert logger.isEnabledFor(logging.INFO)
    run_config(tmp_path, quiet=True, initialize=initialize)
    assert is_quiet()
    assert not logger.isEnabledFor(logging.INFO)
    assert logger.isEnabledFor(logging.WARNING)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"epoch": 5}, "Did you mean --epochs?"),
        ({"output_dir": 2024}, "output_dir is 2024 and no text"),  # before an expression adds it to a text
        ({"bundle_root": 2024}, "bundle_root is 2024 and no text"),
        ({"epochs": 0}, "--epochs is 0, and must be a whole number from 1"),
    ],
)
def test_a_mistake_ends_the_run_before_anything_is_written(
    overrides: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError) as caught:  # MONAI wraps it in an error of its own
        run_config(tmp_path, **overrides)
    assert said in str(user_error(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_outside_a_config_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="only inside an expression"):
        begin_run(tmp_path)
