"""An MT-ASSL study as a small YAML file, such as those of `configs/studies`.

::

    data: data                             # a folder that `medssl prepare` wrote; paths are relative to this file
    output: runs/mt_assl
    candidates: [rotation, src, {rvrm: {disguise: 1.0}}]   # pretext tasks, some with values
    shared: {architecture: resnet18}       # ids of both bundles
    pretrain: {epochs: 100}                # of the pre-training bundle
    finetune: {epochs: 50}                 # of the fine-tuning bundle
    guide: gain                            # or lcka
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medssl.data.tables import near_miss
from medssl.errors import UserError
from medssl.files import read_yaml
from medssl.pretext import named_tasks

from .mt_assl import MTASSL

KEYS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("data", "output"), (str, "text")),
    "candidates": (list, "a list"),
    **dict.fromkeys(("shared", "pretrain", "finetune"), (dict, "names and values")),
    **dict.fromkeys(("seed", "parallel", "processes"), (int, "a whole number")),
    "full_table": (bool, "true or false"),
    "guide": (str, "text"),
}
"""Key → what it holds, and that in words."""


def read_study(path: str | Path, data: Path | None = None, output: Path | None = None) -> MTASSL:
    """Read a study.

    Args:
        path: of the YAML file.
        data: instead of the file's.
        output: instead of the file's.

    Raises:
        MissingFileError: when there is no such file.
        UserError: when it is no such YAML, or a value is wrong; the message names the key.
    """
    path = Path(path)
    content = _content(path)
    for key, given in (("data", data), ("output", output)):
        if given is None and key not in content:
            raise UserError(f"{path} names no {key}: add it, or give --{key}.")
        content[key] = path.parent / content[key] if given is None else given
    content["candidates"] = _candidates(path, content.get("candidates", []))
    shared = content.pop("shared", {})
    for bundle in ("pretrain", "finetune"):
        content[bundle] = {**shared, **content.get(bundle, {})}
    return MTASSL(**content)


def _content(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no study: it must hold {', '.join(KEYS)}.")
    # Studies of the first edition named the datalist, and a bundle for each kind of image.
    if "datalist" in content:
        content["data"] = content.pop("datalist")
    if content.get("bundle") in ("cxr", "ct"):
        del content["bundle"]
    for key, value in content.items():
        if key not in KEYS:
            raise UserError(f"{path}: there is no key {key!r}: use {', '.join(KEYS)}.{near_miss(str(key), KEYS)}")
        kind, words = KEYS[key]
        if type(value) is not kind:  # True is an int, too
            raise UserError(f"{path}: {key} must be {words}, not {value!r}.")
    return content


def _candidates(path: Path, given: Sequence[Any]) -> dict[str, Mapping[str, Any]]:
    candidates: dict[str, Mapping[str, Any]] = {}
    for each in given:
        if str(each).endswith((".yaml", ".yml")):
            raise UserError(f"{path}: {each} is a mix-in of the first edition: write {{task: {{its values}}}} instead.")
        tasks = named_tasks(each)
        if twice := candidates.keys() & tasks:
            raise UserError(f"{path}: two candidates have the same name, {', '.join(twice)}.")
        candidates |= tasks
    return candidates
