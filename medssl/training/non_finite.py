"""A training whose numbers are no longer finite ends, before that reaches a file."""

from typing import Any, cast

import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import Tensor

from medssl.errors import UserError

from .steps import step_output

ADVICE = (
    "Try a smaller --learning_rate, --amp False where mixed precision is on, or look for extreme values in the images."
)


class StopAtNonFinite:
    """Stop a trainer when a loss, or at the end of an epoch a weight, is infinite or NaN.

    Attach it before the handlers that validate and save, so that none of them meets such numbers.

    Args:
        interval: steps between two looks at the losses since the last; each look waits for the device.
    """

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval
        self._losses: list[Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check_losses)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check_weights)

    def clear(self, engine: Engine) -> None:
        """Forget the losses of an epoch that was cut off."""
        self._losses.clear()

    def collect(self, engine: Engine) -> None:
        """Keep the loss of a step on its device, and look at those kept if it is time."""
        self._losses.append(step_output(engine)[CommonKeys.LOSS].detach())
        if len(self._losses) == self.interval:
            self.check_losses(engine)

    def check_losses(self, engine: Engine) -> None:
        """Look at the losses since the last look.

        Raises:
            UserError: when one is not finite; names the step.
        """
        losses = torch.stack(self._losses).float().cpu() if self._losses else torch.zeros(1)
        wrong = losses.isfinite().logical_not().nonzero()
        if len(wrong):
            first, length = int(wrong[0]), engine.state.epoch_length or 1
            step = (engine.state.iteration - len(losses) + first) % length + 1
            raise UserError(
                f"The loss is {losses[first].item()} in epoch {engine.state.epoch}, step {step} of {length}. {ADVICE}"
            )
        self._losses.clear()

    def check_weights(self, engine: Engine) -> None:
        """Look at all weights and buffers of the engine's network.

        Raises:
            UserError: when one is not finite; names it.
        """
        state: dict[str, Any] = cast(Any, engine).network.state_dict()
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        finite = torch.stack([value.isfinite().all() for value in tensors.values()]).tolist()
        wrong = [name for name, good in zip(tensors, finite, strict=True) if not good]
        if wrong:
            raise UserError(
                f"After epoch {engine.state.epoch} {len(wrong)} of {len(finite)} weights of the network are not "
                f"finite, the first is {wrong[0]}. {ADVICE}"
            )
