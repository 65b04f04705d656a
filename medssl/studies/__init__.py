"""Procedures that train many times, and the demo."""

from .bundle_runs import BundleRun, bundle_folder
from .greedy_search import Row, greedy_search
from .mt_assl import MTASSL, Choice, run_mt_assl
from .pretraining_gain import Comparison
from .study_file import read_study
from .trainings import Training, run_trainings

__all__ = [
    "MTASSL",
    "BundleRun",
    "Choice",
    "Comparison",
    "Row",
    "Training",
    "bundle_folder",
    "greedy_search",
    "read_study",
    "run_mt_assl",
    "run_trainings",
]
