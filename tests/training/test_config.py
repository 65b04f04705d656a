"""Mistyped options are named, and errors of ours are plain while others keep their traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser

from medssl.pretext import PretextModel
from medssl.training import begin_run, check_ids, print_plain_error

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


def run_config(folder: Path, **overrides: object) -> Path:
    config = {**CONFIG, "initialize": ["$medssl.training.begin_run(@output_dir)"], "imports": ["$import medssl"]}
    config |= {"bundle_root": str(folder), "epochs": 7, "train": {"n": "@epochs", "lr": "@learning_rate"}, "run": []}
    parser = ConfigParser({**config, "preprocessing": "$1", **overrides})
    parser.get_parsed_content("imports")
    parser.get_parsed_content("initialize")
    return folder / "runs" / "config.yaml"


def test_a_run_keeps_its_config_with_the_overrides_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # begin_run replaces it
    written = yaml.safe_load(run_config(tmp_path, learning_rate=0.5, _meta_={"version": "1"}).read_text())
    assert (written["learning_rate"], written["epochs"]) == (0.5, 7)
    assert "_meta_" not in written
    assert sys.excepthook is print_plain_error


def test_a_mistyped_option_ends_the_run_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- MONAI wraps it in an error of its own
        run_config(tmp_path, epoch=5)
    chain, error = [], caught.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__ or error.__context__
    assert any("Did you mean --epochs?" in message for message in chain)
    assert list(tmp_path.iterdir()) == []


def test_begin_run_outside_a_config_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(RuntimeError, match="only inside an expression"):
        begin_run(tmp_path)


def ours() -> BaseException:
    try:
        PretextModel(None, {})  # type: ignore[arg-type]
    except ValueError as error:
        return error
    raise AssertionError


def printed(error: BaseException, capsys: pytest.CaptureFixture[str]) -> str:
    print_plain_error(type(error), error, error.__traceback__)
    return capsys.readouterr().err


def wrapped(error: BaseException, times: int, context: bool = False) -> BaseException:
    for number in range(times):
        try:
            try:
                raise error
            except BaseException as inner:
                if context:
                    raise RuntimeError(f"MONAI could not parse, level {number}")  # noqa: B904 -- as some of MONAI's do
                raise RuntimeError(f"MONAI could not parse, level {number}") from inner
        except RuntimeError as outer:
            error = outer
    return error


@pytest.mark.parametrize("times", [0, 1, 3])
@pytest.mark.parametrize("context", [False, True])
def test_an_error_of_ours_is_one_plain_sentence_however_deep_it_stands(
    times: int, context: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(wrapped(ours(), times, context), capsys)
    assert text == "\nmedssl: There is no pretext task: add a mix-in such as configs/pretext/rotation.yaml.\n"


def foreign(kind: type[BaseException]) -> BaseException:
    try:
        raise kind("of another library")
    except kind as error:
        return error


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError, FileNotFoundError])
@pytest.mark.parametrize("times", [0, 2])
def test_an_error_of_others_keeps_its_traceback(
    kind: type[BaseException], times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(wrapped(foreign(kind), times), capsys)
    assert "Traceback (most recent call last)" in text
    assert "of another library" in text
    assert "medssl: " not in text


def test_a_mistake_of_our_own_code_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        PretextModel(None, 3)  # type: ignore[arg-type]
    except TypeError as error:
        text = printed(error, capsys)
    assert "Traceback" in text
    assert "TypeError" in text


def test_a_stopped_run_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--resume True" in printed(foreign(KeyboardInterrupt), capsys)


def test_as_the_hook_of_a_process_it_shows_one_sentence_and_fails() -> None:
    code = (
        "import sys, medssl.training as t, medssl.networks as n; sys.excepthook = t.print_plain_error; "
        "n.build_backbone('resnet', 2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "medssl: There is no backbone 'resnet'; choose one of" in done.stderr
