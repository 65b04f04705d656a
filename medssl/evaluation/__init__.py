"""Figures for partially labelled data, and where they are written."""

from .baselines import TrivialBaselines, linear_probe, thumbnails
from .bootstrap import AUROCIntervals, bootstrap_auroc, patient_weights
from .calibration import ReliabilityCurve, expected_calibration_error, reliability_curve
from .closing_line import closing_line
from .figures import figures
from .grad_cam import GradCAMPanels
from .handlers import EvaluationFiles
from .paired_comparison import compare_runs
from .partial_metrics import PartialAUROC, mean_partial_auroc, partial_auroc
from .prediction_rows import PredictionRows
from .predictions import Predictions, read_predictions, write_predictions
from .predictions_metric import PredictionsMetric
from .probes import OnlineProbe, knn_probe
from .similarity import StreamingCKA, compare_backbones, draw_similarity, similarity_matrix, write_similarity
from .thresholds import youden_thresholds

__all__ = [
    "AUROCIntervals",
    "EvaluationFiles",
    "GradCAMPanels",
    "OnlineProbe",
    "PartialAUROC",
    "PredictionRows",
    "Predictions",
    "PredictionsMetric",
    "ReliabilityCurve",
    "StreamingCKA",
    "TrivialBaselines",
    "bootstrap_auroc",
    "closing_line",
    "compare_backbones",
    "compare_runs",
    "draw_similarity",
    "expected_calibration_error",
    "figures",
    "knn_probe",
    "linear_probe",
    "mean_partial_auroc",
    "partial_auroc",
    "patient_weights",
    "read_predictions",
    "reliability_curve",
    "similarity_matrix",
    "thumbnails",
    "write_predictions",
    "write_similarity",
    "youden_thresholds",
]
