"""The momentum teacher of BYOL and MoCo: a slow copy of the backbone and its head."""

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone


class Teacher(nn.Module):
    """A backbone and a head whose weights follow those of a student: θ' ← m θ' + (1 − m) θ (He et al. 2020, Eq. 2).

    The momentum m rises as (1 + s) / (10 + s) over the steps s until it reaches its value, so that the teacher soon
    forgets the weights that it began with, random ones or those of a backbone that was given others since.

    It is always in evaluation mode, and the running statistics of its batch normalisations follow the student's as its
    weights do (Cai et al. 2021): what it says of an image does not depend on the mini-batch, so the student finds no
    answer in the statistics of the mini-batch (He et al. 2020, Sec. 3.3), nor need processes shuffle images or
    exchange statistics. No gradient reaches it. Its weights are in the task's state dict, so a resumed run goes on with
    the same teacher.

    Args:
        backbone: to copy.
        head: to copy.
        momentum: m; the shorter the training the smaller: the teacher looks 1 / (1 − m) steps back.

    Raises:
        UserError: when the momentum does not lie between 0 and 1.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, momentum: float) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise UserError(f"momentum must lie between 0 and 1, such as 0.99, got {momentum}.")
        self.momentum = momentum
        self.steps = 0
        self.backbone = copy.deepcopy(backbone).requires_grad_(False)
        self.head = copy.deepcopy(head).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, views: Tensor) -> Tensor:
        """Embeddings ``[B, D]`` of views ``[B, C, *spatial]``, without gradient."""
        embeddings: Tensor = self.head(self.backbone.pool(self.backbone(views)))
        return embeddings

    @torch.no_grad()
    def follow(self, backbone: Backbone, head: nn.Module) -> None:
        """Come closer to the student; once after each step."""
        momentum = min(self.momentum, (1 + self.steps) / (10 + self.steps))
        mine, theirs = (
            [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
            for parts in ((self.backbone, self.head), (backbone, head))
        )
        numbers = [tensor.is_floating_point() for tensor in mine]
        torch._foreach_lerp_(
            [tensor for tensor, number in zip(mine, numbers, strict=True) if number],
            [tensor for tensor, number in zip(theirs, numbers, strict=True) if number],
            1 - momentum,
        )
        self.steps += 1

    def get_extra_state(self) -> dict[str, Any]:
        """The number of the step, kept in the state dict."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on where the checkpoint stopped."""
        self.steps = int(state["steps"])
