"""The weights that a run leaves behind for others: the best model, the backbone. No file is ever half there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn

from medssl.files import write_json
from medssl.networks import Backbone, save_backbone

from .fault_tolerance import write_tensors, writing


class BestModel:
    """Write the weights of the best validation so far, as a plain state dict.

    Attach it to the evaluator. Being one of the states of :class:`RunCheckpoint`, it still knows the best score after
    an interruption, which MONAI's ``CheckpointSaver`` does not.

    Args:
        path: usually ``model.pt``.
        network: to save; a wrapper for distributed training is taken off.
        metric: name of the metric; higher is better.
        description: what inference needs to know besides the weights (architecture, labels, image size, …), written
            beside them with the suffix ``.json``.
        keep_last: take every validation for the best so far, where the metric cannot tell one from another.

    Attributes:
        improved: whether the validation that ended last was the best so far.
    """

    def __init__(
        self,
        path: str | Path,
        network: nn.Module,
        metric: str,
        description: Mapping[str, Any] | None = None,
        keep_last: bool = False,
    ) -> None:
        self.path = Path(path)
        self.network = network
        self.metric = metric
        self.description = dict(description or {})
        self.keep_last = keep_last
        self.best = float("-inf")
        self.improved = False

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator, after its metrics."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Save the network if the score has risen."""
        score = float(engine.state.metrics[self.metric])
        self.improved = self.keep_last or score > self.best
        if self.improved:
            self.best = score
            write_tensors(_unwrap(self.network).state_dict(), self.path)
            if self.description and idist.get_rank() == 0:
                with writing(self.path.with_suffix(".json")) as path:
                    write_json(path, self.description)

    def state_dict(self) -> dict[str, float]:
        """The best score so far."""
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore the best score."""
        self.best = float(state["best"])


class SaveBackbone:
    """Write ``backbone.pt`` and its description after each epoch, and keep some for good.

    Those are ``backbones/epoch_0010.pt`` and the like, beside ``path``: the random weights that the run began with
    (epoch 0, the RandIni of the same seed), then one every ``keep_every`` epochs, and the last. The whole pretext
    model, with its heads and before copies are folded, stands in ``pretext_models/`` under the same name.

    Args:
        path: of the weights; the description stands beside it with the suffix ``.json``.
        backbone: the backbone in training.
        copies: images on its channel axis (3 for RVRM); they are folded into one.
        description: what the next user should know, such as ``image_size`` and ``tasks``.
        keep_every: epochs between two that are kept; 0 keeps none.
        model: the pretext model of the backbone; None keeps backbones only.
    """

    def __init__(
        self,
        path: str | Path,
        backbone: Backbone,
        copies: int = 1,
        description: Mapping[str, Any] | None = None,
        keep_every: int = 0,
        model: nn.Module | None = None,
    ) -> None:
        self.path = Path(path)
        self.backbone = backbone
        self.copies = copies
        self.description = dict(description or {})
        self.keep_every = keep_every
        self.model = model

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, before the :class:`RunCheckpoint`, which replaces the random weights on resuming."""
        if self.keep_every:
            engine.add_event_handler(Events.STARTED, self.keep, epoch=0)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Save the backbone as it is now, and keep it if its epoch has come."""
        epoch = engine.state.epoch
        self._write(self.path, epoch)
        last = epoch == engine.state.max_epochs or engine.should_terminate
        if self.keep_every and (epoch % self.keep_every == 0 or last):
            self.keep(engine, epoch)

    def keep(self, engine: Engine, epoch: int) -> None:
        """Keep backbone and pretext model as they are now, as those of an epoch."""
        name = f"epoch_{epoch:04d}.pt"
        self._write(self.path.parent / "backbones" / name, epoch)
        if self.model is not None:
            write_tensors(self.model.state_dict(), self.path.parent / "pretext_models" / name)

    def _write(self, path: Path, epoch: int) -> None:
        with writing(path):
            save_backbone(self.backbone, path, self.copies, epochs=epoch, **self.description)


def _unwrap(network: nn.Module) -> nn.Module:
    return network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
