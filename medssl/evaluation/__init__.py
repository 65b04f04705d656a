"""Figures for partially labelled data, and where they are written."""

from .handlers import EvaluationFile, PredictionsFile
from .partial_metrics import PartialAUROC, partial_auroc

__all__ = ["EvaluationFile", "PartialAUROC", "PredictionsFile", "partial_auroc"]
