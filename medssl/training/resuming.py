"""What lets an interrupted run go on as if it had never stopped: its state after an epoch, and the randomness of each.

The state is that of the last epoch and of the one before.
"""

import logging
import os
import signal
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.utils import manual_seed
from monai.data.utils import set_rnd
from torch.utils.data import Dataset, DistributedSampler, Sampler

from medssl import runs
from medssl.errors import UserError
from medssl.files import remove_half_written, write_json, writing

from .mixed_precision import MixedPrecision
from .saved_weights import write_tensors

logger = logging.getLogger(__name__)

SETTINGS = "settings.json"


class RunCheckpoint:
    """Write ``last.pt`` after each epoch, keep the one before as ``previous.pt``, and go on from them when asked to.

    Together with `ReseedEachEpoch`, which makes the randomness of an epoch a function of its number, the states kept
    here are all that a run needs to go on as if it had never stopped. Of mixed precision, the scaler, which a trainer
    makes only when it starts, and what `CheckPrecision` found are kept without being named.

    A run that begins anew moves the checkpoints of an earlier one into ``earlier/``. A damaged checkpoint is named, and
    the one before is taken. When the learning rate of an optimizer without a scheduler was changed in the config, a
    resumed run takes the new one.

    Ignite's ``Checkpoint`` would not do, nor MONAI's ``CheckpointSaver`` over it: it removes the oldest file before it
    writes the newest, so that a full disk costs one; a resumed run forgets which files are its own; and both load what
    torch reads, which looks at no sums. (MONAI's writes in place, besides.)

    Args:
        output_dir: folder of the run; the checkpoints stand in ``checkpoints/``.
        states: what to keep, by name: objects with ``state_dict`` and ``load_state_dict``, such as the network, the
            optimizer, a scheduler.
        resume: whether to go on from the last checkpoint where there is one.
        interval: epochs between two checkpoints; the last epoch always has one.
        settings: what a run may not change when it goes on, kept beside as ``settings.json``; see
            `medssl.training.check_resumed`.
    """

    def __init__(
        self,
        output_dir: str | Path,
        states: Mapping[str, Any],
        resume: bool = False,
        interval: int = 1,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.directory = Path(output_dir) / runs.CHECKPOINTS
        self.path, self.previous = self.directory / "last.pt", self.directory / "previous.pt"
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
        epoch = engine.state.epoch
        if epoch % self.interval and epoch != engine.state.max_epochs and not engine.should_terminate:
            return
        content = {name: state.state_dict() for name, state in self._all_states(engine).items()}
        content |= {"epoch": epoch, "iteration": engine.state.iteration}
        write_tensors(content, self.path, before=self.previous)
        cast(Any, engine.state).checkpoint_epoch = epoch

    def start(self, engine: Engine) -> None:
        """Restore every state and the trainer's epoch, or make room for a run that begins anew.

        Raises:
            UserError: when no checkpoint can be read, when it belongs to another kind of run, or when processes of a
                distributed run see different ones.
        """
        if engine.state.epoch:  # a trainer that is run further, as in federated learning, has its state
            return
        first = idist.get_rank() == 0
        if first:
            remove_half_written(self.directory)
        if first and not self.resume:
            self._set_earlier_ones_aside()
        epoch = self._restore(engine) if self.resume else 0
        if first and self.settings is not None:
            with writing(self.directory / SETTINGS) as path:
                write_json(path, self.settings)
        if idist.get_world_size() > 1 and len(set(cast(list[int], idist.all_gather(epoch)))) > 1:
            raise UserError(
                f"The processes found the checkpoints of different epochs in {self.directory}: every machine must see "
                "the same output_dir."
            )

    def _set_earlier_ones_aside(self) -> None:
        existing = [path for path in (self.path, self.previous) if path.exists()]
        earlier = self.directory / "earlier"
        for path in existing:
            earlier.mkdir(exist_ok=True)
            os.replace(path, earlier / path.name)
        if existing:
            logger.info("The run begins anew (without --resume True); the checkpoints before it are in %s.", earlier)

    def _restore(self, engine: Engine) -> int:
        damaged = []
        for path in filter(Path.exists, (self.path, self.previous)):
            try:
                content = read_checkpoint(path)
            except UserError as error:
                damaged.append(str(error))
                if idist.get_rank() == 0:
                    logger.warning("%s The one before it is taken, if there is one.", error)
            else:
                return self._go_on_from(path, content, engine)
        if damaged:
            raise UserError(f"{' '.join(damaged)} Remove {self.directory} to begin anew.")
        return 0

    def _go_on_from(self, path: Path, content: Mapping[str, Any], engine: Engine) -> int:
        try:
            for name, state in self._all_states(engine).items():
                if name in self.states or content.get(name):  # it may have been written without the unnamed ones
                    _load(state, content[name])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path} is of another run, or another version of medssl ({reason}). Take another output_dir, or the "
                "settings and the version of that run."
            ) from error
        state, epoch = cast(Any, engine.state), int(content["epoch"])
        state.epoch = state.checkpoint_epoch = epoch
        # Not the checkpoint's own number: with another batch size an epoch has other steps, and begins with the first.
        state.iteration = epoch * (state.epoch_length or 0)
        if idist.get_rank() == 0:
            logger.info("Going on after epoch %d of %s.", epoch, path)
        return epoch

    def _all_states(self, engine: Engine) -> dict[str, Any]:
        scaler, inferer = getattr(engine, "scaler", None), getattr(engine, "inferer", None)
        unnamed = {"amp_scaler": scaler, "precision": inferer if isinstance(inferer, MixedPrecision) else None}
        return {**self.states, **{name: state for name, state in unnamed.items() if state is not None}}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `RunCheckpoint` wrote.

    Raises:
        UserError: when the file is damaged: cut off, changed in any byte, or something else.
    """
    try:
        # Torch reads past damaged numbers; the sums that it writes beside them are looked at here only (0.1 s for the
        # 140 MB of ResNet-18 and Adam).
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
        content = {} if wrong else torch.load(path, map_location="cpu", weights_only=True)
        wrong = wrong or ("" if "epoch" in content else "no checkpoint of a run")
    except Exception as error:
        # Not torch's own words: they run over many lines and advise to load the file unsafely.
        raise UserError(f"{path} cannot be read ({type(error).__name__}): it is damaged.") from error
    if wrong:
        raise UserError(f"{path} is damaged ({wrong}).")
    return dict(content)


def _load(state: Any, saved: Any) -> None:
    before = [dict(group) for group in getattr(state, "param_groups", [])]
    state.load_state_dict(saved)
    for group, one in zip(getattr(state, "param_groups", []), before, strict=True):
        if "initial_lr" not in one:  # which a scheduler puts there; the run before may have had one
            group["lr"] = one["lr"]
            group.pop("initial_lr", None)


class ReseedEachEpoch:
    """Reseed Python's, numpy's and torch's global generators, and MONAI's random transforms, when an epoch begins.

    Processes of a distributed run get different seeds, for they see different images.

    Args:
        seed: of the run.
        dataset: whose random transforms are reseeded; needed where the loader has no workers (workers get theirs from
            torch's generator).
        rank: number of the process.
        sampler: of a distributed run, which learns the number of the epoch; of others nothing is asked.
    """

    def __init__(
        self, seed: int, dataset: Dataset | None = None, rank: int = 0, sampler: Sampler | None = None
    ) -> None:
        self.seed = seed
        self.dataset = dataset
        self.rank = rank
        self.sampler = sampler

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Reseed for the epoch that begins."""
        # Far enough apart that neither epochs nor processes nor runs with neighbouring seeds share one.
        seed = (self.seed * 1_000_003 + engine.state.epoch * 1_009 + self.rank) % 2**31
        manual_seed(seed)
        if self.dataset is not None:
            set_rnd(self.dataset, seed)
        # MONAI's trainer does so for a loader's own sampler, and does not find one that a batch sampler has.
        if isinstance(self.sampler, DistributedSampler):
            self.sampler.set_epoch(engine.state.epoch)


def run_training(trainer: Engine) -> None:
    """Run a trainer; to whatever ends it early, add as a note which checkpoint is the last.

    While it runs, SIGTERM does what Ctrl-C does. Neither writes a checkpoint: one in the middle of an epoch would lose
    the run's equality with an undisturbed one.
    """
    handles_signals = threading.current_thread() is threading.main_thread()  # Python does so nowhere else
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if handles_signals else None
    try:
        trainer.run()
    except BaseException as error:
        if epoch := getattr(trainer.state, "checkpoint_epoch", 0):
            error.add_note(f"The last checkpoint is that of epoch {epoch}: add --resume True to go on from there.")
        elif (
            not isinstance(error, UserError) or trainer.state.iteration
        ):  # one that a checkpoint was refused with has said so
            error.add_note("There is no checkpoint yet: it begins with the first epoch again.")
        raise
    finally:
        if handles_signals:
            signal.signal(signal.SIGTERM, before)
