"""Several pretext tasks on one backbone: what a trainer trains."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone

from .registry import Tasks, build_tasks
from .self_assl import SELF_ASSL, Complement
from .task import PretextOutput, PretextTask


@dataclass
class PretextModelOutput:
    """What a batch gave.

    Attributes:
        loss: the total, a scalar with gradients.
        tasks: what each task that saw the batch returned, by the task's name.
        shares: of every task of the schedule in the batch, detached; they sum to 1. Under ``sum`` it is the size of the
            weighted loss over the sum of these sizes (a loss may be negative, as SimSiam's is); under ``alternate`` 1
            for the task that was drawn and 0 for the others, so that its mean is the share of the steps.
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
        weights: weight by name; none of them: equal. They are scaled to sum to 1.
        seed: of the draws of ``alternate``.
        beside: tasks by name that see every batch whatever the schedule is, and whose losses are added as they are.

    Raises:
        UserError: when there is no task, a name occurs twice, the schedule is unknown, or not every task has a
            positive weight.
    """

    def __init__(
        self,
        backbone: Backbone,
        tasks: Mapping[str, PretextTask],
        schedule: Literal["sum", "alternate"] = "sum",
        weights: Mapping[str, float] | None = None,
        seed: int = 0,
        beside: Mapping[str, PretextTask] | None = None,
    ) -> None:
        super().__init__()
        if not tasks:
            raise UserError("There is no pretext task: name one, such as --tasks rotation.")
        if twice := set(tasks) & set(beside or ()):
            raise UserError(f"Two tasks are called {', '.join(twice)}: rename one of them.")
        if schedule not in ("sum", "alternate"):
            raise UserError(f"schedule must be sum or alternate, got {schedule!r}.")
        weights = dict(weights or dict.fromkeys(tasks, 1.0))
        if set(weights) != set(tasks) or not all(0 < weight < float("inf") for weight in weights.values()):
            raise UserError(f"weights must be a positive number for each of {', '.join(tasks)}, got {weights}.")
        self.backbone = backbone
        self.tasks = nn.ModuleDict(tasks)
        self.beside = nn.ModuleDict(beside or {})
        self.schedule = schedule
        self.weights = {name: weights[name] / sum(weights.values()) for name in tasks}
        self.seed = seed
        self.steps = 0
        self._only: str | None = None

    @property
    def all_tasks(self) -> dict[str, PretextTask]:
        """Every task by name, those beside the schedule last."""
        return cast(dict[str, PretextTask], {**dict(self.tasks.items()), **dict(self.beside.items())})

    @contextmanager
    def only(self, task: str) -> Iterator[None]:
        """Give every mini-batch to one task meanwhile, where the schedule draws one; its draws are not used up."""
        self._only = task
        try:
            yield
        finally:
            self._only = None

    def forward(self, images: Tensor, groups: Mapping[str, Tensor] | None = None) -> PretextModelOutput:
        """Total loss and every task's own output.

        Args:
            images: ``[B, C, *spatial]``.
            groups: which of them belong together, for the tasks with ``asks_groups``, see `PretextTask`.
        """
        output = self._scheduled(images, groups)
        for name, task in self.beside.items():
            output.tasks[name] = self._solve(task, images, groups)
            output.loss = output.loss + output.tasks[name].loss
        return output

    def _solve(self, task: nn.Module, images: Tensor, groups: Mapping[str, Tensor] | None) -> PretextOutput:
        more = (groups,) if task.asks_groups else ()
        output: PretextOutput = task(self.backbone, images, *more)
        return output

    def _scheduled(self, images: Tensor, groups: Mapping[str, Tensor] | None) -> PretextModelOutput:
        if self.schedule == "alternate":
            drawn = self._only or self._draw_task()
            output = self._solve(self.tasks[drawn], images, groups)
            shares = {name: images.new_full((), name == drawn, dtype=torch.float32) for name in self.tasks}
            return PretextModelOutput(output.loss, {drawn: output}, shares)
        outputs = {name: self._solve(task, images, groups) for name, task in self.tasks.items()}
        weighted = torch.stack([self.weights[name] * output.loss for name, output in outputs.items()])
        return PretextModelOutput(weighted.sum(), outputs, dict(zip(outputs, _shares(weighted), strict=True)))

    def after_step(self) -> None:
        """Let every task do what it does after a step of the optimiser; a trainer calls this once a step."""
        for task in self.all_tasks.values():
            task.after_step(self.backbone)

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


def build_pretext_model(
    backbone: Backbone,
    image_size: Sequence[int],
    tasks: Tasks,
    schedule: Literal["sum", "alternate"] = "sum",
    weights: Mapping[str, float] | None = None,
    seed: int = 0,
    first: str | Path = "",
    similarity_weight: float = 1.0,
) -> PretextModel:
    """A `PretextModel` of tasks that are values.

    Args:
        backbone: with as many channels as `copies_of` the tasks.
        image_size: spatial shape of the images.
        tasks: see `medssl.pretext.named_tasks`.
        schedule, weights, seed: see `PretextModel`.
        first: a first network from whose features the new ones are to differ (Self-ASSL), see `Complement`; "": none.
        similarity_weight: of that term.

    Raises:
        UserError: see `named_tasks`, `build_task`, `PretextModel` and `Complement`.
        MissingFileError: there is no such first network.
    """
    built = build_tasks(tasks, backbone, image_size)
    beside = {SELF_ASSL: Complement(first, backbone.spatial_dims, similarity_weight)} if first else {}
    return PretextModel(backbone, built, schedule, weights, seed, beside)
