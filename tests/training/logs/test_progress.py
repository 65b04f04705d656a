"""The progress bar says where a run is, in a log file at a pace that can be read."""

import pytest
from ignite.engine import Engine, Events

from medssl.training import ProgressBar


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
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.strip()]
    assert len(lines) <= 3  # of 200 steps
    assert "epoch 4/4" in lines[-1]
    assert "rotation/accuracy=0.500" in lines[-1]
    assert "100%" in lines[-1]
    assert "share" not in lines[-1]


def test_one_pass_has_no_epochs(capsys: pytest.CaptureFixture) -> None:
    run(1)
    assert "epoch" not in capsys.readouterr().err


def test_an_error_ends_the_line_and_passes(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError, match="a bad image"):
        run(2, fails_in=60)
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert "epoch 2/2" in said
    assert "100%" not in said
