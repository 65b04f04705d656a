"""Figures for partially labelled data, and where they are written."""

from .baselines import TrivialBaselines, thumbnails
from .calibration import ReliabilityCurve, expected_calibration_error, reliability_curve, youden_thresholds
from .figures import figures
from .grad_cam import GradCAMPanels
from .handlers import EvaluationFiles, closing_line
from .image_inferer import ImageInferer
from .logistic import choose_strength, feature_gains, linear_probe
from .masks.baselines import MaskBaselines
from .masks.dicom_seg import check_highdicom, write_dicom_seg
from .masks.figures import segmentation_figures
from .masks.files import SegmentationFiles, read_mask_rows, segmentation_line, write_mask_rows
from .masks.intensity_bands import IntensityBands, threshold_baseline
from .masks.mask_inferer import MaskInferer, prepare_with_grids
from .masks.metric import MaskMetric, mean_dice
from .masks.overlays import Overlays
from .masks.rows import MaskMeasures, MaskRow
from .masks.windows import WindowInferer
from .masks.written_masks import WrittenMasks, one_file, size_names
from .mistakes import Mistake, draw_mistakes, worst_mistakes
from .overlap import Overlap, find_overlap
from .paired_comparison import compare_runs
from .partial_metrics import mean_partial_auroc, partial_auroc
from .prediction_rows import PredictionRows
from .predictions import Predictions, read_predictions, write_predictions
from .predictions_metric import PredictionsMetric
from .probes import OnlineProbe, knn_probe
from .similarity import (
    StreamingCKA,
    backbone_gains,
    compare_backbones,
    draw_similarity,
    similarity_matrix,
    write_similarity,
)
from .subgroups import mask_subgroups, subgroups
from .temperature import Calibration, calibrate

__all__ = [
    "Calibration",
    "EvaluationFiles",
    "GradCAMPanels",
    "ImageInferer",
    "IntensityBands",
    "MaskBaselines",
    "MaskInferer",
    "MaskMeasures",
    "MaskMetric",
    "MaskRow",
    "Mistake",
    "OnlineProbe",
    "Overlap",
    "Overlays",
    "PredictionRows",
    "Predictions",
    "PredictionsMetric",
    "ReliabilityCurve",
    "SegmentationFiles",
    "StreamingCKA",
    "TrivialBaselines",
    "WindowInferer",
    "WrittenMasks",
    "backbone_gains",
    "calibrate",
    "check_highdicom",
    "choose_strength",
    "closing_line",
    "compare_backbones",
    "compare_runs",
    "draw_mistakes",
    "draw_similarity",
    "expected_calibration_error",
    "feature_gains",
    "figures",
    "find_overlap",
    "knn_probe",
    "linear_probe",
    "mask_subgroups",
    "mean_dice",
    "mean_partial_auroc",
    "one_file",
    "partial_auroc",
    "prepare_with_grids",
    "read_mask_rows",
    "read_predictions",
    "reliability_curve",
    "segmentation_figures",
    "segmentation_line",
    "similarity_matrix",
    "size_names",
    "subgroups",
    "threshold_baseline",
    "thumbnails",
    "worst_mistakes",
    "write_dicom_seg",
    "write_mask_rows",
    "write_predictions",
    "write_similarity",
    "youden_thresholds",
]
