"""What a run shows of itself: figures, pictures of the puzzles, a progress bar, TensorBoard, MLflow."""

from .metrics import FineTuneMetrics, MetricsFile, PretextMetrics, effective_rank, feature_spread
from .mlflow_log import mlflow_log
from .pictures import draw_puzzles
from .progress import ProgressBar
from .tensorboard import TensorBoardLog

__all__ = [
    "FineTuneMetrics",
    "MetricsFile",
    "PretextMetrics",
    "ProgressBar",
    "TensorBoardLog",
    "draw_puzzles",
    "effective_rank",
    "feature_spread",
    "mlflow_log",
]
