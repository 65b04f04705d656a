"""What an evaluation says last: its figure beside the trivial ones, and where everything lies."""

import json
from collections.abc import Sequence
from pathlib import Path

from medssl import runs

BASELINES = {"pixels": "logistic regression on few pixels", "untrained": "probe of the untrained backbone"}


def closing_line(run: str | Path, split: str) -> str:
    """The mAUROC of a split with its interval, beside both baselines, and the files of the run.

    Args:
        run: folder of a fine-tuning run that was evaluated on ``split``.
        split: its name.
    """
    run = Path(run)
    figures = json.loads((run / runs.METRICS).read_text(encoding="utf-8"))["splits"][split]
    mean = _triple([figures["mAUROC"], *(figures["mAUROC_interval"] or (None, None))])
    beside = [
        f"{BASELINES[name]} {_triple(baseline['mAUROC'])}" for name, baseline in figures.get("baselines", {}).items()
    ]
    names = (runs.METRICS, runs.predictions_file(split), runs.grad_cam_file(split))
    files = ", ".join(name for name in names if (run / name).is_file())
    comparison = f" (beside it: {', '.join(beside)})" if beside else ""
    return f"mAUROC on {split}: {mean}{comparison}\n{run}: {files}. As a page: medssl report {run}"


def _triple(values: Sequence[float | None] | None) -> str:
    if values is None or values[0] is None:
        return "undefined"
    value, low, high = values
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
