"""What MONAI's engines and bundles need from us: steps, handlers, determinism, resume, several processes."""

from .averaging import AveragedWeights, freeze
from .batches import EveryImage, PrepareAugmented
from .checks import (
    check_finetuning,
    check_pretrained,
    check_pretraining,
    check_resumed,
    check_view,
    fingerprint,
)
from .choices import choose_steps, choose_view, most_boxes, read_recipe, training_view
from .config import begin_run, check_ids, check_options
from .distributed import (
    ShareBuffers,
    begin_distributed,
    distribute,
    needs_synced_statistics,
    process_device,
    process_rank,
)
from .frozen_features import FeatureDataset, StandardisedHead, feature_dataset, fit_linear_layer, whole_batch
from .gradient_affinity import gradient_affinity, restate_batch_norm
from .largest_box import TrialStep, largest_box, mean_square
from .logs.metrics import EpochMeans, MetricsFile, PretextMetrics, PretrainingWatch, effective_rank, feature_spread
from .logs.mlflow_log import mlflow_log
from .logs.pictures import draw_puzzles
from .logs.progress_bar import ProgressBar
from .logs.tensorboard import TensorBoardLog
from .mixed_precision import MixedPrecision, computes_in_half, half_type
from .mixup import BatchMixUp, mix_up
from .non_finite import StopAtNonFinite
from .optimizing import ClipGradients, EndAfterSteps, RateSchedule, build_optimizer, count_epochs
from .paired_order import PairedOrder, image_order
from .precision_check import CheckPrecision
from .probe_head import fit_head
from .pseudo_labels import TrainingItems, fill_unknown
from .recorded_images import record_images
from .resuming import ReseedEachEpoch, RunCheckpoint, run_training
from .saved_weights import SaveBackbone
from .segmenting import (
    PreparedBatches,
    PrepareSegmented,
    boxes_for_training,
    check_segmentation,
    masks_fingerprint,
    mirror_axes,
    part_numbers,
)
from .steps import (
    AfterStep,
    check_batches,
    check_crops,
    parameter_groups,
    prepare_images,
    prepare_labelled,
    pretext_loss,
)
from .validating import ValidateEpochs
from .validation_keeper import ValidationKeeper

__all__ = [
    "AfterStep",
    "AveragedWeights",
    "BatchMixUp",
    "CheckPrecision",
    "ClipGradients",
    "EndAfterSteps",
    "EpochMeans",
    "EveryImage",
    "FeatureDataset",
    "MetricsFile",
    "MixedPrecision",
    "PairedOrder",
    "PrepareAugmented",
    "PrepareSegmented",
    "PreparedBatches",
    "PretextMetrics",
    "PretrainingWatch",
    "ProgressBar",
    "RateSchedule",
    "ReseedEachEpoch",
    "RunCheckpoint",
    "SaveBackbone",
    "ShareBuffers",
    "StandardisedHead",
    "StopAtNonFinite",
    "TensorBoardLog",
    "TrainingItems",
    "TrialStep",
    "ValidateEpochs",
    "ValidationKeeper",
    "begin_distributed",
    "begin_run",
    "boxes_for_training",
    "build_optimizer",
    "check_batches",
    "check_crops",
    "check_finetuning",
    "check_ids",
    "check_options",
    "check_pretrained",
    "check_pretraining",
    "check_resumed",
    "check_segmentation",
    "check_view",
    "choose_steps",
    "choose_view",
    "computes_in_half",
    "count_epochs",
    "distribute",
    "draw_puzzles",
    "effective_rank",
    "feature_dataset",
    "feature_spread",
    "fill_unknown",
    "fingerprint",
    "fit_head",
    "fit_linear_layer",
    "freeze",
    "gradient_affinity",
    "half_type",
    "image_order",
    "largest_box",
    "masks_fingerprint",
    "mean_square",
    "mirror_axes",
    "mix_up",
    "mlflow_log",
    "most_boxes",
    "needs_synced_statistics",
    "parameter_groups",
    "part_numbers",
    "prepare_images",
    "prepare_labelled",
    "pretext_loss",
    "process_device",
    "process_rank",
    "read_recipe",
    "record_images",
    "restate_batch_norm",
    "run_training",
    "training_view",
    "whole_batch",
]
