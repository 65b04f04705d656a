"""Classification with partial labels: the losses of findings, and of classes that exclude each other."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError

from .precision import at_least_single

LABEL_LOSSES = ("cross_entropy", "asymmetric")
"""Kinds of `label_loss`."""


def partial_bce(logits: Tensor, labels: Tensor, positive_weight: Tensor, negative_weight: Tensor) -> Tensor:
    """Weighted binary cross-entropy over the known labels (Dong et al. 2024, Eq. 1), their mean.

    Args:
        logits: ``[B, K]``, finite.
        labels: ``[B, K]`` of 1, 0 and NaN (unknown); of mixed images also between 1 and 0.
        positive_weight: w₊ of each class, ``[K]``.
        negative_weight: w₋ of each class, ``[K]``.

    Returns:
        A scalar, float32 at least; 0 (with zero gradients) when the batch has no known label.
    """
    known = labels.isfinite()
    logits = at_least_single(logits)  # a sum in half precision rounds, or overflows
    # Of an unknown label the weight is 0, in the gradient too. (Taking the known entries out costs more than it saves.)
    target = torch.where(known, labels, 0)
    of_positive = positive_weight * target
    weight = of_positive + negative_weight * (1 - target)
    # w₊ y and w₋ (1 - y) as one weight and the share of the first in it: 1 or 0 but for mixed images.
    share = of_positive / weight.clamp(min=torch.finfo(weight.dtype).tiny)
    total = F.binary_cross_entropy_with_logits(logits, share.to(logits.dtype), weight * known, reduction="sum")
    return total / known.sum().clamp(min=1)


class PartialBCELoss(nn.Module):
    """Eq. 1 of Dong et al. 2024 with unknown labels: w₊ = n₋ / (n₊ + n₋) and w₋ = n₊ / (n₊ + n₋) of each class.

    A class that lacks positive or negative cases would get a weight of 0 for all it has, and so teach nothing; it gets
    ½ and ½ instead.

    Args:
        positive: n₊, known positive cases of each class in the training split.
        negative: n₋, known negative cases of each class.
        balance: whether the rarer outcome of a class counts for more; without, both weights are ½.
    """

    positive_weight: Tensor
    negative_weight: Tensor

    def __init__(
        self, positive: Sequence[float] | Tensor, negative: Sequence[float] | Tensor, balance: bool = True
    ) -> None:
        super().__init__()
        positive = torch.as_tensor(positive, dtype=torch.float32)
        negative = torch.as_tensor(negative, dtype=torch.float32)
        balanced = (positive == 0) | (negative == 0) | (not balance)
        total = (positive + negative).clamp(min=1)
        self.register_buffer("positive_weight", torch.where(balanced, 0.5, negative / total))
        self.register_buffer("negative_weight", torch.where(balanced, 0.5, positive / total))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See :func:`partial_bce`.

        Raises:
            UserError: when the shapes differ or the class counts are others than at construction.
        """
        _check_shapes(logits, labels, len(self.positive_weight))
        # A buffer moves with the module; a loss that a config builds is never moved, so it follows the logits.
        weights = self.positive_weight.to(logits.device), self.negative_weight.to(logits.device)
        return partial_bce(logits, labels, *weights)


def asymmetric_partial(
    logits: Tensor,
    labels: Tensor,
    positive_weight: Tensor,
    negative_weight: Tensor,
    gamma_positive: float = 0.0,
    gamma_negative: float = 4.0,
    margin: float = 0.05,
) -> Tensor:
    """Asymmetric loss (Ridnik et al. 2021, Eq. 7) over the known labels, their mean: easy negatives hardly count.

    A positive label costs -(1 - p)^γ₊ log p, a negative one -q^γ₋ log(1 - q) with q = max(p - m, 0): nothing where the
    network gives it less than m.

    Args:
        logits: ``[B, K]``, finite.
        labels: ``[B, K]`` of 1, 0 and NaN (unknown); of mixed images also between 1 and 0.
        positive_weight: of each class, ``[K]``; 1 in the paper.
        negative_weight: likewise.
        gamma_positive: γ₊, 0 or from 1 on.
        gamma_negative: γ₋, likewise.
        margin: m, from 0 to below 1.

    Returns:
        A scalar, float32 at least; 0 (with zero gradients) when the batch has no known label.
    """
    known = labels.isfinite()
    logits = at_least_single(logits)
    target = torch.where(known, labels, 0)
    probability = logits.sigmoid()
    shifted = (probability - margin).clamp(min=0)
    of_positive = (1 - probability) ** gamma_positive * F.logsigmoid(logits)
    of_negative = shifted**gamma_negative * (1 - shifted).clamp(min=1e-8).log()  # 1e-8: as the authors' code
    weighted = positive_weight * target * of_positive + negative_weight * (1 - target) * of_negative
    return -(weighted * known).sum() / known.sum().clamp(min=1)


