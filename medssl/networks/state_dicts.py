"""Weights as files: plain state dicts, and the description beside them."""

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medssl.errors import MissingFileError, UserError

NESTED = ("state_dict", "model_state_dict", "model", "module", "network", "net", "network_weights")
"""Names under which the checkpoints of others hold their state dict, beside epochs and optimizers."""


def load_state_dict(path: str | Path, nested: bool = False) -> Mapping[str, Tensor]:
    """Read a state dict with ``weights_only=True``, or a ``.safetensors`` file where that package is installed.

    Args:
        path: of the file.
        nested: whether the state dict may stand within a checkpoint, under one of the names `NESTED`.

    Raises:
        MissingFileError: when there is no such file.
        UserError: when it holds something else than named tensors, or the package is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no weights file {path}.")
    state = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    if nested and isinstance(state, dict):
        state = next((state[name] for name in NESTED if isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} is no plain state dict (names and tensors).")
    return state


def _torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([Namespace]):  # the options of a training, which many save beside weights
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Not torch's own words: they advise to load the file unsafely.
        raise UserError(
            f"{path} cannot be read as weights ({type(error).__name__}): it is damaged, or holds more than tensors, "
            "such as a whole network; then save its state_dict() where it comes from."
        ) from error


def _safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file  # optional
    except ImportError as error:
        raise UserError(f"{path} needs the package safetensors: `pip install safetensors`.") from error
    try:
        return load_file(path)
    except Exception as error:
        raise UserError(f"{path} cannot be read as weights ({type(error).__name__}): it is damaged.") from error


def read_description(path: str | Path) -> dict[str, Any]:
    """The description that stands beside a weights file, with the suffix ``.json``.

    Raises:
        MissingFileError: when there is none.
        UserError: when it is damaged.
    """
    path = Path(path).with_suffix(".json")
    if not path.is_file():
        raise MissingFileError(
            f"There is no {path}, which says what the network of these weights is: keep both together."
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSON's and Unicode's errors are kinds of it
        raise UserError(f"{path} is no valid JSON ({error}): it is damaged.") from error
    if not isinstance(description, dict):
        raise UserError(f"{path} describes no weights: it must hold names and values.")
    return description
