"""Errors of ours, wherever they stand, are one sentence; those of others keep their traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

from medssl.pretext import PretextModel
from medssl.training import print_plain_error
from medssl.transforms import LoadStoredd


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


def test_a_stopped_run_says_how_to_go_on_and_leaves_with_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = foreign(KeyboardInterrupt)
    error.add_note("Add --resume True.")
    for rank, text in (("0", "\nmedssl: Stopped. Add --resume True.\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as caught:
            print_plain_error(type(error), error, error.__traceback__)
        assert caught.value.code == 130
        assert capsys.readouterr().err == text


def test_notes_stand_behind_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    error = wrapped(ours(), 2)
    error.add_note("The last checkpoint is that of epoch 3.")
    assert printed(error, capsys).endswith("rotation.yaml. The last checkpoint is that of epoch 3.\n")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_vanished_is_named_from_a_worker_too(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset([{"image": tmp_path / "gone.b2nd"}], Compose([LoadStoredd(keys="image", size=(8, 8))]))
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- of a kind that torch chooses
        next(iter(DataLoader(dataset, num_workers=workers)))
    text = printed(caught.value, capsys)
    assert text.startswith(f"\nmedssl: There is no prepared image {tmp_path / 'gone.b2nd'}: run ")
    assert len(text.splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_one_sentence_whoever_writes(capsys: pytest.CaptureFixture[str]) -> None:
    for write in (lambda: Path("/dev/full").write_text("x"), lambda: os.write(os.open("/dev/full", os.O_WRONLY), b"x")):
        with pytest.raises(OSError, match="No space") as caught:
            write()
        assert "could not be written (No space left on device)" in printed(caught.value, capsys)


def test_as_the_hook_of_a_process_it_shows_one_sentence_and_its_exit_code() -> None:
    code = "import sys, medssl.training as t; sys.excepthook = t.print_plain_error; raise KeyboardInterrupt"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "\nmedssl: Stopped.\n"
