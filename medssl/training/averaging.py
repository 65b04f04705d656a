"""Weights beside those that a step moves: their moving average, and what is kept as it was."""

import copy
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from medssl.errors import UserError
from medssl.networks import new_layers

from .optimizing import Steps
from .options import FROZEN


class AveragedWeights:
    """The exponential moving average of all weights, and of batch normalisation's running statistics, over the steps.

    The statistics are averaged as the weights are, for those of the last step alone are of another network; numbers
    that count are copied. In the first steps the average follows faster (decay (1 + n) / (10 + n) after n steps, where
    that is less), so that a short training is not held by the weights that it began with.

    It is a handler of the trainer, and one of the states of `RunCheckpoint`. Ignite's ``EMAHandler`` leaves the
    statistics as they are or lets both networks share the numbers that count, and averages at each mini-batch, also
    where several make a step.

    Args:
        network: a classifier or a backbone in training, on its device; a wrapper for distributed training is taken off.
        decay: share of the average that stays in each step, such as 0.99; 0 for no average.

    Attributes:
        network: what to validate and to keep: the average, or the network itself where there is none.

    Raises:
        UserError: for a decay outside 0 … 1.
    """

    def __init__(self, network: nn.Module, decay: float = 0.0) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"average is the share of an average that stays in a step, from 0, below 1, got {decay}.")
        self.trained: nn.Module = network.module if isinstance(network, DistributedDataParallel) else network
        self.decay = decay
        self.network = copy.deepcopy(self.trained).requires_grad_(False) if decay else self.trained

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, before or after the `RunCheckpoint`, which restores the average on resuming."""
        if self.decay:
            engine.add_event_handler(Events.STARTED, self.begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def begin(self, engine: Engine) -> None:
        """Begin with the weights that the training begins with."""
        if not engine.state.epoch:
            self.network.load_state_dict(self.trained.state_dict())

    def __call__(self, engine: Engine) -> None:
        """Take a step into the average."""
        steps = Steps(engine)
        if not steps.is_one:
            return
        decay = min(self.decay, (1 + steps.done) / (10 + steps.done))
        averaged, current = self.network.state_dict(), self.trained.state_dict()
        names = [name for name, value in averaged.items() if value.is_floating_point()]
        get_ema_multi_avg_fn(decay)([averaged[name] for name in names], [current[name] for name in names], None)
        for name in averaged.keys() - names:
            averaged[name].copy_(current[name])

    def state_dict(self) -> dict[str, Any]:
        """The average; nothing where there is none."""
        return dict(self.network.state_dict()) if self.decay else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the average; a run that began without one begins it with the weights that it has."""
        if self.decay:
            self.network.load_state_dict(state or self.trained.state_dict())


def freeze(network: nn.Module, frozen: str = "nothing") -> nn.Module:
    """Keep parts of a network as they are, in training too; what stands behind its backbone always learns.

    Args:
        network: a classifier or a segmenter, which is changed.
        frozen: `nothing`; `norm`: the running statistics of batch normalisation, which are then used in training, too;
            `backbone`: these and all weights of the backbone.

    Returns:
        The network.

    Raises:
        UserError: for another word.
    """
    if frozen not in FROZEN:
        raise UserError(f"frozen is {frozen!r}, and must be one of {', '.join(FROZEN)}.")
    if frozen != "nothing":
        # A trainer puts the whole network into training mode at each step, so this comes after.
        network.register_forward_pre_hook(_keep_statistics)
    if frozen == "backbone":
        network.requires_grad_(False)
        for layer in new_layers(network):
            layer.requires_grad_(True)
    return network


def _keep_statistics(network: nn.Module, _: Any) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
