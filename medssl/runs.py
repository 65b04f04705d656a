"""What a run left in its folder, read for a report: config, figures, curves. Nothing of it is executed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import yaml

from medssl.errors import UserError

Curves = dict[str, tuple[list[int], list[float]]]
"""Name of a metric → epochs and values."""


@dataclass(frozen=True)
class Run:
    """A run of a bundle.

    Attributes:
        path: of the folder.
        config: the training's ``config.yaml``, empty where there is none.
        metrics: ``metrics.json``, likewise.
        description: ``model.json`` or ``backbone.json``, likewise.
    """

    path: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    description: Mapping[str, Any]

    @property
    def is_pretraining(self) -> bool:
        """Whether it trained a backbone on pretext tasks."""
        return "tasks" in self.config or "metrics" in self.metrics

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        network = self.config.get("backbone" if self.is_pretraining else "network_def", {})
        return int(self.description.get("spatial_dims") or network.get("spatial_dims") or 2)

    def text(self, name: str) -> str:
        """The value of an id of the config as text; "" where there is none.

        An expression is followed only where it adds texts, such as ``$@dataset_dir + '/datalist.json'``: whoever
        reads a folder does not want to run what a stranger wrote into it.
        """
        return _followed(self.config, name, frozenset())

    def pretraining_description(self) -> Mapping[str, Any]:
        """The description beside the weights that a fine-tuning began with; empty where it is not to be found."""
        start = Path(self.text("pretrained") or "nowhere")
        return _read((start / "backbone.pt" if start.is_dir() else start).with_suffix(".json"))

    def curves(self) -> Curves:
        """Every scalar of the TensorBoard log."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # heavy, and seldom needed

        log = EventAccumulator(str(self.path), size_guidance={"scalars": 0, "images": 1, "tensors": 1}).Reload()
        scalars = {name: log.Scalars(name) for name in log.Tags()["scalars"]}
        return {
            name: ([event.step for event in all_], [event.value for event in all_]) for name, all_ in scalars.items()
        }


def read_run(path: str | Path) -> Run:
    """Read a run.

    Raises:
        UserError: when the folder is no run, or a file in it is damaged.
    """
    path = Path(path)
    if not (path / "config.yaml").is_file() and not (path / "metrics.json").is_file():
        raise UserError(
            f"{path} is no run: it has neither config.yaml nor metrics.json. Give the output_dir of a bundle."
        )
    config, metrics = _read(path / "config.yaml"), _read(path / "metrics.json")
    return Run(path, config, metrics, _read(path / "model.json") or _read(path / "backbone.json"))


def _followed(config: Mapping[str, Any], name: str, behind: frozenset[str]) -> str:
    value = str(config.get(name, ""))
    if not value.startswith("$"):
        return value
    parts = [part.strip() for part in value[1:].split(" + ")]
    if name in behind or not all(re.fullmatch(r"@\w+|'[^']*'|\"[^\"]*\"", part) for part in parts):
        return ""
    followed = (_followed(config, part[1:], behind | {name}) if part[0] == "@" else part[1:-1] for part in parts)
    return "".join(followed)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = (yaml.safe_load if path.suffix == ".yaml" else json.loads)(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:  # JSON's and Unicode's errors are kinds of ValueError
        raise UserError(f"{path} cannot be read: it is damaged. Run again what wrote it.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a run's: it must hold names and values.")
    return content


def shown_path(path: str | Path) -> str:
    """A path as a report may show it: from the working folder on, or else its last name, but no folder above."""
    if not Path(path).is_absolute() and PureWindowsPath(path).is_absolute():
        return PureWindowsPath(path).name  # a run from another kind of machine
    path = Path(path).resolve()
    inside = path.is_relative_to(Path.cwd()) and path != Path.cwd()
    return path.relative_to(Path.cwd()).as_posix() if inside else path.name
