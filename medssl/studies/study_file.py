"""An MT-ASSL study as a small YAML file, such as those of ``configs/studies``.

::

    bundle: cxr                            # or ct
    datalist: data/datalist.json           # paths are relative to this file
    output: runs/mt_assl
    candidates: [rotation, src, my_task.yaml]   # files of configs/pretext, or your own
    shared: {architecture: resnet18}       # ids of both bundles
    pretrain: {epochs: 100}                # of the pre-training bundle
    finetune: {epochs: 50}                 # of the fine-tuning bundle
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from medssl.data.tables import near_miss
from medssl.errors import MissingFileError, UserError

from .mt_assl import MTASSL

KINDS: dict[str, type] = {
    "bundle": str,
    "datalist": str,
    "output": str,
    "candidates": list,
    "shared": dict,
    "pretrain": dict,
    "finetune": dict,
    "seed": int,
    "parallel": int,
    "processes": int,
    "full_table": bool,
}
"""Key → what it holds."""
HELD = {str: "text", list: "a list", dict: "names and values", int: "a whole number", bool: "true or false"}


def read_study(path: str | Path, datalist: Path | None = None, output: Path | None = None) -> MTASSL:
    """Read a study.

    Args:
        path: of the YAML file.
        datalist: instead of the file's.
        output: instead of the file's.

    Raises:
        MissingFileError: when there is no such file.
        UserError: when it is no such YAML, or a value is wrong; the message names the key.
    """
    path = Path(path)
    content = _content(path)
    values: dict[str, Any] = {
        name.name: content[name.name] for name in fields(MTASSL) if name.name in content and name.name in KINDS
    }
    for key, given in (("datalist", datalist), ("output", output)):
        if given is None and key not in content:
            raise UserError(f"{path} names no {key}: add it, or give --{key}.")
        values[key] = path.parent / content[key] if given is None else given
    for key in ("bundle", "candidates"):
        if key not in content:
            raise UserError(f"{path} names no {key}.")
    shared = content.get("shared", {})
    values["pretrain"] = {**shared, **content.get("pretrain", {})}
    values["finetune"] = {**shared, **content.get("finetune", {})}
    values["candidates"] = dict(_candidate(str(name), path.parent) for name in content["candidates"])
    if len(values["candidates"]) < len(content["candidates"]):
        raise UserError(f"{path}: two candidates have the same name.")
    return MTASSL(**values)


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingFileError(f"There is no file {path}: check its path.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no study: it must hold {', '.join(KINDS)}.")
    for key, value in content.items():
        if key not in KINDS:
            raise UserError(f"{path}: there is no key {key!r}: use {', '.join(KINDS)}.{near_miss(str(key), KINDS)}")
        if type(value) is not KINDS[key]:  # True is an int, too
            raise UserError(f"{path}: {key} must be {HELD[KINDS[key]]}, not {value!r}.")
    return content


def _candidate(name: str, folder: Path) -> tuple[str, str | Path]:
    """Its name, and our mix-in or the path of the user's own."""
    if name.endswith((".yaml", ".yml")):
        return Path(name).stem, folder / name
    return name, f"pretext/{name}"
