"""Procedures that train many times, and the demo."""

from .bundle_runs import BundleRun, bundle_folder, mix_in
from .comparison import Comparison, summarise

__all__ = ["BundleRun", "Comparison", "bundle_folder", "mix_in", "summarise"]
