"""The progress of a run says where it is and what came of it; how it is said is the matter of `medssl.progress`."""

import pytest
from ignite.engine import Engine, Events

from medssl.training import ProgressBar
from medssl.training.logs import progress_bar


def run(epochs: int, fails_in: int = 0) -> None:
    def step(engine: Engine, batch: int) -> dict[str, float]:
        if engine.state.iteration == fails_in:
            raise ValueError("a bad image")
        return {}

    engine = Engine(step)

    @engine.on(Events.EPOCH_COMPLETED)
    def measure(engine: Engine) -> None:
        engine.state.metrics.update({"rotation/accuracy": engine.state.epoch / 8, "rotation/share": 0.25})

    ProgressBar("pre-training", ["*/accuracy"]).attach(engine)
    engine.run([0] * 50, max_epochs=epochs)


def test_a_log_file_gets_few_lines_the_last_with_the_final_metrics(capsys: pytest.CaptureFixture) -> None:
    run(4)
    (line,) = capsys.readouterr().err.splitlines()  # of 200 quick steps
    assert "200 steps" in line
    assert "epoch 4/4" in line
    assert "rotation/accuracy=0.500" in line
    assert "share" not in line


def test_a_training_of_so_many_steps_knows_its_end_and_a_resumed_one_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = []
    monkeypatch.setattr(progress_bar.Progress, "close", lambda self, *_: begun.append((self.total, self._begun_with)))
    engine = Engine(lambda engine, batch: {})
    engine.accumulation_steps = 4
    ProgressBar("pre-training", steps=25).attach(engine)  # 13 in an epoch of 50: one epoch and 12 steps of 4
    engine.load_state_dict({"epoch": 1, "max_epochs": 2, "epoch_length": 50})
    engine.run([0] * 50)
    assert begun == [(50 + 12 * 4, 50)]


def test_one_pass_has_no_epochs(capsys: pytest.CaptureFixture) -> None:
    run(1)
    assert "epoch" not in capsys.readouterr().err


def test_an_error_ends_the_line_and_passes(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError, match="a bad image"):
        run(2, fails_in=60)
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert "epoch 2/2" in said
    assert "59 of 100" in said
