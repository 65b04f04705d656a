"""What MONAI's engines and bundles need from us: steps, handlers, determinism, resume."""

from .batches import check_batches
from .checkpoints import BestModel, RunCheckpoint, SaveBackbone
from .config import begin_run, check_ids, print_plain_error
from .early_stop import EarlyStop
from .gradient_affinity import gradient_affinity
from .learning_rates import parameter_groups
from .linear_probe import FeatureDataset, feature_dataset, fit_linear_layer, whole_batch
from .metrics import FineTuneMetrics, MetricsFile, PretextMetrics, effective_rank, feature_spread
from .pictures import draw_puzzles
from .progress import ProgressBar
from .reproducibility import ReseedEachEpoch
from .steps import prepare_images, prepare_labelled, pretext_loss
from .tensorboard import TensorBoardLog

__all__ = [
    "BestModel",
    "EarlyStop",
    "FeatureDataset",
    "FineTuneMetrics",
    "MetricsFile",
    "PretextMetrics",
    "ProgressBar",
    "ReseedEachEpoch",
    "RunCheckpoint",
    "SaveBackbone",
    "TensorBoardLog",
    "begin_run",
    "check_batches",
    "check_ids",
    "draw_puzzles",
    "effective_rank",
    "feature_dataset",
    "feature_spread",
    "fit_linear_layer",
    "gradient_affinity",
    "parameter_groups",
    "prepare_images",
    "prepare_labelled",
    "pretext_loss",
    "print_plain_error",
    "whole_batch",
]
