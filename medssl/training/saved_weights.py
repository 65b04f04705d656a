"""The backbone that a pre-training leaves behind for others, and how weights and states are written: never half."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn

from medssl import runs
from medssl.files import whole_file, writing
from medssl.networks import Backbone, UNetDecoder, save_backbone


class SaveBackbone:
    """Write ``backbone.pt`` and its description after each epoch, and keep some for good.

    Those are ``backbones/epoch_0010.pt`` and the like: the random weights that the run began with (epoch 0, the RandIni
    of the same seed), then one every ``keep_every`` epochs, and the last. The whole pretext
    model, with its heads and before copies are folded, stands in ``pretext_models/`` under the same name. Where a task
    trains a U-Net decoder (``decoder: pyramid``), ``decoder.pt`` stands beside ``backbone.pt``; where several do, it is
    that of the task that was named first.

    Args:
        output_dir: folder of the run.
        backbone: the backbone in training, or its moving average.
        copies: images on its channel axis (3 for RVRM); they are folded into one.
        description: what the next user should know, such as ``image_size`` and ``tasks``.
        keep_every: epochs between two that are kept; 0 keeps none.
        model: the pretext model in training; None keeps backbones only.
    """

    def __init__(
        self,
        output_dir: str | Path,
        backbone: Backbone,
        copies: int = 1,
        description: Mapping[str, Any] | None = None,
        keep_every: int = 0,
        model: nn.Module | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.backbone = backbone
        self.copies = copies
        self.description = dict(description or {})
        self.keep_every = keep_every
        self.model = model
        modules = model.modules() if model is not None else ()
        self.decoder = next((module for module in modules if isinstance(module, UNetDecoder)), None)

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, before the `RunCheckpoint`, which replaces the random weights on resuming."""
        if self.keep_every:
            engine.add_event_handler(Events.STARTED, self.keep, epoch=0)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Save the backbone as it is now, and keep it if its epoch has come."""
        epoch = engine.state.epoch
        self._write(self.output_dir / runs.BACKBONE, epoch, self.decoder)
        last = epoch == engine.state.max_epochs or engine.should_terminate
        if self.keep_every and (epoch % self.keep_every == 0 or last):
            self.keep(engine, epoch)

    def keep(self, engine: Engine, epoch: int) -> None:
        """Keep backbone and pretext model as they are now, as those of an epoch."""
        name = runs.kept_file(epoch)
        self._write(self.output_dir / runs.BACKBONES / name, epoch)
        if self.model is not None:
            write_tensors(self.model.state_dict(), self.output_dir / runs.PRETEXT_MODELS / name)

    def _write(self, path: Path, epoch: int, decoder: UNetDecoder | None = None) -> None:
        with writing(path):
            save_backbone(self.backbone, path, self.copies, decoder, epochs=epoch, **self.description)


def write_tensors(content: Mapping[str, Any], path: str | Path, before: str | Path | None = None) -> None:
    """``torch.save`` by the first process; a kill at any moment leaves the old file or the new one.

    (MONAI's ``CheckpointSaver`` writes in place.) The same content gives the same bytes.

    Args:
        content: of the file.
        path: of the file.
        before: where the file that is replaced goes; None if it is not kept. A kill in between may leave no file at
            ``path``, but then there is a whole one here.

    Raises:
        UserError: when the file cannot be written.
    """
    if idist.get_rank() > 0:
        return
    # Given a path, torch names the archive inside after it, and hides the reason when the disk is full.
    with writing(path), whole_file(path) as temporary:
        with temporary.open("wb") as file:
            torch.save(content, file)
        if before is not None and Path(path).exists():
            os.replace(path, before)
