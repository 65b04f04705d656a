"""The mix-in for MLflow: what is logged, where, and what is said when MLflow is missing."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from ignite.engine import Engine
from monai.bundle import ConfigParser

MIX_IN = yaml.safe_load((Path(__file__).parents[3] / "configs" / "tracking" / "mlflow.yaml").read_text())


def handlers(output: Path, resume: bool = False, **values: Any) -> list[Any]:
    """Those of a config with the mix-in."""
    config = {"output_dir": str(output), "rank": 0, "resume": resume, "epochs": 2, "learning_rate": 0.01, **values}
    config |= {"datalist": "data/datalist.json", "tasks": {"rotation": 1, "src": 2}}
    config |= {"experiment": MIX_IN["experiment"], "tracking_uri": MIX_IN["tracking_uri"]}
    return ConfigParser({**config, "handlers": MIX_IN["+train::handlers"]}).get_parsed_content("handlers")


def train(output: Path, epochs: int, **values: Any) -> None:
    engine = Engine(lambda engine, batch: None)
    for handler in handlers(output, **values):
        handler.attach(engine)
    engine.state.metrics = {"rotation/loss": 0.5}
    engine.run([0], max_epochs=epochs)


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="MLflow is installed")
def test_without_mlflow_a_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- MONAI wraps it in an error of its own
        handlers(tmp_path)
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, ValueError):
        error = error.__cause__
    assert "medssl[mlflow]" in str(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find_spec("mlflow") is None, reason="needs MLflow")
def test_a_resumed_run_goes_on_in_its_own_run_and_another_begins_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    output = tmp_path / "run"
    interrupted = handlers(output)[0]
    interrupted.start(Engine(lambda engine, batch: None))  # and ends without a word
    train(output, 2, resume=True, learning_rate=0.1)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("medssl")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"rotation/loss": 0.5}
    assert [point.step for point in client.get_metric_history(run.info.run_id, "rotation/loss")] == [1, 2]
    assert run.data.params["learning_rate"] == "0.01"
    assert run.data.params["tasks"] == "rotation, src"
    assert "datalist" not in run.data.params
    assert str(tmp_path) not in json.dumps(run.data.params)
    train(tmp_path / "other", 1)
    assert len(client.search_runs([experiment.experiment_id])) == 2
