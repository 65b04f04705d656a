"""Whatever ends a run, it says so in a sentence, and goes on as if nothing had happened."""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import command, end_of, start, wait_until

from medssl.data import Datalist
from medssl.studies import BundleRun

EPOCHS = 3
Disturb = Callable[[ForkServerProcess, Path], None]


def rotation(datalist: Path, output: Path, **values: Any) -> BundleRun:
    """A pre-training that reads the images from disk in every epoch."""
    options = {"data": datalist, "output_dir": output, "epochs": EPOCHS, "batch_size": 8, "learning_rate": 0.001}
    options |= {"tasks": "rotation", "rate_schedule": "constant"}  # whose rates do not depend on the length
    options |= {"architecture": "resnet10_quarter", "workers": 2, "cache_rate": 0.0, "probe_every": 0, **values}
    return BundleRun("pretrain", options)


@pytest.fixture(scope="module")
def undisturbed(chest: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert end_of([start(command, folder / "log.txt", rotation(chest, folder))], folder / "log.txt") == [0]
    return (folder / "checkpoints" / "last.pt").read_bytes()


def interrupt(process: ForkServerProcess, datalist: Path) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)


def terminate(process: ForkServerProcess, datalist: Path) -> None:
    process.terminate()


def take_an_image_away(process: ForkServerProcess, datalist: Path) -> None:
    image = Path(Datalist.read(datalist).items("training")[0]["image"])
    image.rename(image.with_suffix(".away"))


def fill_the_disk(process: ForkServerProcess, datalist: Path) -> None:
    # As good as a full disk: no file may become larger than the backbone, and a checkpoint is.
    assert process.pid is not None
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2**21, resource.RLIM_INFINITY))


@pytest.fixture
def images_come_back(chest: Path) -> Iterator[None]:
    yield
    for image in (chest.parent / "store").rglob("*.away"):
        image.rename(image.with_suffix(".b2nd"))


DISTURBANCES: dict[str, tuple[Disturb, int, str]] = {
    "Ctrl-C": (interrupt, 130, "medssl: Stopped. The last checkpoint"),
    "SIGTERM": (terminate, 130, "medssl: Stopped. The last checkpoint"),
    "a vanished image": (take_an_image_away, 1, "medssl: There is no prepared image"),
    "a full disk": (fill_the_disk, 1, "last.pt could not be written"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_run_ends_in_a_sentence_and_goes_on(
    name: str, chest: Path, tmp_path: Path, undisturbed: bytes, images_come_back: None
) -> None:
    disturb, code, sentence = DISTURBANCES[name]
    run, log = tmp_path / "run", tmp_path / "log.txt"
    process = start(command, log, rotation(chest, run, epochs=1000))
    wait_until((run / "checkpoints" / "last.pt").exists, process)
    disturb(process, chest)
    assert end_of([process], log) == [code], log.read_text()[-3000:]
    said = log.read_text()
    (line,) = [line for line in said.splitlines() if line.startswith("medssl: ")]
    assert sentence in line
    assert "Traceback" not in said
    for image in (chest.parent / "store").rglob("*.away"):
        image.rename(image.with_suffix(".b2nd"))
    epoch = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["epoch"]
    assert f"The last checkpoint is that of epoch {epoch}: add --resume True" in line
    if epoch <= EPOCHS:  # or there is no time to compare with
        assert end_of([start(command, log, rotation(chest, run, resume=True))], log) == [0], log.read_text()[-3000:]
        assert (run / "checkpoints" / "last.pt").read_bytes() == undisturbed


def test_a_loss_that_is_no_number_ends_the_run_in_a_sentence(chest: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    process = start(command, log, rotation(chest, tmp_path / "run", learning_rate=1e30, workers=0))
    assert end_of([process], log) == [1]
    (line,) = [line for line in log.read_text().splitlines() if line.startswith("medssl: ")]
    assert "in epoch 1, step 2 of 3. Try a smaller --learning_rate" in line
    assert line.endswith("There is no checkpoint yet: it begins with the first epoch again.")
    assert "Traceback" not in log.read_text()
    assert not (tmp_path / "run" / "backbone.pt").exists()


def test_runs_that_are_killed_end_like_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from kill_and_resume import Pretraining, kill_and_resume

    rows = list(kill_and_resume(Pretraining(tmp_path, epochs=2, architecture="resnet10_quarter", writing=0.0), kills=2))
    assert [row["in checkpointing"] for row in rows] == [False, True]
    assert all(all(row["equal"].values()) for row in rows), rows
