"""What a report tells of a pre-training run."""

from collections.abc import Iterator

from medssl.runs import Run

from .facts import curves, main_facts, resume_command, settings
from .page import Picture, Section, Table, Text

TASK_COLUMNS = ("share", "loss", "accuracy", "chance", "error", "baseline")
WORDS = {
    "loss": "loss of all tasks",
    "feature_spread": "feature spread (1: features differ, 0: collapsed)",
    "effective_rank": "effective rank of the features",
    "self_assl/similarity": "similarity to the first network's features (linear CKA)",
    "probe/linear_mAUROC": "mAUROC of the linear probe on validation",
    "probe/knn_mAUROC": "mAUROC of the nearest neighbours on validation",
}


def pretraining_sections(name: str, run: Run) -> list[Section]:
    """What the run is and what its tasks reached, its curves and its settings."""
    return [
        Section(name, list(_facts(run))),
        Section("Training", [curves(name, run)], level=3),
        Section("Settings", [settings(run)], level=3),
    ]


def _facts(run: Run) -> Iterator[Text | Table | Picture]:
    metrics = run.metrics.get("metrics", {})
    tasks = run.description.get("tasks") or list(run.config.get("tasks", {}))
    facts = {"pretext tasks": ", ".join(tasks)}
    for key, words in (("images", "images"), ("epoch", "epochs done")):
        if key in run.metrics:
            facts[words] = str(run.metrics[key])
    yield main_facts(run, facts)
    if not metrics:
        yield Text("There are no figures yet: no epoch has ended. This goes on with the training:")
        yield resume_command(run)
        return
    of_tasks = {key for key in metrics if key.rpartition("/")[0] in tasks}
    columns = [column for column in TASK_COLUMNS if any(f"{task}/{column}" in metrics for task in tasks)]
    rows = [[task, *(_number(metrics.get(f"{task}/{column}")) for column in columns)] for task in tasks]
    yield Table("The tasks in the last epoch", ["Task", *columns], rows)
    others = [(WORDS.get(key, key), _number(metrics[key])) for key in metrics if key not in of_tasks]
    yield Table("The backbone in the last epoch", ["Figure", "value"], others)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
