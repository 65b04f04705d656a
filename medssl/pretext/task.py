"""What every pretext task is: a puzzle made from images, a head, and a loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone


@dataclass
class Pictures:
    """The puzzle of a batch to look at: references to tensors that exist anyway, turned into pictures by a handler.

    Attributes:
        panels: what goes in, ``[B, panels, *spatial]``; a row of panels is one puzzle.
        target: what the network should answer: numbers ``[B]`` or ``[B, …]`` that the task's ``describe`` puts into
            words, or images ``[B, *spatial]``.
        answer: what it did answer, in the same form; None where there is none to show.
    """

    panels: Tensor
    target: Tensor
    answer: Tensor | None = None

    @property
    def answered_by_images(self) -> bool:
        """Whether target and answer are images."""
        return self.target.shape[1:] == self.panels.shape[2:]


@dataclass
class PretextOutput:
    """What a task returns for a batch.

    Attributes:
        loss: a scalar with gradients.
        metrics: detached scalars by name; an ``accuracy`` stands beside its ``chance``, an ``error`` beside the
            ``baseline`` of a constant answer.
        pictures: the puzzle to look at.
    """

    loss: Tensor
    metrics: dict[str, Tensor]
    pictures: Pictures | None = None


class PretextTask(nn.Module, ABC):
    """Base of all pretext tasks. A task owns its head, never the backbone; all randomness is in :meth:`puzzle`.

    To add a task, write one file with a subclass and name it in ``medssl.pretext.registry``. It is built from the
    ``backbone`` that will see its puzzles, the ``image_size`` (spatial shape of the images) and values of its own.

    Attributes:
        question: what the network is asked, in a few words.
        smallest_batch: images that a mini-batch must hold for the puzzle to make sense.
        compares_images: whether the loss sets the features of a mini-batch's images (or tiles) against each other.
        copies: how often an image stands on the channel axis of what the backbone sees, see `copies_for`.
        needs: values without which it cannot be built.
        smallest_backbone: that can see its puzzles, for pictures and tests.
        asks_groups: whether `forward` takes as its last argument which images belong together: by ``volume``,
            ``study`` and ``patient``, as far as that is known, numbers ``[B]`` that are equal for images of one; or
            None where nobody says.
    """

    question: str
    smallest_batch: int = 1
    compares_images: bool = False
    copies: int = 1
    needs: tuple[str, ...] = ()
    smallest_backbone: str = "resnet10_quarter"
    asks_groups: bool = False

    @classmethod
    def copies_for(cls, values: Mapping[str, Any]) -> int:
        """``copies`` of a task that will be built with these values; asked before there is a backbone."""
        return cls.copies

    @abstractmethod
    def puzzle(self, images: Tensor) -> tuple[Any, Any]:
        """Make a puzzle from images ``[B, C, *spatial]``: ``(inputs, target)``, random, on the images' device."""

    @abstractmethod
    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Make a puzzle from the images, answer it and measure the answer."""

    def after_step(self, backbone: Backbone) -> None:
        """What a task does once after every step of the optimiser, such as letting a teacher follow the backbone."""

    def describe(self, target: Tensor) -> str:
        """One target (or answer) in words, for the picture of the puzzle."""
        return f"{target.item():.3g}"


def check_image_size(image_size: Sequence[int], backbone: Backbone, what: str = "images") -> None:
    """Refuse sizes that a task cannot give to its backbone.

    Args:
        image_size: spatial shape of what the backbone gets to see.
        backbone: the backbone.
        what: what it gets to see, for the message.

    Raises:
        UserError: when the dimensions differ or a side leaves no feature map.
    """
    if len(image_size) != backbone.spatial_dims:
        raise UserError(
            f"{what} with {len(image_size)} sides ({list(image_size)}) do not fit a backbone for "
            f"{backbone.spatial_dims}D."
        )
    if min(image_size) < backbone.smallest_side:
        raise UserError(
            f"{what} of {list(image_size)} are too small for {backbone.name}, which needs at least "
            f"{backbone.smallest_side} along every axis. Raise image_size or take another backbone."
        )


def check_values(what: str, constructor: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Refuse values of a config that a constructor does not know, and what is no number in place of one.

    Asked first, so that whatever the constructor stumbles over is a fault of ours.

    Args:
        what: whose values they are, for the message.
        constructor: that will be given the values by name.
        values: of its arguments; YAML takes ``1e-3`` for a text.

    Raises:
        UserError: names the value.
    """
    parameters = signature(constructor).parameters.values()
    defaults = {known.name: known.default for known in parameters if known.default is not known.empty}
    for name, value in values.items():
        if name not in defaults:
            raise UserError(
                f"{what} has no value {name!r}; there {'are ' + ', '.join(defaults) if defaults else 'is none'}."
            )
        if isinstance(defaults[name], (int, float)) and not isinstance(value, (int, float)):
            raise UserError(f"{what}: {name} must be a number, such as {defaults[name]}, got {value!r}.")


def check_positive(**numbers: float) -> None:
    """Raise `UserError` when one of the named numbers is not positive."""
    for name, number in numbers.items():
        if not number > 0:
            raise UserError(f"{name} must be positive, got {number}.")


def check_share(**shares: float) -> None:
    """Raise `UserError` when one of the named numbers does not lie strictly between 0 and 1."""
    for name, share in shares.items():
        if not 0 < share < 1:
            raise UserError(f"{name} must lie between 0 and 1, got {share}.")


def accuracy_metrics(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """``accuracy`` of logits ``[B, K]`` for classes ``[B]``, and ``chance`` (1/K) beside it, both detached scalars."""
    accuracy = (logits.detach().argmax(dim=1) == target).float().mean()
    return {"accuracy": accuracy, "chance": torch.full_like(accuracy, 1 / logits.shape[1])}


def classification(logits: Tensor, target: Tensor, panels: Tensor) -> PretextOutput:
    """Cross-entropy of logits ``[B, K]`` for classes ``[B]``, with their accuracy and the ``panels`` to look at."""
    pictures = Pictures(panels.detach(), target, logits.detach().argmax(dim=1))
    return PretextOutput(F.cross_entropy(logits, target), accuracy_metrics(logits, target), pictures)
