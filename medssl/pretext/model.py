"""Several pretext tasks on one backbone: what a trainer trains."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone

from .task import PretextOutput, PretextTask


@dataclass
class PretextModelOutput:
    """What a batch gave.

    Attributes:
        loss: the total, a scalar with gradients.
        tasks: what each task that saw the batch returned, by the task's name.
        shares: of every task in the batch, detached; they sum to 1. Under ``sum`` it is the size of the weighted loss
            over the sum of these sizes (a loss may be negative, as SimSiam's is); under ``alternate`` 1 for the task
            that was drawn and 0 for the others, so that its mean is the share of the steps.
    """

    loss: Tensor
    tasks: dict[str, PretextOutput]
    shares: dict[str, Tensor]


class PretextModel(nn.Module):
    """One backbone shared by named tasks, each with its own head.

    Schedules:

    - ``sum``: every batch is given to every task; the loss is the weighted sum (Dong et al. 2024, Eq. 3).
    - ``alternate``: every batch is given to one task, drawn at random in proportion to the weights (Zhu et al. 2020,
      Sec. 3). The draw depends on ``seed`` and the number of the step alone, so that all processes of a distributed run
      draw the same task and a resumed run goes on with the same draws.

    Args:
        backbone: the shared backbone.
        tasks: task by name; the name appears in logs.
        schedule: ``sum`` or ``alternate``.
        weights: weight by name; by default equal. They are scaled to sum to 1.
        seed: of the draws of ``alternate``.

    Raises:
        UserError: when there is no task, the schedule is unknown, or not every task has a positive weight.
    """

    def __init__(
        self,
        backbone: Backbone,
        tasks: Mapping[str, PretextTask],
        schedule: Literal["sum", "alternate"] = "sum",
        weights: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not tasks:
            raise UserError("There is no pretext task: add a mix-in such as configs/pretext/rotation.yaml.")
        if schedule not in ("sum", "alternate"):
            raise UserError(f"schedule must be sum or alternate, got {schedule!r}.")
        weights = dict.fromkeys(tasks, 1.0) if weights is None else dict(weights)
        if set(weights) != set(tasks) or not all(0 < weight < float("inf") for weight in weights.values()):
            raise UserError(f"weights must be a positive number for each of {', '.join(tasks)}, got {weights}.")
        self.backbone = backbone
        self.tasks = nn.ModuleDict(tasks)
        self.schedule = schedule
        self.weights = {name: weights[name] / sum(weights.values()) for name in tasks}
        self.seed = seed
        self.steps = 0
        self._only: str | None = None

    @contextmanager
    def only(self, task: str) -> Iterator[None]:
        """Give every mini-batch to one task meanwhile, where the schedule draws one; its draws are not used up."""
        self._only = task
        try:
            yield
        finally:
            self._only = None

    def forward(self, images: Tensor) -> PretextModelOutput:
        """Total loss and every task's own output for images ``[B, C, *spatial]``."""
        if self.schedule == "alternate":
            drawn = self._only or self._draw_task()
            output = self.tasks[drawn](self.backbone, images)
            shares = {name: images.new_full((), name == drawn, dtype=torch.float32) for name in self.tasks}
            return PretextModelOutput(output.loss, {drawn: output}, shares)
        outputs = {name: task(self.backbone, images) for name, task in self.tasks.items()}
        weighted = torch.stack([self.weights[name] * output.loss for name, output in outputs.items()])
        return PretextModelOutput(weighted.sum(), outputs, dict(zip(outputs, _shares(weighted), strict=True)))

    def _draw_task(self) -> str:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.steps)
        self.steps += 1
        weights = torch.tensor([self.weights[name] for name in self.tasks])
        return list(self.tasks)[int(torch.multinomial(weights, 1, generator=generator))]

    def get_extra_state(self) -> dict[str, Any]:
        """The number of the step, kept in the state dict."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on with the draws where the checkpoint stopped."""
        self.steps = int(state["steps"])


def _shares(losses: Tensor) -> Tensor:
    sizes = losses.detach().abs()
    return sizes / sizes.sum().clamp(min=torch.finfo(sizes.dtype).tiny)
