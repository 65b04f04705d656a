"""Are gradients right in 16 bits on this processor? Asked with the first mini-batch, before a run trains in them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from math import isfinite
from typing import Any, cast

import ignite.distributed as idist
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from medssl.pretext import PretextModel

from .mixed_precision import CONVOLUTIONS, MixedPrecision, half_type

logger = logging.getLogger(__name__)

LAYERS = CONVOLUTIONS | {F.linear}
"""Functions of input and weight whose weight gradients are compared."""
LEAST_COSINE = 0.95
"""Of a layer's weight gradients in 16 and in 32 bits: right ones have 0.9999, one made of leftover memory about 0."""


class CheckPrecision:
    """Compare each layer's weight gradient in both precisions; if one is wrong in 16 bits, the run trains in 32.

    It takes the first mini-batch of a trainer on a CPU whose inferer is a :class:`MixedPrecision` (GPUs are trusted),
    says in one line what it found, and leaves weights, statistics, gradients and random numbers as they were. Where the
    schedule draws a task for each mini-batch, it tries every task. It takes as long as about three steps of each.

    A layer's two gradients are made of the same input and the same gradient of its output. Those of two whole steps
    would tell faults from rounding no longer, which batch normalisation amplifies: in a ResNet-18 a layer's have
    cosines of 0.65 to 0.93 on a processor that imitates bfloat16 and makes no mistake. It matters little to training,
    for those of two mini-batches have cosines of about 0.
    """

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Look, unless that was done before, be it in the run that this one goes on from."""
        trainer = cast(Any, engine)
        precision, device = trainer.inferer, trainer.state.device
        if not isinstance(precision, MixedPrecision) or not precision.enabled or device.type != "cpu":
            return
        if precision.right is not None:
            return
        faults = find_faults(trainer)
        if idist.get_world_size() > 1:  # all processes must compute alike
            faults = [fault for fault in cast(list[str], idist.all_gather("".join(faults[:1]))) if fault]
        precision.right = not faults
        if idist.get_rank() == 0:
            half = str(half_type(device)).removeprefix("torch.")
            if faults:
                logger.warning("Training in 32 bits, for in %s this processor gets %s wrong.", half, faults[0])
            else:
                logger.info("Training in %s: on the first mini-batch its gradients are those of 32 bits.", half)


def find_faults(trainer: Any) -> list[str]:
    """The weight gradients that a trainer's inferer gets wrong on its current mini-batch, in words; nothing is changed.

    Args:
        trainer: a ``SupervisedTrainer`` that has begun a step on a CPU.
    """
    network = getattr(trainer.network, "_orig_mod", trainer.network)  # of torch.compile, which keeps the kernels
    before = deepcopy(network.state_dict())
    layers = _ComparedLayers(network)
    network.train()
    with torch.random.fork_rng(devices=[]):
        images, targets, *more = trainer.prepare_batch(
            trainer.state.batch, trainer.state.device, trainer.non_blocking, **trainer.to_kwargs
        )
        arguments, options = more or ((), {})
        for _ in _kinds_of_step(network):
            with layers:
                output = trainer.inferer(images, network, *arguments, **options)
            trainer.loss_function(output, targets).mean().backward()
            layers.look_for_infinite()
            network.zero_grad(set_to_none=True)
    network.load_state_dict(before)
    return layers.faults


def _kinds_of_step(network: nn.Module) -> Iterator[None]:
    """The tasks one by one where the schedule draws one for each mini-batch; a single step for every other network."""
    for model in network.modules():
        if isinstance(model, PretextModel) and model.schedule == "alternate":
            for task in model.tasks:
                with model.only(task):
                    yield
            return
    yield


class _ComparedLayers(TorchFunctionMode):
    """Compares the weight gradient of every layer that runs under it, as it comes out of the backward pass.

    Args:
        network: that names the weights.

    Attributes:
        faults: what is wrong, in words.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.names = {weight: name for name, weight in network.named_parameters()}
        self.faults: list[str] = []

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function not in LAYERS or len(args) < 2 or not torch.is_autocast_enabled("cpu"):
            return function(*args, **kwargs)
        images, weight, *others = args
        alias = weight.view_as(weight)  # whose gradient is that of this use alone
        output = function(images, alias, *others, **kwargs)
        if not alias.requires_grad or not output.requires_grad:
            return output
        seen = images.detach().to(output.dtype)  # as autocast rounds them
        arrived: list[Tensor] = []

        def compare(gradient: Tensor) -> None:
            with torch.enable_grad():
                full = weight.detach().clone().requires_grad_()
                again = function(seen.float(), full, *others, **kwargs)
            (expected,) = torch.autograd.grad(again, full, arrived.pop().float())
            cosine = _cosine(gradient, expected)
            if not cosine > LEAST_COSINE:  # NaN, too
                how = f"cosine {cosine:.2f}" if isfinite(cosine) else "not finite"
                self.faults.append(f"the gradient of {self.names.get(weight, 'a layer')} ({how})")

        output.register_hook(arrived.append)
        alias.register_hook(compare)
        return output

    def look_for_infinite(self) -> None:
        """Add the gradients of all weights that are not finite."""
        gradients = ((name, weight.grad) for weight, name in self.names.items() if weight.grad is not None)
        self.faults += [f"the gradient of {name} (not finite)" for name, one in gradients if not one.isfinite().all()]


def _cosine(one: Tensor, other: Tensor) -> float:
    """Of two gradients; 1 where they are equal, as two of 0 are, NaN where one is not finite."""
    one, other = one.flatten().double(), other.flatten().double()
    return 1.0 if torch.equal(one, other) else (one @ other / (one.norm() * other.norm())).item()
