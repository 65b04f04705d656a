"""How right the network is, of each class over its known labels.

MONAI's AUROC of a class is undefined as soon as one of its labels is unknown.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from ignite.engine import Engine, Events

from medssl.evaluation.partial_metrics import PartialAUROC, partial_auroc


class FiguresFile:
    """Write a JSON file with the AUROC of each class, and their mean.

    A class without a known positive or without a known negative image is null, and the mean leaves it out.

    Args:
        path: of the file.
        names: of the K classes.
        metric: of the same evaluator, which has seen scores and labels.
    """

    def __init__(self, path: str | Path, names: Sequence[str], metric: PartialAUROC) -> None:
        self.path = Path(path)
        self.names = list(names)
        self.metric = metric

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file."""
        scores, labels = (torch.as_tensor(seen).cpu().numpy() for seen in self.metric.get_buffer())
        aurocs = [None if math.isnan(value) else float(value) for value in partial_auroc(scores, labels)]
        defined = [value for value in aurocs if value is not None]
        found = {
            "images": len(labels),
            "mAUROC": sum(defined) / len(defined) if defined else None,
            "per_class": dict(zip(self.names, aurocs, strict=True)),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
