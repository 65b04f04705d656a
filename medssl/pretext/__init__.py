"""The pretext tasks, one file each, and the model that trains several together."""

from .mcpc import MCPC
from .model import PretextModel, PretextModelOutput
from .registry import TASKS, build_task
from .rotation import Rotation
from .rvrm import RVRM
from .sc_assl import SCASSL
from .src import SRC
from .task import Pictures, PretextOutput, PretextTask

__all__ = [
    "MCPC",
    "RVRM",
    "SCASSL",
    "SRC",
    "TASKS",
    "Pictures",
    "PretextModel",
    "PretextModelOutput",
    "PretextOutput",
    "PretextTask",
    "Rotation",
    "build_task",
]
