"""Task affinity (Dong et al. 2024, Sec. 5.1): which guide tells beforehand what a pretext task will be worth?"""

from .finetuned import Agreement, agreement, finetuned_results, with_results
from .guides import measure
from .kept_backbones import PretrainingRun
from .study import run_affinity

__all__ = ["Agreement", "PretrainingRun", "agreement", "finetuned_results", "measure", "run_affinity", "with_results"]
