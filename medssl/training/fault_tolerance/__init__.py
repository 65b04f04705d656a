"""Runs that survive: checkpoints to go on from, and plain sentences for what ends a run."""

from .checkpoints import RunCheckpoint
from .interruption import run_training
from .non_finite import StopAtNonFinite
from .reproducibility import ReseedEachEpoch
from .writing import write_tensors

__all__ = [
    "ReseedEachEpoch",
    "RunCheckpoint",
    "StopAtNonFinite",
    "run_training",
    "write_tensors",
]
