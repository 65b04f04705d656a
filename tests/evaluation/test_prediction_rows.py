"""The rows of an inference: as they come, for everything, whatever classes and files are called."""

import csv
import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from medssl.errors import UserError
from medssl.evaluation import PredictionRows, read_predictions
from medssl.readers import Refusal

STRANGE = ["reason", "note", "image", "patient", "Mass", "Mass label", "a, b", 'q"uote', "new\nline", "dup", "dup"]


class Evaluator(Engine):
    """An engine that says of every image what the batch has as ``scores``, and is killed by a batch without."""

    def __init__(self, batches: Sequence[dict[str, Any]]) -> None:
        def step(engine: Engine, batch: dict[str, Any]) -> dict[str, Any]:
            if "scores" not in batch:
                os.kill(os.getpid(), signal.SIGKILL)
            return {"pred": torch.tensor(batch["scores"])}

        super().__init__(step)
        self.state.epoch_length = len(batches)
        self.batches = batches

    def run(self) -> None:  # type: ignore[override]
        super().run(self.batches)


def batch(files: Sequence[str], scores: Sequence[Sequence[float]], reasons: Sequence[str] | None = None) -> dict:
    reasons = reasons or [""] * len(files)
    notes = [f"because {reason}" if reason else "" for reason in reasons]
    return {"file": list(files), "scores": scores, "reason": list(reasons), "note": notes}


def filled(rows: PredictionRows, batches: Sequence[dict]) -> str:
    evaluator = Evaluator(batches)
    rows.attach(evaluator)
    return rows.fill(evaluator)  # type: ignore[arg-type]


def lines(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_every_study_and_refusal_has_its_row(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    series = tuple(folder / "ct" / f"{number}.dcm" for number in range(14))
    refusals = [
        Refusal(folder / "ct", series, "uneven slices", "It has a gap."),
        Refusal(folder / "notes.txt", (folder / "notes.txt",), "no image", "It is none."),
    ]
    rows = PredictionRows(tmp_path / "run" / "p.csv", ["Mass", "Edema"], folder, refusals)
    good, bad = str(folder / "a, b.png"), str(folder / "c.png")
    said = filled(rows, [batch([good, bad], [[0.25, 1e-9], [0.5, 0.5]], ["", "mask"]), batch([str(folder)], [[1, 0]])])
    assert lines(rows.path) == [
        ["image", "Mass", "Edema", "reason", "note"],
        ["ct", "", "", "uneven slices", "14 files: It has a gap."],
        ["notes.txt", "", "", "no image", "It is none."],
        ["a, b.png", "0.25", "9.99999972e-10", "", ""],
        ["c.png", "", "", "mask", "because mask"],
        ["images", "1", "0", "", ""],  # the folder itself is the study
    ]
    assert said == f"2 studies predicted, 3 rows with the reason why not: {rows.path}"
    read = read_predictions(rows.path)
    assert (read.images, read.names) == (["a, b.png", "images"], ["Mass", "Edema"])
    np.testing.assert_array_equal(read.scores, np.float32([[0.25, 1e-9], [1, 0]]).astype(float))
    assert np.isnan(read.labels).all()
    # Another inference begins anew.
    assert filled(PredictionRows(rows.path, ["Mass"], folder), [batch([good], [[0.5]])]).startswith(
        "1 study predicted:"
    )
    assert len(lines(rows.path)) == 2


def test_classes_and_files_may_be_called_anything(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((3, len(STRANGE))).astype(np.float32)
    files = ["new\nline.png", 'say "a".png', os.fsdecode(b"h\xfcfte.png")]
    rows = PredictionRows(tmp_path / "p.csv", STRANGE, tmp_path)
    filled(rows, [batch([str(tmp_path / file) for file in files], scores.tolist())])
    assert lines(rows.path)[0] == ["image", *STRANGE, "reason", "note"]
    read = read_predictions(rows.path)
    assert read.names == STRANGE
    assert read.images == [*files[:2], r"h\udcfcfte.png"]
    assert read.patients == read.images
    np.testing.assert_array_equal(read.scores, scores.astype(float))


def test_nothing_usable_is_a_sentence_and_the_rows_say_why(tmp_path: Path) -> None:
    refusals = [Refusal(tmp_path / f"{n}.txt", (tmp_path / f"{n}.txt",), "no image", "It is none.") for n in "ab"]
    rows = PredictionRows(tmp_path / "p.csv", ["Mass"], tmp_path, refusals)
    with pytest.raises(UserError, match=r"can be predicted \(2 × no image\): .*p\.csv says why of each"):
        filled(rows, [])
    assert [line[0] for line in lines(rows.path)] == ["image", "a.txt", "b.txt"]
    with pytest.raises(UserError, match=r"\(2 × no image, 1 × mask\)"):
        filled(rows, [batch([str(tmp_path / "c.png")], [[0.5]], ["mask"])])
    assert read_predictions(rows.path).scores.shape == (0, 1)
    with pytest.raises(UserError, match="it is empty"):
        filled(PredictionRows(tmp_path / "p.csv", ["Mass"], tmp_path), [])


def killed(folder: Path) -> None:
    batches = [batch([str(folder / f"{number}.png")], [[0.5]]) for number in range(3)]
    refusals = [Refusal(folder / "a.txt", (folder / "a.txt",), "no image", "It is none.")]
    filled(PredictionRows(folder / "p.csv", ["Mass"], folder, refusals), [*batches, {}])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are forked")
def test_a_kill_leaves_the_rows_so_far(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=killed, args=(tmp_path,))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    assert [line[0] for line in lines(tmp_path / "p.csv")] == ["image", "a.txt", "0.png", "1.png", "2.png"]
