"""Task affinity (Dong et al. 2024, Sec. 5.1): which guide tells beforehand what a pretext task will be worth?"""

from .agreement import Agreement, agreement
from .finetuned import finetuned_results, with_results
from .guides import Affinity, measure
from .kept_backbones import PretrainingRun
from .study import run_affinity

__all__ = [
    "Affinity",
    "Agreement",
    "PretrainingRun",
    "agreement",
    "finetuned_results",
    "measure",
    "run_affinity",
    "with_results",
]
