"""A mistake of the user, wherever it is found, is one sentence; whatever else goes wrong keeps its traceback."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

import medssl.files
from medssl.errors import MissingFileError, UnusableImageError, UserError, print_plain_error, user_error
from medssl.files import whole_file
from medssl.networks import build_backbone
from medssl.pretext import TASKS, PretextModel, Rotation, build_task
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
    assert text == "\nmedssl: There is no pretext task: name one, such as --tasks rotation.\n"


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


class Buggy:
    """A transform of the package with a bug of the kinds that raise ValueError from our own frames."""

    def __init__(self, bug: str) -> None:
        self.bug = bug

    def __call__(self, item: object) -> object:
        code = compile(self.bug, str(Path(medssl.files.__file__)), "exec")  # as if it stood in the package
        exec(code, {})
        return item


BUGS = {
    "zip": "list(zip([1], [], strict=True))",
    "unpacking": "first, second = [1, 2, 3]",
    "int": "int('x')",
    "file": "open('/no/such/file')",
    "key": "{}['x']",
}


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
@pytest.mark.parametrize("workers", [None, 0, 2])
def test_a_bug_of_our_own_keeps_its_traceback_in_a_worker_too(
    bug: str, workers: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    loader = DataLoader(Dataset([{"image": 1}], Compose([Buggy(bug)])), num_workers=workers or 0)
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- each of its kind
        Buggy(bug)(None) if workers is None else next(iter(loader))
    text = printed(caught.value, capsys)
    assert "Traceback (most recent call last)" in text
    assert "medssl: " not in text
    assert user_error(caught.value) is None


def test_a_bug_in_a_task_is_no_mistake_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    class BuggyTask(Rotation):
        def __init__(self, backbone: Any, image_size: Any) -> None:
            len(3)  # type: ignore[arg-type]

    monkeypatch.setitem(TASKS, "buggy", BuggyTask)
    with pytest.raises(TypeError) as caught:
        build_task("buggy", build_backbone("resnet10_quarter", 2, 1), (32, 32))
    assert user_error(caught.value) is None


def test_an_unusable_image_keeps_reason_and_sentence_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnusableImageError("empty file", "a.png is empty.")))
    assert (error.reason, str(error)) == ("empty file", "a.png is empty.")


def test_python_users_catch_mistakes_by_the_usual_kinds() -> None:
    assert issubclass(UserError, ValueError)
    assert issubclass(MissingFileError, FileNotFoundError)
    assert issubclass(UnusableImageError, UserError)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read and write everything")
def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as caught, whole_file(tmp_path / "x") as temporary:
        temporary.write_text("x")
    assert str(tmp_path) in printed(caught.value, capsys).splitlines()[-1]


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
    assert printed(error, capsys).endswith("rotation. The last checkpoint is that of epoch 3.\n")


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
    code = "import sys, medssl.errors as e; sys.excepthook = e.print_plain_error; raise KeyboardInterrupt"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "\nmedssl: Stopped.\n"