class AsymmetricPartialLoss(PartialBCELoss):
    """The asymmetric loss of `asymmetric_partial` with the weights of `PartialBCELoss`.

    It was made for many findings of which an image has few. Weights that balance the classes pull the other way, so try
    ``balance`` off with it.

    Args:
        positive: n₊, known positive cases of each class in the training split.
        negative: n₋, known negative cases of each class.
        balance: whether the rarer outcome of a class counts for more; without, both weights are ½.
        gamma_positive: γ₊, 0 or from 1 on.
        gamma_negative: γ₋, likewise.
        margin: m, from 0 to below 1.

    Raises:
        UserError: for numbers out of these ranges.
    """

    def __init__(
        self,
        positive: Sequence[float] | Tensor,
        negative: Sequence[float] | Tensor,
        balance: bool = True,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        margin: float = 0.05,
    ) -> None:
        super().__init__(positive, negative, balance)
        if any(0 != gamma < 1 for gamma in (gamma_positive, gamma_negative)) or not 0 <= margin < 1:
            raise UserError(
                "The asymmetric loss needs exponents of 0 or at least 1 and a margin from 0 to below 1, got "
                f"{gamma_positive:g}, {gamma_negative:g} and {margin:g}."
            )
        self.numbers = gamma_positive, gamma_negative, margin

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See :func:`asymmetric_partial`.

        Raises:
            UserError: when the shapes differ or the class counts are others than at construction.
        """
        _check_shapes(logits, labels, len(self.positive_weight))
        weights = self.positive_weight.to(logits.device), self.negative_weight.to(logits.device)
        return asymmetric_partial(logits, labels, *weights, *self.numbers)


def partial_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy over the images whose class is known, their mean.

    Args:
        logits: ``[B, K]``.
        labels: ``[B, K]``, one-hot, or of mixed images shares that sum to 1; a row of NaN is unknown.
        weight: of each class, ``[K]``.

    Returns:
        A scalar; 0 (with zero gradients) when the batch has no known label.
    """
    target = torch.where(labels.isfinite(), labels, 0)
    known = target.sum(dim=1) > 0
    # Torch's own weighted mean divides by the weights of the batch's classes: NaN when all is unknown, and in a batch
    # of one class its weight would do nothing.
    return -(weight * target * F.log_softmax(logits, dim=1)).sum() / known.sum().clamp(min=1)


class PartialCrossEntropyLoss(nn.Module):
    """Cross-entropy for classes that exclude each other, with unknown labels and the rare classes weighted up.

    The weights are the inverse frequencies of the classes, scaled to a mean of 1 over the classes that occur.

    Args:
        positive: known cases of each class in the training split.
        balance: whether rare classes count for more; without, all weights are 1.
    """

    weight: Tensor

    def __init__(self, positive: Sequence[float] | Tensor, balance: bool = True) -> None:
        super().__init__()
        positive = torch.as_tensor(positive, dtype=torch.float32)
        occurs = (positive > 0) & balance
        inverse = torch.where(occurs, 1 / positive.clamp(min=1), 0)
        weight = inverse * occurs.sum() / inverse.sum().clamp(min=torch.finfo(torch.float32).tiny)
        self.register_buffer("weight", torch.where(occurs, weight, 1))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See :func:`partial_cross_entropy`.

        Raises:
            UserError: when the shapes differ or the class counts are others than at construction.
        """
        _check_shapes(logits, labels, len(self.weight))
        return partial_cross_entropy(logits, labels, self.weight.to(logits.device))


def label_loss(
    positive: Sequence[float] | Tensor,
    negative: Sequence[float] | Tensor,
    exclusive: bool = False,
    kind: str = "cross_entropy",
    balance: bool = True,
) -> PartialBCELoss | PartialCrossEntropyLoss:
    """The loss for partial labels: of exclusive classes the cross-entropy, else a binary one of each class.

    Args:
        positive: known positive cases of each class in the training split.
        negative: known negative cases of each class.
        exclusive: whether each image has exactly one of the classes.
        kind: of `LABEL_LOSSES`: `asymmetric` is for findings, see `AsymmetricPartialLoss`.
        balance: whether rare outcomes count for more.

    Raises:
        UserError: for another kind, or an asymmetric loss of exclusive classes.
    """
    if kind not in LABEL_LOSSES:
        raise UserError(f"There is no label_loss {kind!r}: use {' or '.join(LABEL_LOSSES)}.")
    if kind == "asymmetric" and exclusive:
        raise UserError("label_loss asymmetric is for findings, and these classes exclude each other: cross_entropy.")
    if exclusive:
        return PartialCrossEntropyLoss(positive, balance)
    return (AsymmetricPartialLoss if kind == "asymmetric" else PartialBCELoss)(positive, negative, balance)


def _check_shapes(logits: Tensor, labels: Tensor, classes: int) -> None:
    if logits.shape != labels.shape or logits.shape[-1] != classes:
        raise UserError(f"Logits {list(logits.shape)} and labels {list(labels.shape)} must both be [batch, {classes}].")
