"""Self-supervised pre-training and partially labelled fine-tuning of chest X-rays (2D) and CT (3D), on top of MONAI.

Importing the package imports nothing heavy; a room (``medssl.networks``, ``medssl.pretext``, …) is imported when it is
first named, so ``import medssl`` is all that a config needs.

``medssl.load("runs/finetune")`` gives a trained network that is called with images, see `medssl.release.load`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

ROOMS = (
    "data",
    "evaluation",
    "files",
    "losses",
    "networks",
    "phantoms",
    "pretext",
    "progress",
    "readers",
    "release",
    "report",
    "runs",
    "studies",
    "training",
    "transforms",
)


def __getattr__(name: str) -> Any:
    if name == "load":
        return import_module("medssl.release").load
    if name in ROOMS:
        return import_module(f"medssl.{name}")
    raise AttributeError(f"module 'medssl' has no attribute {name!r}")
