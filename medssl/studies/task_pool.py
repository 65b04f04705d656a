"""Several mix-ins of pretext tasks as one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from medssl.errors import MissingFileError, UserError


def read_mix_in(path: Path) -> dict[str, Any]:
    """Read a mix-in of pretext tasks.

    Raises:
        MissingFileError: when there is no such file.
        UserError: when it is no valid YAML or names no tasks.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no mix-in {path}: take the name of a file of configs/pretext, or a path.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("tasks"), dict):
        raise UserError(f"{path} is no mix-in of pretext tasks: it has no tasks.")
    return content


def pool_tasks(paths: Sequence[Path]) -> dict[str, Any]:
    """One mix-in of several, with all their tasks, of which each mini-batch is given one (Zhu et al. 2020, Sec. 3).

    Every task is drawn equally often. Where one of them needs several images on the channel axis, as RVRM does, the
    others see the same image as many times.

    Args:
        paths: of the mix-ins.

    Raises:
        MissingFileError: when there is no such file.
        UserError: when one is no mix-in, or two of them do not go together; the message says why.
    """
    pool: dict[str, Any] = {"copies": 1, "schedule": "alternate", "tasks": {}}
    for path in paths:
        mix_in = read_mix_in(path)
        mix_in.pop("schedule", None)
        pool["copies"] = max(pool["copies"], mix_in.pop("copies", 1))
        for name, task in mix_in.pop("tasks").items():
            if name in pool["tasks"]:
                raise UserError(f"{path} and another mix-in of the pool both have a task {name!r}: take one of them.")
            pool["tasks"][name] = task
        for key, value in mix_in.items():
            if pool.setdefault(key, value) != value:
                raise UserError(f"{path} cannot be pooled: it sets {key} to {value}, another one to {pool[key]}.")
    return pool
