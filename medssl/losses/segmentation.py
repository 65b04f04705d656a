"""Segmentation with partial labels: Dice with cross-entropy where classes are known, for classes of two kinds.

Classes that may overlap or contain each other have a sigmoid each. Classes that never share a voxel may have a softmax
with the background instead, in which an unknown class teaches as well: what was outlined cannot be it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError

from .precision import at_least_single


def partial_dice_bce(logits: Tensor, targets: Tensor, batch_dice: bool = True, smooth: float = 1e-5) -> Tensor:
    """Dice loss plus binary cross-entropy of each class over what is known of it (Ulrich et al. 2023, MultiTalent).

    The cross-entropy is the mean over all known voxels. The Dice counts an image for a class only where the class is
    known in every voxel: of a whole that is known inside its parts alone, or of a part known to lie nowhere outside its
    whole, there is one outcome only, and a Dice of that would ask for the class everywhere or nowhere.

    Args:
        logits: ``[B, C, *spatial]``, finite.
        targets: ``[B, C, *spatial]`` of 1, 0 and NaN (unknown).
        batch_dice: one Dice a class over the images of the batch, as MultiTalent has it; without, one an image.
        smooth: added to both parts of the Dice, above 0.

    Returns:
        A scalar, float32 at least; 0 (with zero gradients) when nothing is known. A class that is unknown has exactly
        no gradient.
    """
    logits, known = at_least_single(logits), targets.isfinite()
    truth = torch.where(known, targets, 0).to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits, truth, known.to(logits.dtype), reduction="sum")
    return total / known.sum().clamp(min=1) + _dice_loss(logits.sigmoid(), truth, known, batch_dice, smooth)


def marginal_exclusion(logits: Tensor, targets: Tensor, batch_dice: bool = True, smooth: float = 1e-5) -> Tensor:
    """Marginal and exclusion loss of classes that never share a voxel (Shi et al. 2021, Sec. 3.2 and 3.3).

    A softmax over the background, whose logit is 0, and the classes. Outside what was outlined a voxel may be
    background or any unknown class: the cross-entropy is that of their sum (the marginal). The Dice is that of the
    outlined classes, as in `partial_dice_bce`. The exclusion is the Dice of an unknown class with what others take up,
    which it cannot have. (Its form as a cross-entropy adds nothing here: the softmax of an outlined voxel has it.)

    Args:
        logits: ``[B, C, *spatial]``, finite.
        targets: ``[B, C, *spatial]`` of 1, 0 and NaN (unknown).
        batch_dice: one Dice a class over the images of the batch; without, one an image.
        smooth: added to both parts of the Dice, above 0.

    Returns:
        A scalar, float32 at least; 0 (with zero gradients) when nothing is known. An unknown class has gradients, from
        the softmax that it shares.
    """
    logits, unknown, there = at_least_single(logits), targets.isnan(), targets == 1
    taken = there.any(dim=1, keepdim=True)
    possible = torch.cat([~taken, torch.where(taken, there, unknown)], dim=1)
    scores = _with_background(logits)
    normaliser = scores.logsumexp(dim=1, keepdim=True)
    marginal = normaliser - scores.masked_fill(~possible, -torch.inf).logsumexp(dim=1, keepdim=True)
    known = ~unknown.all(dim=1, keepdim=True)
    loss = (marginal * known).sum() / known.sum().clamp(min=1)
    probability = (logits - normaliser).exp()
    loss = loss + _dice_loss(probability, there.to(logits.dtype), ~unknown, batch_dice, smooth)
    excluded = (unknown & taken).to(logits.dtype)
    present = torch.ones(targets.shape[:2], dtype=torch.bool, device=targets.device)
    shares = soft_dice(probability * unknown, excluded, present, batch_dice, smooth)
    concerned = excluded.flatten(2).any(dim=2)
    concerned = concerned.any(dim=0, keepdim=True) if batch_dice else concerned
    return loss + (shares * concerned).sum() / concerned.sum().clamp(min=1)


def soft_dice(
    probability: Tensor, truth: Tensor, counted: Tensor, batch_dice: bool = True, smooth: float = 1e-5
) -> Tensor:
    """The Dice of probabilities: (2 Σ p t + smooth) / (Σ p + Σ t + smooth).

    It is MONAI's ``DiceLoss`` (one minus it), but for images that count for some classes only: MONAI's
    ``MaskedDiceLoss`` has one mask for all of them.

    Args:
        probability: ``[B, C, *spatial]``.
        truth: of the same shape, of 1 and 0.
        counted: ``[B, C]`` (bool): the images that count for a class.
        batch_dice: sum over the images as well.
        smooth: above 0; makes the Dice 1 where nothing is, and nothing is found.

    Returns:
        ``[B, C]``, or ``[1, C]`` of a batch.
    """
    both, found, there = (part.flatten(2).sum(dim=2) for part in (probability * truth, probability, truth))
    both, sizes = both * counted, (found + there) * counted
    if batch_dice:
        both, sizes = both.sum(dim=0, keepdim=True), sizes.sum(dim=0, keepdim=True)
    return (2 * both + smooth) / (sizes + smooth)


def class_probabilities(logits: Tensor, disjoint: bool = False) -> Tensor:
    """What a network trained with `SegmentationLoss` says: ``[B, C, *spatial]`` from logits of that shape.

    Args:
        logits: of the network.
        disjoint: whether it was trained with ``marginal_exclusion``; the classes and the background sum to 1 then.
    """
    return _with_background(logits).softmax(dim=1)[:, 1:] if disjoint else logits.sigmoid()


def class_masks(logits: Tensor, disjoint: bool = False) -> Tensor:
    """Where each class is, ``[B, C, *spatial]`` (bool): more likely than not, or of disjoint ones the likeliest.

    Args:
        logits: ``[B, C, *spatial]`` of the network.
        disjoint: see `class_probabilities`; the background may be the likeliest, too.
    """
    if not disjoint:
        return logits > 0
    best, place = logits.max(dim=1, keepdim=True)
    numbers = torch.arange(logits.shape[1], device=logits.device).view(1, -1, *[1] * (logits.ndim - 2))
    return (numbers == place) & (best > 0)


SEGMENTATION_LOSSES = {"dice_bce": partial_dice_bce, "marginal_exclusion": marginal_exclusion}
"""Kinds of `SegmentationLoss`."""


class SegmentationLoss(nn.Module):
    """The loss of partially outlined masks, of one output or of several from fine to coarse (deep supervision).

    Args:
        kind: ``dice_bce``, see `partial_dice_bce`, or for classes that never share a voxel ``marginal_exclusion``, see
            `marginal_exclusion`.
        batch_dice: one Dice a class over the images of a batch, or one an image.
        level_decay: weight of an output over that of the next finer one. The weights sum to 1, as nnU-Net's do (Isensee
            et al. 2021), which halves them too.
        smooth: added to both parts of the Dice, above 0.

    Raises:
        UserError: for another kind.
    """

    def __init__(
        self, kind: str = "dice_bce", batch_dice: bool = True, level_decay: float = 0.5, smooth: float = 1e-5
    ) -> None:
        super().__init__()
        if kind not in SEGMENTATION_LOSSES:
            raise UserError(f"There is no segmentation loss {kind!r}: use {' or '.join(SEGMENTATION_LOSSES)}.")
        self.kind, self.batch_dice, self.level_decay, self.smooth = kind, batch_dice, level_decay, smooth

    def forward(self, logits: Tensor | Sequence[Tensor], targets: Tensor) -> Tensor:
        """The weighted mean over the outputs; targets are resized to each, by the nearest voxel.

        Args:
            logits: ``[B, C, *spatial]``, or several of them from fine to coarse.
            targets: ``[B, C, *spatial]`` of 1, 0 and NaN (unknown).

        Returns:
            A scalar, float32 at least, under autocast too.

        Raises:
            UserError: when the batch, the classes or the finest size are not the same.
        """
        outputs = [logits] if isinstance(logits, Tensor) else list(logits)
        if outputs[0].shape != targets.shape or any(each.shape[:2] != targets.shape[:2] for each in outputs):
            sizes = [list(each.shape) for each in outputs]
            raise UserError(f"Outputs {sizes} do not fit targets {list(targets.shape)}: both are [batch, classes, …].")
        weights = [self.level_decay**level for level in range(len(outputs))]
        with torch.autocast(targets.device.type, enabled=False):  # sums over voxels overflow half precision
            losses = [weight * self._of(output, targets) for weight, output in zip(weights, outputs, strict=True)]
        return torch.stack(losses).sum() / sum(weights)

    def _of(self, logits: Tensor, targets: Tensor) -> Tensor:
        if logits.shape != targets.shape:
            targets = F.interpolate(targets, logits.shape[2:], mode="nearest-exact")
        return SEGMENTATION_LOSSES[self.kind](logits, targets, self.batch_dice, self.smooth)


def _dice_loss(probability: Tensor, truth: Tensor, known: Tensor, batch_dice: bool, smooth: float) -> Tensor:
    """One minus the Dice, the mean over the classes (and images) known in every voxel."""
    counted = known.flatten(2).all(dim=2)
    losses = 1 - soft_dice(probability, truth, counted, batch_dice, smooth)  # 0 of what does not count
    defined = counted.any(dim=0) if batch_dice else counted
    return losses.sum() / defined.sum().clamp(min=1)


def _with_background(logits: Tensor) -> Tensor:
    """``[B, C, *spatial]`` → ``[B, 1 + C, *spatial]``, the background's 0 first: a softmax is the same for any."""
    return F.pad(logits, [0, 0] * (logits.ndim - 2) + [1, 0])
