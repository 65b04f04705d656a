"""The MLflow log of a run: MONAI's handler, with a run in MLflow for each run of a bundle."""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monai.handlers import MLFlowHandler

from medssl.errors import UserError
from medssl.files import write_text

from ..config import running_config

RUN_NAME = "mlflow_run.txt"


def mlflow_log(
    output_dir: str | Path, experiment: str = "medssl", tracking_uri: str = "", resume: bool = False
) -> MLFlowHandler:
    """A handler that logs ``engine.state.metrics`` of each epoch, and once the plain numbers and words of the config.

    Paths are not logged. A resumed run goes on in its run in MLflow, whose name is kept as ``mlflow_run.txt``. Call it
    from an expression of a bundle's config.

    Args:
        output_dir: folder of the run, whose name begins the name of the run in MLflow.
        experiment: name of MLflow's experiment.
        tracking_uri: of a server or a database; empty for ``mlflow.db`` beside ``output_dir``, which all runs there
            share.
        resume: whether an interrupted run goes on.

    Raises:
        UserError: when MLflow is not installed.
    """
    if find_spec("mlflow") is None:
        raise UserError("MLflow is missing: `pip install 'medssl[mlflow]'`, or leave configs/tracking/mlflow.yaml out.")
    folder = Path(output_dir).resolve()
    name_file = folder / RUN_NAME
    goes_on = resume and name_file.is_file()
    if not goes_on:
        write_text(name_file, f"{folder.name} {time.strftime('%Y-%m-%d %H:%M:%S')}")
    return MLFlowHandler(
        tracking_uri=tracking_uri or f"sqlite:///{folder.parent / 'mlflow.db'}",
        experiment_name=experiment,
        run_name=name_file.read_text(encoding="utf-8"),
        # MLflow refuses other values for a parameter that it has, such as more epochs in a resumed run.
        experiment_param={} if goes_on else _parameters(running_config()),
        iteration_log=False,
        close_on_complete=True,
    )


def _parameters(config: dict[str, Any]) -> dict[str, str | int | float]:
    plain = {
        name: value
        for name, value in config.items()
        if isinstance(value, (int, float)) or (isinstance(value, str) and value and not set(value) & set("$@%/\\"))
    }
    return {**plain, "tasks": ", ".join(config["tasks"])} if "tasks" in config else plain
