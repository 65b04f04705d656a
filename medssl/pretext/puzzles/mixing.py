"""Mixing pairs of images of a batch: the vicinal images of MixUp (Dong et al. 2024, Eq. 4)."""

import torch
from torch import Tensor

from medssl.errors import UserError


def draw_partners(batch_size: int, device: torch.device) -> Tensor:
    """A partner for every image of the batch, never itself: ``[B]``, a cyclic shift of a random order.

    Raises:
        UserError: when the batch has fewer than two images.
    """
    if batch_size < 2:
        raise UserError(f"Mixing pairs of images needs a batch of at least 2, got {batch_size}: raise batch_size.")
    order = torch.randperm(batch_size, device=device)
    return torch.empty_like(order).index_copy_(0, order, order.roll(1))


def draw_coefficients(batch_size: int, alpha: float, device: torch.device) -> Tensor:
    """MixUp coefficients λ ~ Beta(alpha, alpha), one a pair: ``[B]`` in 0..1, from torch's global generator."""
    concentration = torch.full((batch_size,), alpha, device=device)
    return torch.distributions.Beta(concentration, concentration).sample()


def mix(first: Tensor, second: Tensor, coefficient: Tensor) -> Tensor:
    """The vicinal images ``λ · first + (1 − λ) · second`` (Eq. 4).

    Args:
        first: ``[B, C, *spatial]``.
        second: of the same shape.
        coefficient: λ, ``[B]``.
    """
    # lerp is one pass over memory where the written-out formula makes two temporaries.
    return torch.lerp(second, first, coefficient.to(first.dtype).view(-1, *[1] * (first.ndim - 1)))
