"""The losses as pure functions, and as small modules where a config needs an object."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError

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
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # a sum in half precision rounds, or overflows
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
        prediction, features = _at_least_single(prediction), _at_least_single(features)
        logits = prediction[:, None].expand_as(features)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, features.sigmoid(), reduction="none").mean(dim=2)
        own, negatives = cross_entropy[:, -1:], cross_entropy[:, :-1]
        ratios = (own / negatives).sum(dim=1)
        if targets is None:
            return ratios.mean()
        # The same cross-entropies of all pairs, as one product of matrices.
        shares = _at_least_single(targets).sigmoid()
        others = F.softplus(prediction).mean(dim=1, keepdim=True) - prediction @ shares.T / shares.shape[1]
        itself = torch.eye(*others.shape, dtype=torch.bool, device=others.device)
        ratios = ratios + (own / others).masked_fill(itself, 0).sum(dim=1)
        printed = negatives.shape[1]
        return ratios.mean() * printed / (printed + len(targets) - 1)


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Rows of all processes of a distributed run, this one's first; the tensor itself where there is one process.

    The gradient of every process's loss comes back to the rows, summed. ``DistributedDataParallel`` takes the mean
    over processes afterwards: together the gradient of the mean loss, that of one process with all rows.

    Args:
        tensor: ``[B, D]``, of one shape in all processes.

    Returns:
        ``[P · B, D]`` for P processes.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return tensor
    rows: Tensor = _Gather.apply(tensor)
    return rows.roll(-dist.get_rank(), dims=0).flatten(0, 1)


class _Gather(torch.autograd.Function):
    """``[B, D]`` → ``[P, B, D]``. (Torch's own, ``torch.distributed.nn.functional.all_gather``, is deprecated.)"""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)  # autograd may use the other one elsewhere
        dist.all_reduce(total)
        return total[dist.get_rank()]


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
        views = F.normalize(_at_least_single(torch.cat([first, second])), dim=1)
        everywhere = gather_with_gradient(views)
        similarities = views @ everywhere.T / temperature
    # A view is no candidate for itself.
    excluded = torch.eye(*similarities.shape, dtype=torch.bool, device=views.device)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    if groups is not None:
        mine = torch.cat([groups, groups])
        excluded |= (mine[:, None] == gather_with_gradient(mine)).scatter(1, partner[:, None], False)
    return F.cross_entropy(similarities.masked_fill(excluded, -torch.inf), partner)


def _at_least_single(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of −cos(prediction, target); no gradient flows into the target (Chen & He 2021, Eq. 1, 3).

    Args:
        prediction: ``[B, D]``.
        target: ``[B, D]``.
    """
    return -F.cosine_similarity(prediction, target.detach(), dim=1).mean()


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
        query, candidates = (F.normalize(_at_least_single(part), dim=1) for part in (query, candidates))
        similarities = query @ candidates.to(query.dtype).T / temperature
        own = torch.arange(len(query), device=query.device)
        if excluded is not None:
            similarities = similarities.masked_fill(excluded.scatter(1, own[:, None], False), -torch.inf)
        return F.cross_entropy(similarities, own)


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
        first, second = (gather_with_gradient(_at_least_single(view)) for view in (first, second))
        # As the authors' `BatchNorm1d(affine=False)`.
        first, second = (F.batch_norm(view, None, None, training=True) for view in (first, second))
        correlation = first.T @ second / len(first)
        diagonal = correlation.diagonal()
        off_diagonal = correlation.square().sum() - diagonal.square().sum()
        return (1 - diagonal).square().sum() + redundancy * off_diagonal


def variance_floor(embeddings: Tensor, floor: float = 1.0) -> Tensor:
    """How far the features' standard deviations lie below a floor, on average (Bardes et al. 2022, Eq. 1 and 2).

    Args:
        embeddings: ``[B, D]``, float32 at least.
        floor: what the deviation over the images should not fall below, γ.
    """
    return F.relu(floor - (embeddings.var(dim=0) + 1e-4).sqrt()).mean()


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
        first, second = (gather_with_gradient(_at_least_single(view)) for view in (first, second))
        apart = F.mse_loss(first, second)
        flat = (variance_floor(first) + variance_floor(second)) / 2
        redundant = _squared_covariances(first) + _squared_covariances(second)
        return invariance * apart + variance * flat + covariance * redundant


def _squared_covariances(embeddings: Tensor) -> Tensor:
    """The squared covariances of different features, summed, over their number (Bardes et al. 2022, Eq. 3 and 4)."""
    centred = embeddings - embeddings.mean(dim=0)
    matrix = centred.T @ centred / (len(centred) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / matrix.shape[1]


def _centred_off_diagonal(gram: Tensor) -> Tensor:
    """A Gram matrix ``[N, N]`` with zeros on its diagonal, and rows and columns that sum to zero without it.

    The sum of the products of two of these is Song et al. 2012, Eq. 5, times N (N − 3) (Székely & Rizzo 2014, Sec. 3).
    """
    images = len(gram)
    diagonal = torch.eye(images, dtype=torch.bool, device=gram.device)
    gram = gram.masked_fill(diagonal, 0)
    sums = gram.sum(dim=0) / (images - 2)
    return (gram - sums - sums[:, None] + sums.sum() / (images - 1)).masked_fill(diagonal, 0)


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
        mixtures, candidates = (F.normalize(_at_least_single(part), dim=1) for part in (mixtures, candidates))
        similarities = mixtures @ gather_with_gradient(candidates).T / temperature
        first, second = (F.cross_entropy(similarities, one, reduction="none") for one in pairs)
        return torch.lerp(second, first, coefficients.to(second.dtype)).mean(), similarities


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
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
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
