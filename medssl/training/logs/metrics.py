"""Means over an epoch of what the pretext tasks report, and the final figures as a file."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor

from medssl import runs
from medssl.files import write_json, writing
from medssl.networks import Backbone
from medssl.pretext import PretextModelOutput

from ..distributed import mean_over_processes
from ..steps import step_output


def feature_spread(features: Tensor) -> Tensor:
    """How far the features of different images differ: 1 when they point everywhere, 0 when they have collapsed.

    The standard deviation of the normalised features over the batch, times √D (Chen & He 2021, Sec. 4.1).

    Args:
        features: ``[B, D]``.
    """
    return F.normalize(features, dim=1).std(dim=0, unbiased=False).mean() * features.shape[1] ** 0.5


def effective_rank(features: Tensor) -> Tensor:
    """How many dimensions the features use: exp of the entropy of their normalised singular values.

    (Roy & Vetterli 2007.) 1 when all features are multiples of one, at most min(B, D). MONAI's
    ``compute_embedding_collapse`` subtracts the mean first: of features that are equal up to rounding only the noise
    remains, and it calls them far from collapsed (a score of 0.01, where 1 is full collapse, for 64 equal rows of 512
    numbers with noise of 1e-6).

    Args:
        features: ``[B, D]``.
    """
    values = torch.linalg.svdvals(features.float())
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.special.entr(shares).sum().exp()


class EpochMeans:
    """Put the mean loss of the epoch, over all processes of a distributed run, into ``engine.state.metrics``."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = defaultdict(list)

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, before the handlers that read the metrics."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.publish)

    def clear(self, engine: Engine) -> None:
        """Forget what was collected before."""
        self._values.clear()

    def collect(self, engine: Engine) -> None:
        """Keep the loss of a step; it stays on its device, so that no step waits for another."""
        self._values["loss"].append(step_output(engine)[CommonKeys.LOSS].detach())

    def publish(self, engine: Engine) -> None:
        """Average what was collected."""
        means = {name: torch.stack(values).mean() for name, values in self._values.items()}
        engine.state.metrics.update(mean_over_processes(means))


class PretextMetrics(EpochMeans):
    """Put each task's mean loss and metrics of the epoch into ``engine.state.metrics``, named ``task/metric``.

    Of several tasks the mean ``share`` too: of the total loss, or of the steps (see ``PretextModelOutput``).
    ``feature_spread`` and ``effective_rank`` of the last batch stand beside them: does the backbone tell images apart?

    Args:
        backbone: the backbone in training.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self._published: set[str] = set()

    def collect(self, engine: Engine) -> None:
        """Keep the values of a step."""
        super().collect(engine)
        output: PretextModelOutput = step_output(engine)[CommonKeys.PRED]
        for name, task in output.tasks.items():
            for metric, value in {"loss": task.loss, **task.metrics}.items():
                self._values[f"{name}/{metric}"].append(value.detach())
        if len(output.shares) > 1:
            for name, share in output.shares.items():
                self._values[f"{name}/share"].append(share)

    def publish(self, engine: Engine) -> None:
        """Average what was collected, and look at the features of the last batch."""
        training = self.backbone.training
        self.backbone.eval()
        with torch.no_grad():
            features = self.backbone.pool(self.backbone(step_output(engine)[CommonKeys.IMAGE]))
        self.backbone.train(training)
        self._values |= {"feature_spread": [feature_spread(features)], "effective_rank": [effective_rank(features)]}
        # A task that was not drawn in this epoch has no figures, least of all older ones: they would be called this
        # epoch's, and a resumed run would not have them. (All are taken away, so that their order is the epoch's.)
        for name in self._published:
            engine.state.metrics.pop(name, None)
        self._published = set(self._values)
        super().publish(engine)


class MetricsFile:
    """Write ``engine.state.metrics`` into ``metrics.json`` after each epoch, with its number and other facts.

    (MONAI's ``MetricsSaver`` writes text and CSV, and no facts.)

    Args:
        output_dir: folder of the run.
        facts: further entries, such as the number of images.
    """

    def __init__(self, output_dir: str | Path, **facts: Any) -> None:
        self.path = Path(output_dir) / runs.METRICS
        self.facts = facts

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the handlers that make the metrics."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file."""
        with writing(self.path):
            write_json(self.path, {**self.facts, "epoch": engine.state.epoch, "metrics": engine.state.metrics})
