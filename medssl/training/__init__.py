"""What MONAI's engines and bundles need from us: steps, handlers, determinism, resume."""

from .batches import check_batches
from .checkpoints import BestModel, RunCheckpoint, SaveBackbone
from .config import begin_run, check_ids, print_plain_error
from .metrics import FineTuneMetrics, MetricsFile, PretextMetrics, feature_spread
from .pictures import draw_puzzles
from .progress import ProgressBar
from .reproducibility import ReseedEachEpoch
from .steps import prepare_images, prepare_labelled, pretext_loss
from .tensorboard import TensorBoardLog

__all__ = [
    "BestModel",
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
    "feature_spread",
    "prepare_images",
    "prepare_labelled",
    "pretext_loss",
    "print_plain_error",
]
