"""What MONAI's engines and bundles need from us: steps, handlers, determinism, resume, several processes."""

from .checks import (
    check_finetuning,
    check_pretrained,
    check_pretraining,
    check_resumed,
    check_view,
    fingerprint,
)
from .choices import choose_view, read_recipe
from .config import begin_run, check_ids, check_options
from .distributed import (
    ShareBuffers,
    begin_distributed,
    distribute,
    needs_synced_statistics,
    process_device,
    process_rank,
)
from .frozen_features import FeatureDataset, feature_dataset, fit_linear_layer, whole_batch
from .gradient_affinity import gradient_affinity
from .logs.metrics import EpochMeans, MetricsFile, PretextMetrics, effective_rank, feature_spread
from .logs.mlflow_log import mlflow_log
from .logs.pictures import draw_puzzles
from .logs.progress import ProgressBar
from .logs.tensorboard import TensorBoardLog
from .mixed_precision import MixedPrecision, computes_in_half, half_type
from .non_finite import StopAtNonFinite
from .precision_check import CheckPrecision
from .resuming import ReseedEachEpoch, RunCheckpoint, run_training
from .saved_weights import SaveBackbone
from .steps import check_batches, parameter_groups, prepare_images, prepare_labelled, pretext_loss
from .validation_keeper import ValidationKeeper

__all__ = [
    "CheckPrecision",
    "EpochMeans",
    "FeatureDataset",
    "MetricsFile",
    "MixedPrecision",
    "PretextMetrics",
    "ProgressBar",
    "ReseedEachEpoch",
    "RunCheckpoint",
    "SaveBackbone",
    "ShareBuffers",
    "StopAtNonFinite",
    "TensorBoardLog",
    "ValidationKeeper",
    "begin_distributed",
    "begin_run",
    "check_batches",
    "check_finetuning",
    "check_ids",
    "check_options",
    "check_pretrained",
    "check_pretraining",
    "check_resumed",
    "check_view",
    "choose_view",
    "computes_in_half",
    "distribute",
    "draw_puzzles",
    "effective_rank",
    "feature_dataset",
    "feature_spread",
    "fingerprint",
    "fit_linear_layer",
    "gradient_affinity",
    "half_type",
    "mlflow_log",
    "needs_synced_statistics",
    "parameter_groups",
    "prepare_images",
    "prepare_labelled",
    "pretext_loss",
    "process_device",
    "process_rank",
    "read_recipe",
    "run_training",
    "whole_batch",
]
