"""Views of an image that agree, without other images to tell them from."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .gathering import gather_with_gradient
from .precision import at_least_single


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of −cos(prediction, target); no gradient flows into the target (Chen & He 2021, Eq. 1, 3).

    Args:
        prediction: ``[B, D]``, or maps ``[B, D, *places]``.
        target: of the same shape.
    """
    return -F.cosine_similarity(prediction, target.detach(), dim=1).mean()


def barlow_twins(first: Tensor, second: Tensor, redundancy: float = 5e-3) -> Tensor:
    """Barlow Twins (Zbontar et al. 2021, Eq. 1): equal features of both views, and no feature twice.

    Σᵢ (1 − cᵢᵢ)² + redundancy · Σ_{i≠j} cᵢⱼ², where c is the correlation of features over the images (of all processes,
    in a distributed run).

    ``monai.losses.BarlowTwinsLoss`` divides by the unbiased deviation and by B, so that views that are equal keep a
    loss of D / B²; under autocast it correlates in 16 bits; and its mask of the entries off the diagonal makes a GPU
    wait for the CPU in every step.

    Args:
        first: a view of each image, embedded, ``[B, D]``.
        second: another view of the same images, ``[B, D]``.
        redundancy: weight of what lies off the diagonal, λ.

    Returns:
        A scalar, float32 at least.
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = (gather_with_gradient(at_least_single(view)) for view in (first, second))
        # As the authors' `BatchNorm1d(affine=False)`.
        first, second = (F.batch_norm(view, None, None, training=True) for view in (first, second))
        correlation = first.T @ second / len(first)
        diagonal = correlation.diagonal()
        off_diagonal = correlation.square().sum() - diagonal.square().sum()
        return (1 - diagonal).square().sum() + redundancy * off_diagonal


def vicreg(
    first: Tensor, second: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """VICReg (Bardes et al. 2022, Eq. 6): views alike, every feature varies, no two vary together.

    As in the authors' code, whose weights these are: the invariance is a mean over the features, not their sum, and the
    variance terms of the two views are averaged.

    Args:
        first: a view of each image, embedded, ``[B, D]``.
        second: another view of the same images, ``[B, D]``.
        invariance: weight of the squared distance, λ.
        variance: of `variance_floor`, μ.
        covariance: of the squared covariances of different features, ν.

    Returns:
        A scalar, float32 at least; over the images of all processes in a distributed run.
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = (gather_with_gradient(at_least_single(view)) for view in (first, second))
        apart = F.mse_loss(first, second)
        flat = (variance_floor(first) + variance_floor(second)) / 2
        redundant = _squared_covariances(first) + _squared_covariances(second)
        return invariance * apart + variance * flat + covariance * redundant


def variance_floor(embeddings: Tensor, floor: float = 1.0) -> Tensor:
    """How far the features' standard deviations lie below a floor, on average (Bardes et al. 2022, Eq. 1 and 2).

    Args:
        embeddings: ``[B, D]``, float32 at least.
        floor: what the deviation over the images should not fall below, γ.
    """
    return F.relu(floor - (embeddings.var(dim=0) + 1e-4).sqrt()).mean()


def _squared_covariances(embeddings: Tensor) -> Tensor:
    """The squared covariances of different features, summed, over their number (Bardes et al. 2022, Eq. 3 and 4)."""
    centred = embeddings - embeddings.mean(dim=0)
    matrix = centred.T @ centred / (len(centred) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / matrix.shape[1]
