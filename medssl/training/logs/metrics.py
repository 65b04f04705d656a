"""Means over an epoch of what the pretext tasks report, what is to be warned of, and the final figures as a file."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor

from medssl import runs
from medssl.evaluation.probes import METRICS
from medssl.files import write_json, writing
from medssl.networks import Backbone
from medssl.pretext import PretextModelOutput

from ..distributed import mean_over_processes
from ..steps import step_output

logger = logging.getLogger(__name__)

SOLVED, COLLAPSED, FALL, ALIKE = 0.98, 3.0, 0.02, 1.5
"""Accuracy from which a task is solved; effective rank below which features have collapsed; how far a probe falls;
different answers below which a teacher gives all images the same."""
PROBE = METRICS["linear"]


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


class PretrainingWatch:
    """Is the pre-training working? Say so in the log, and warn in plain words, once of each kind, where it is not.

    Four things are warned of. A task is *solved* when more than 98 % of its answers of an epoch are right: what it can
    still teach is little. The features have *collapsed* when their effective rank stays below 3 for two epochs: to the
    backbone all images look alike, however good the loss is. (A mini-batch of few images has no great rank, so of fewer
    than 12 a quarter of their number is asked for.) The linear probe *falls* when each of its last three figures
    lies more than 0.02 below the best one before them: the features say less about the labels than they did. And a
    task has *one answer* when its teacher tells fewer than 1.5 apart in a mini-batch, from the middle of the training
    on: before, none may have been found yet.

    Attributes:
        warnings: the sentences so far; always the same list, which a `MetricsFile` holds.

    Args:
        tasks: names of the pretext tasks.
        interval: epochs between two lines in the log; the last epoch has one; 0 for that one alone.
    """

    def __init__(self, tasks: Sequence[str], interval: int = 10) -> None:
        self.tasks = list(tasks)
        self.interval = interval
        self.warnings: list[str] = []
        self._warned: list[str] = []
        self._collapsed = 0
        self._probes: list[tuple[int, float]] = []

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the handlers that make the metrics; a `MetricsFile` does so."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Look at the metrics of the epoch that ended."""
        metrics, epoch = engine.state.metrics, engine.state.epoch
        last = epoch == engine.state.max_epochs
        if last or (self.interval and epoch % self.interval == 0):
            self._log(logging.INFO, f"Epoch {epoch}: {'; '.join(self._figures(metrics))}.")
        for task in self.tasks:
            accuracy = metrics.get(f"{task}/accuracy", 0.0)
            if accuracy > SOLVED:
                self._warn(
                    f"solved {task}",
                    f"{task} is solved: in epoch {epoch} {accuracy:.1%} of its answers are right, so that going on "
                    "teaches the backbone little more. Make the task harder by its values, take another, or end here.",
                )
            answers = metrics.get(f"{task}/answers", math.inf)
            if answers < ALIKE and 2 * epoch >= (engine.state.max_epochs or 0):
                self._warn(
                    f"one answer {task}",
                    f"{task} has collapsed: in epoch {epoch} its teacher gives {answers:.2f} different answers to a "
                    "mini-batch, so that nothing of an image is asked for. Train for more steps, raise batch_size, or "
                    "take another task.",
                )
        rank = metrics.get("effective_rank", math.inf)
        self._collapsed = self._collapsed + 1 if rank < _least_rank(len(step_output(engine)[CommonKeys.IMAGE])) else 0
        if self._collapsed and (last or self._collapsed > 1):
            self._warn(
                "collapsed",
                f"The features have collapsed: in epoch {epoch} their effective rank is {rank:.1f}, so that all images "
                "look alike to the backbone. Lower learning_rate, raise batch_size, or take another task.",
            )
        if PROBE in metrics:
            self._probes.append((epoch, metrics[PROBE]))
            self._look_at_probes()

    def state_dict(self) -> dict[str, Any]:
        """What was warned of, and what the next epoch is compared with."""
        return {
            "warnings": list(self.warnings),
            "warned": list(self._warned),
            "collapsed": self._collapsed,
            "probes": [list(probe) for probe in self._probes],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore both."""
        self.warnings[:] = state["warnings"]
        self._warned = list(state["warned"])
        self._collapsed = int(state["collapsed"])
        self._probes = [(int(epoch), float(value)) for epoch, value in state["probes"]]

    def _look_at_probes(self) -> None:
        before, newest = self._probes[:-3], self._probes[-3:]
        if not before:
            return
        epoch, best = max(before, key=lambda probe: probe[1])
        if all(value < best - FALL for _, value in newest):
            self._warn(
                "falls",
                f"The linear probe falls: its mAUROC was {best:.3f} in epoch {epoch} and is "
                f"{', '.join(f'{value:.3f}' for _, value in newest)} since. Pre-train for fewer epochs, or keep "
                "backbones along the way (keep_every) and take an earlier one.",
            )

    def _figures(self, metrics: Mapping[str, float]) -> Iterator[str]:
        """The task beside chance, the features, the probe."""
        for task in self.tasks:
            if f"{task}/accuracy" in metrics:
                yield f"{task} {metrics[f'{task}/accuracy']:.3f} right (chance {metrics[f'{task}/chance']:.3f})"
            elif f"{task}/error" in metrics:
                yield f"{task} error {metrics[f'{task}/error']:.3f} (constant {metrics[f'{task}/baseline']:.3f})"
        for name, words in {"effective_rank": "effective rank", "feature_spread": "feature spread"}.items():
            if name in metrics:
                yield f"{words} {metrics[name]:.2f}"
        if PROBE in metrics:
            yield f"linear probe {metrics[PROBE]:.3f}"

    def _warn(self, kind: str, sentence: str) -> None:
        if kind not in self._warned:
            self._warned.append(kind)
            self.warnings.append(sentence)
            self._log(logging.WARNING, sentence)

    def _log(self, level: int, sentence: str) -> None:
        if idist.get_rank() == 0:
            logger.log(level, sentence)


def _least_rank(images: int) -> float:
    return min(COLLAPSED, images / 4)


class MetricsFile:
    """Write ``engine.state.metrics`` into ``metrics.json`` after each epoch, with its number and other facts.

    (MONAI's ``MetricsSaver`` writes text and CSV, and no facts.)

    Args:
        output_dir: folder of the run.
        watch: whose warnings stand there, too; it looks at each epoch before the file is written.
        facts: further entries, such as the number of images.
    """

    def __init__(self, output_dir: str | Path, watch: PretrainingWatch | None = None, **facts: Any) -> None:
        self.path = Path(output_dir) / runs.METRICS
        self.watch = watch
        self.facts = facts if watch is None else {**facts, "warnings": watch.warnings}

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the handlers that make the metrics."""
        if self.watch is not None:
            self.watch.attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file."""
        with writing(self.path):
            write_json(self.path, {**self.facts, "epoch": engine.state.epoch, "metrics": engine.state.metrics})
