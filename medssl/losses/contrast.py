"""Telling things apart: an image's own view, or a route's own tile, among those of others."""

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import UserError

from .gathering import gather_with_gradient
from .precision import at_least_single


def info_nce(
    prediction: Tensor, candidates: Tensor, positive: Tensor, temperature: float = 0.1
) -> tuple[Tensor, Tensor]:
    """InfoNCE (van den Oord et al. 2018, Eq. 4) on cosine similarities.

    In a distributed run the candidates of all P processes are compared with, this one's first.

    Args:
        prediction: ``[B, D]``.
        candidates: ``[N, D]``; all but one are negatives.
        positive: index of each prediction's own candidate, ``[B]``.
        temperature: the similarities are divided by it.

    Returns:
        The loss, a scalar, and the similarities over the temperature ``[B, P · N]``, whose largest is the answer.
    """
    everywhere = gather_with_gradient(F.normalize(candidates, dim=1))
    similarities = F.normalize(prediction, dim=1) @ everywhere.T / temperature
    return F.cross_entropy(similarities, positive), similarities


def queue_info_nce(
    query: Tensor, keys: Tensor, queue: Tensor, temperature: float = 0.2, excluded: Tensor | None = None
) -> Tensor:
    """InfoNCE of each query with its own key among the other keys of the mini-batch and those of a queue.

    He et al. 2020, Eq. 1, has the queue alone. With the mini-batch's own keys beside it, nothing that all images of a
    mini-batch have in common, such as what batch normalisation tells of them, finds the right one.

    Args:
        query: ``[B, D]``.
        keys: of the same images, ``[B, D]``; no gradient flows into them. In a distributed run those of all P
            processes are compared with.
        queue: keys of earlier images, ``[Q, D]``.
        temperature: the cosine similarities are divided by it.
        excluded: candidates that are no negatives of a query, ``[B, P · B + Q]`` (bool), this process's keys first.

    Returns:
        A scalar, float32 at least, under autocast too.
    """
    with torch.autocast(query.device.type, enabled=False):
        candidates = torch.cat([gather_with_gradient(keys.detach()).to(queue.dtype), queue])
        query, candidates = (F.normalize(at_least_single(part), dim=1) for part in (query, candidates))
        similarities = query @ candidates.to(query.dtype).T / temperature
        own = torch.arange(len(query), device=query.device)
        if excluded is not None:
            similarities = similarities.masked_fill(excluded.scatter(1, own[:, None], False), -torch.inf)
        return F.cross_entropy(similarities, own)


def mixture_info_nce(
    mixtures: Tensor, candidates: Tensor, pairs: Tensor, coefficients: Tensor, temperature: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Each mixture's two images among all: cross-entropy with the targets λ and 1 − λ, on cosine similarities.

    In a distributed run the candidates of all P processes are compared with, this one's first.

    Args:
        mixtures: ``[M, D]``, embedded.
        candidates: of the images, ``[N, D]``.
        pairs: which two of the images a mixture is made of, ``[2, M]``.
        coefficients: λ of the first of them, ``[M]``.
        temperature: the similarities are divided by it.

    Returns:
        The loss, a scalar, float32 at least, under autocast too; and the similarities over the temperature
        ``[M, P · N]``.
    """
    with torch.autocast(mixtures.device.type, enabled=False):
        mixtures, candidates = (F.normalize(at_least_single(part), dim=1) for part in (mixtures, candidates))
        similarities = mixtures @ gather_with_gradient(candidates).T / temperature
        first, second = (F.cross_entropy(similarities, one, reduction="none") for one in pairs)
        return torch.lerp(second, first, coefficients.to(second.dtype)).mean(), similarities


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.5, groups: Tensor | None = None) -> Tensor:
    """Normalised temperature-scaled cross-entropy (Chen et al. 2020, Eq. 1): find an image's other view among all.

    The value is that of ``monai.losses.ContrastiveLoss``, which builds a ``[2B, 2B, D]`` tensor: for B = 256, D = 128
    it takes 167 times as long forward and backward (``benchmarks/results/losses_and_metrics.md``). In a distributed
    run the images of all processes are told apart.

    Args:
        first: a view of each image, embedded, ``[B, D]``.
        second: another view of the same images, ``[B, D]``.
        temperature: the cosine similarities are divided by it.
        groups: numbers ``[B]``; images of one group are not told apart. None: every image is of its own.

    Returns:
        The mean over the 2B views of this process, float32 at least, under autocast too.

    Raises:
        UserError: when there is one image only, so that nothing could be told apart.
    """
    if len(first) < 2:
        raise UserError(f"NT-Xent needs a batch of at least 2 images, got {len(first)}: raise batch_size.")
    # A similarity of 16 bits is off by up to 0.004, over a temperature of 0.1 by 0.04.
    with torch.autocast(first.device.type, enabled=False):
        views = F.normalize(at_least_single(torch.cat([first, second])), dim=1)
        everywhere = gather_with_gradient(views)
        similarities = views @ everywhere.T / temperature
    # A view is no candidate for itself.
    excluded = torch.eye(*similarities.shape, dtype=torch.bool, device=views.device)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    if groups is not None:
        mine = torch.cat([groups, groups])
        excluded |= (mine[:, None] == gather_with_gradient(mine)).scatter(1, partner[:, None], False)
    return F.cross_entropy(similarities.masked_fill(excluded, -torch.inf), partner)


def predictive_ratio(prediction: Tensor, features: Tensor, targets: Tensor | None = None) -> Tensor:
    """Zhu et al. 2020, Eq. 3, with the sign that lets the prediction approach its target (see ``medssl.pretext.MCPC``).

    Args:
        prediction: predicted features of each route's last tile before the sigmoid, ``[B, D]``.
        features: features of the route's tiles, ``[B, m, D]``; the last is the target, the others are the negatives.
        targets: features of last tiles, ``[N, D]``, this mini-batch's first: those of the other images are negatives,
            too. None: there are only those of the image itself, as printed.

    Returns:
        The mean over the batch of Σᵢ CE(z_m, z'_m) / CE(z_i, z'_m), where the cross-entropy is the mean over D; with
        more negatives than m − 1, their mean times m − 1. Float32 at least, under autocast too.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, features = at_least_single(prediction), at_least_single(features)
        logits = prediction[:, None].expand_as(features)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, features.sigmoid(), reduction="none").mean(dim=2)
        own, negatives = cross_entropy[:, -1:], cross_entropy[:, :-1]
        ratios = (own / negatives).sum(dim=1)
        if targets is None:
            return ratios.mean()
        # The same cross-entropies of all pairs, as one product of matrices.
        shares = at_least_single(targets).sigmoid()
        others = F.softplus(prediction).mean(dim=1, keepdim=True) - prediction @ shares.T / shares.shape[1]
        itself = torch.eye(*others.shape, dtype=torch.bool, device=others.device)
        ratios = ratios + (own / others).masked_fill(itself, 0).sum(dim=1)
        printed = negatives.shape[1]
        return ratios.mean() * printed / (printed + len(targets) - 1)
