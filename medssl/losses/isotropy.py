"""Embeddings that are spread like an isotropic Gaussian."""

import torch
from torch import Tensor

from .gathering import gather_with_gradient
from .precision import at_least_single

REACH, KNOTS = 3.0, 17
"""The authors' quadrature: the trapezoidal rule on so many places from 0 to so far."""


def lejepa(embeddings: Tensor, directions: Tensor, weight: float = 0.02) -> Tensor:
    """LeJEPA (Balestriero & LeCun 2025): views of an image agree, and those of all images are spread like a Gaussian.

    (1 − weight) · the mean squared distance of the views from their image's mean + weight · `sigreg`. Gradients flow
    through everything: there is neither a teacher nor a stop.

    Args:
        embeddings: ``[V, B, D]``, V views of each of B images.
        directions: unit vectors ``[D, S]`` along which the spread is looked at.
        weight: of `sigreg`, λ, between 0 and 1.

    Returns:
        A scalar, float32 at least; over the images of all processes in a distributed run.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        embeddings = at_least_single(embeddings)
        apart = (embeddings - embeddings.mean(dim=0)).square().mean()
        return (1 - weight) * apart + weight * sigreg(embeddings, directions)


def sigreg(embeddings: Tensor, directions: Tensor, reach: float = REACH, knots: int = KNOTS) -> Tensor:
    """Sketched isotropic Gaussian regularisation: how far embeddings are from N(0, 1) along directions, on average.

    The statistic of Epps and Pulley along one direction, B ∫ |φ(t) − exp(−t²/2)|² exp(−t²/2) dt, where φ is the
    empirical characteristic function of the B projected embeddings: 0 only where they have the Gaussian's. The
    integrand is even, so that half of it is taken twice, as in the authors' code; it grows with B as theirs does.

    Args:
        embeddings: ``[V, B, D]``; each view's are looked at apart, those of all processes together. In a distributed
            run each process may have directions of its own: the mean is then over those of all.
        directions: unit vectors ``[D, S]``.
        reach: the integral goes from −reach to reach.
        knots: places of the trapezoidal rule from 0 to reach.

    Returns:
        A scalar, float32 at least.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        rows = gather_with_gradient(at_least_single(embeddings).transpose(0, 1))  # [B, V, D]
        places = torch.linspace(0, reach, knots, dtype=rows.dtype, device=rows.device)
        normal = (-places.square() / 2).exp()
        steps = torch.full_like(places, 2 * reach / (knots - 1))
        steps[0] = steps[-1] = reach / (knots - 1)
        angles = (rows @ directions.to(rows.dtype)).unsqueeze(-1) * places  # [B, V, S, knots]
        apart = (angles.cos().mean(dim=0) - normal).square() + angles.sin().mean(dim=0).square()
        return len(rows) * (apart @ (steps * normal)).mean()
