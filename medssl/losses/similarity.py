"""How alike two networks see the same images."""

import torch
from torch import Tensor

from medssl.errors import UserError


def linear_cka(x: Tensor, y: Tensor, unbiased: bool = False) -> Tensor:
    """Linear centred kernel alignment (LCKA) of two networks' features of the same images (Kornblith et al. 2019).

    ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) with Frobenius norms and centred features: 1 for features that are equal up to rotation and
    scale, 0 for uncorrelated ones. Zhu et al. 2020, Eq. 4, print it without the denominator; their tables need it. It
    is computed in the cheaper of the forms over features, as above, and over images, ⟨XXᵀ, YYᵀ⟩ / (‖XXᵀ‖ ‖YYᵀ‖).

    Few images make it too large: of two images it is always 1; two sets of 512 independent normal features have 0.97
    over 16 images, 0.50 over 512 and 0.11 over 4096. Compare only values of the same images. The unbiased form is
    near 0 for these, however few the images are, and can fall below 0.

    Args:
        x: ``[N, D]``, a row for each image.
        y: ``[N, E]``, the same images in the same order.
        unbiased: put the unbiased estimator of Song et al. 2012, Eq. 5, in place of every ⟨·, ·⟩ (Nguyen et al. 2021,
            Eq. 3), which leaves out what each image has to do with itself. It is computed over images.

    Returns:
        A scalar, float32 at least, under autocast too; 0 (with zero gradients) when all rows of one set are equal.

    Raises:
        UserError: when the two are no features of equally many images, or fewer than 4 for the unbiased form.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise UserError(f"Features {list(x.shape)} and {list(y.shape)} must be [images, features] of the same images.")
    if unbiased and len(x) < 4:
        raise UserError(f"The unbiased LCKA needs at least 4 images, got {len(x)}: raise batch_size.")
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    with torch.autocast(x.device.type, enabled=False):  # the products overflow half precision
        x, y = (features.to(dtype) - features.to(dtype).mean(dim=0) for features in (x, y))
        images, d, e = len(x), x.shape[1], y.shape[1]
        if unbiased:
            own, other = _centred_off_diagonal(x @ x.T), _centred_off_diagonal(y @ y.T)
            cross = (own * other).sum()
        elif images * (d + e) < d * d + d * e + e * e:
            own, other = x @ x.T, y @ y.T
            cross = (own * other).sum()
        else:
            own, other = x.T @ x, y.T @ y
            cross = (y.T @ x).square().sum()
        norms = own.norm() * other.norm()
        return cross / torch.where(norms > 0, norms, 1)


def _centred_off_diagonal(gram: Tensor) -> Tensor:
    """A Gram matrix ``[N, N]`` with zeros on its diagonal, and rows and columns that sum to zero without it.

    The sum of the products of two of these is Song et al. 2012, Eq. 5, times N (N − 3) (Székely & Rizzo 2014, Sec. 3).
    """
    images = len(gram)
    diagonal = torch.eye(images, dtype=torch.bool, device=gram.device)
    gram = gram.masked_fill(diagonal, 0)
    sums = gram.sum(dim=0) / (images - 2)
    return (gram - sums - sums[:, None] + sums.sum() / (images - 1)).masked_fill(diagonal, 0)
