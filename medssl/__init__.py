"""Self-supervised pre-training and partially labelled fine-tuning of chest X-rays (2D) and CT (3D), on top of MONAI.

Importing the package imports nothing heavy; a room (``medssl.networks``, ``medssl.pretext``, …) is imported when it is
first named, so ``import medssl`` is all that a config needs.
"""

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

ROOMS = (
    "data",
    "evaluation",
    "files",
    "losses",
    "networks",
    "phantoms",
    "pretext",
    "readers",
    "release",
    "report",
    "runs",
    "studies",
    "training",
    "transforms",
)


def __getattr__(name: str) -> ModuleType:
    if name in ROOMS:
        return import_module(f"medssl.{name}")
    raise AttributeError(f"module 'medssl' has no attribute {name!r}")
