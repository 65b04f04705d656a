"""The state that an interrupted run goes on from, of the last epoch and of the one before."""

import logging
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from medssl.errors import UserError
from medssl.files import write_json

from ..mixed_precision import MixedPrecision
from .writing import write_tensors, writing

logger = logging.getLogger(__name__)

SCALER, PRECISION = "amp_scaler", "precision"
"""Kept without being named; a checkpoint may have been written without them."""
SETTINGS = "settings.json"
HALF_WRITTEN = re.compile(r"\.\d+-\d+\..+")
"""Names that a killed process leaves behind, see ``medssl.files.whole_file``."""


class RunCheckpoint:
    """Write ``last.pt`` after each epoch, keep the one before as ``previous.pt``, and go on from them when asked to.

    Together with :class:`ReseedEachEpoch`, which makes the randomness of an epoch a function of its number, the states
    kept here are all that a run needs to go on as if it had never stopped. Of mixed precision, the scaler, which a
    trainer makes only when it starts, and what :class:`CheckPrecision` found are kept without being named.

    A run that begins anew moves the checkpoints of an earlier one into ``earlier/``. A damaged checkpoint is named, and
    the one before is taken. When the learning rate of an optimizer without a scheduler was changed in the config, a
    resumed run takes the new one.

    Args:
        directory: of the checkpoints.
        states: what to keep, by name: objects with ``state_dict`` and ``load_state_dict``, such as the network, the
            optimizer, a scheduler.
        resume: whether to go on from the last checkpoint where there is one.
        interval: epochs between two checkpoints; the last epoch always has one.
        settings: what a run may not change when it goes on, kept beside as ``settings.json``; see
            ``medssl.training.check_resumed``.
    """

    def __init__(
        self,
        directory: str | Path,
        states: Mapping[str, Any],
        resume: bool = False,
        interval: int = 1,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.directory = Path(directory)
        self.path = self.directory / "last.pt"
        self.previous = self.directory / "previous.pt"
        self.states = dict(states)
        self.resume = resume
        self.interval = interval
        self.settings = settings

    def attach(self, engine: Engine) -> None:
        """Register with a trainer. Attach it last, so that the checkpoint holds what the other handlers did."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        """Write the checkpoint, if its epoch has come; the engine's ``state.checkpoint_epoch`` says so.

        Raises:
            UserError: when it cannot be written; the ones before stay.
        """
        last = engine.state.epoch == engine.state.max_epochs or engine.should_terminate
        if engine.state.epoch % self.interval and not last:
            return
        content = {name: state.state_dict() for name, state in self._all_states(engine).items()}
        content |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        new = self.directory / "new.pt"
        write_tensors(content, new)
        if idist.get_rank() == 0:
            # A kill between the two leaves no last.pt but whole ones beside it: the new one may be lost, never both.
            if self.path.exists():
                os.replace(self.path, self.previous)
            os.replace(new, self.path)
        engine.state.checkpoint_epoch = engine.state.epoch  # type: ignore[attr-defined]

    def start(self, engine: Engine) -> None:
        """Restore every state and the trainer's epoch, or make room for a run that begins anew.

        Raises:
            UserError: when no checkpoint can be read, when it belongs to another kind of run, or when processes of a
                distributed run see different ones.
        """
        if engine.state.epoch:  # a trainer that is run further, as in federated learning, has its state
            return
        if idist.get_rank() == 0:
            self._tidy()
        epoch = self._restore(engine) if self.resume else 0
        if self.settings is not None and idist.get_rank() == 0:
            with writing(self.directory / SETTINGS) as path:
                write_json(path, self.settings)
        epochs = idist.all_gather(epoch) if idist.get_world_size() > 1 else [epoch]
        if len(set(cast(list[int], epochs))) > 1:
            raise UserError(
                f"The processes found the checkpoints of different epochs in {self.directory}: every machine must see "
                "the same output_dir."
            )

    def _tidy(self) -> None:
        for path in self.directory.glob(".*"):
            if HALF_WRITTEN.fullmatch(path.name):
                path.unlink()
        existing = [path for path in (self.path, self.previous) if path.exists()]
        if self.resume or not existing:
            return
        earlier = self.directory / "earlier"
        earlier.mkdir(exist_ok=True)
        for path in existing:
            os.replace(path, earlier / path.name)
        logger.info("The run begins anew (without --resume True); the checkpoints before it are in %s.", earlier)

    def _restore(self, engine: Engine) -> int:
        path, content = next(self._whole_checkpoints(), (None, {}))
        if path is None:
            return 0
        try:
            for name, state in self._all_states(engine).items():
                if name not in (SCALER, PRECISION) or content.get(name):
                    _load(state, content[name])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path} is of another run ({reason}). Take another output_dir, or the settings of that run."
            ) from error
        epoch = int(content["epoch"])
        engine.state.epoch = engine.state.checkpoint_epoch = epoch  # type: ignore[attr-defined]
        # Not the checkpoint's own number: with another batch size an epoch has other steps, and begins with the first.
        engine.state.iteration = epoch * (engine.state.epoch_length or 0)
        if idist.get_rank() == 0:
            logger.info("Going on after epoch %d of %s.", epoch, path)
        return epoch

    def _whole_checkpoints(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Those that can be read, the newest first; the others are named.

        Raises:
            UserError: when there are checkpoints, and none of them can be read.
        """
        damaged = []
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                content = read_checkpoint(path)
            except UserError as error:
                damaged.append(str(error))
                if idist.get_rank() == 0:
                    logger.warning("%s The one before it is taken, if there is one.", error)
            else:
                yield path, content
        if damaged:
            raise UserError(f"{' '.join(damaged)} Remove {self.directory} to begin anew.")

    def _all_states(self, engine: Engine) -> dict[str, Any]:
        scaler, inferer = getattr(engine, "scaler", None), getattr(engine, "inferer", None)
        unnamed = {SCALER: scaler, PRECISION: inferer if isinstance(inferer, MixedPrecision) else None}
        return {**self.states, **{name: state for name, state in unnamed.items() if state is not None}}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What :class:`RunCheckpoint` wrote.

    Raises:
        UserError: when the file is damaged: cut off, changed in any byte, or something else.
    """
    try:
        # Torch reads past damaged numbers; the sums that it writes beside them are looked at here only (0.1 s for the
        # 140 MB of ResNet-18 and Adam).
        with zipfile.ZipFile(path) as archive:
            if wrong := archive.testzip():
                raise UserError(f"{path} is damaged ({wrong}).")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:
        # Not torch's own words: they run over many lines and advise to load the file unsafely.
        raise UserError(f"{path} cannot be read ({type(error).__name__}): it is damaged.") from error
    if not isinstance(content, dict) or "epoch" not in content:
        raise UserError(f"{path} is no checkpoint of a run.")
    return content


def _load(state: Any, saved: Any) -> None:
    groups = getattr(state, "param_groups", [])
    rates = [group["lr"] for group in groups if "lr" in group]
    state.load_state_dict(saved)
    for group, rate in zip(getattr(state, "param_groups", []), rates, strict=True):
        if "initial_lr" not in group:  # which a scheduler puts there
            group["lr"] = rate
