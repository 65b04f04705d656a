"""Where a crop lies, said by how alike it is to crops of known places."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import at_least_single


def voco(crops: Tensor, bases: Tensor, overlaps: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor]:
    """VoCo (Wu et al. 2024, Eq. 1, 3): a crop is as alike to each base crop of its image as it overlaps with it.

    −mean log(1 − |overlap − similarity|) + weight · the mean |similarity| of two bases. The similarity of crop and base
    is the positive part of the cosine, as in the authors' code; no gradient flows into the bases from there: what makes
    them differ is the second term. (That code weighs overlapping bases by their overlap, and has squares for the others
    and between bases; here is what the paper prints.)

    Args:
        crops: embeddings of K random crops of each image, ``[B, K, D]``.
        bases: of its N base crops, ``[B, N, D]``, at least two.
        overlaps: shares of a crop that lie in each base, ``[B, K, N]`` in 0..1.
        weight: of the second term, λ.

    Returns:
        The loss, a scalar, float32 at least, under autocast too; and the similarities ``[B, K, N]``, whose largest is
        the answer.
    """
    with torch.autocast(crops.device.type, enabled=False):
        crops, bases = (F.normalize(at_least_single(part), dim=2) for part in (crops, bases))
        similarities = (crops @ bases.detach().transpose(1, 2)).relu()
        apart = (overlaps.to(similarities.dtype) - similarities).abs()
        among = (bases @ bases.transpose(1, 2)).abs()
        count = bases.shape[1]
        alike = (among.sum(dim=(1, 2)) - among.diagonal(dim1=1, dim2=2).sum(dim=1)) / (count * (count - 1))
        # A similarity of 1 where there is no overlap would be infinitely wrong.
        return -torch.log1p(-apart.clamp(max=1 - 1e-6)).mean() + weight * alike.mean(), similarities
