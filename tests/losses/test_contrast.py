"""Each contrastive loss against its formula, written out as loops over numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import ContrastiveLoss
from torch import Tensor

from medssl.losses import info_nce, nt_xent, predictive_ratio


def slow_cosine(first: list[float], second: list[float]) -> float:
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / math.sqrt(sum(a * a for a in first) * sum(b * b for b in second))


def slow_info_nce(prediction: Tensor, candidates: Tensor, positive: Tensor, temperature: float) -> float:
    losses = []
    for vector, own in zip(prediction, positive.tolist(), strict=True):
        weights = [math.exp(slow_cosine(vector.tolist(), other.tolist()) / temperature) for other in candidates]
        losses.append(-math.log(weights[own] / sum(weights)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("batch", "count", "width"), [(1, 2, 3), (4, 20, 8), (8, 8, 5)])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_info_nce_is_the_formula(batch: int, count: int, width: int, temperature: float) -> None:
    prediction, candidates = torch.randn(batch, width), 7 * torch.randn(count, width)
    positive = torch.randint(count, (batch,))
    loss, similarities = info_nce(prediction, candidates, positive, temperature)
    assert loss.item() == pytest.approx(slow_info_nce(prediction, candidates, positive, temperature), rel=1e-5)
    cosine = F.cosine_similarity(prediction[:, None], candidates[None], dim=2)
    torch.testing.assert_close(similarities, cosine / temperature, atol=1e-5, rtol=1e-5)


def slow_ratio(prediction: Tensor, features: Tensor) -> float:
    """Eq. 3 of Zhu et al. with both feature vectors squashed into 0..1, and the sign that makes them match."""

    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    def cross_entropy(truth: list[float], guess: list[float]) -> float:
        terms = [
            -sigmoid(t) * math.log(sigmoid(g)) - (1 - sigmoid(t)) * math.log(1 - sigmoid(g))
            for t, g in zip(truth, guess, strict=True)
        ]
        return sum(terms) / len(terms)

    total = 0.0
    for guess, tiles in zip(prediction.tolist(), features.tolist(), strict=True):
        for negative in tiles[:-1]:
            total += cross_entropy(tiles[-1], guess) / cross_entropy(negative, guess)
    return total / len(prediction)


@pytest.mark.parametrize(("batch", "tiles", "width"), [(1, 2, 1), (4, 5, 6), (3, 7, 9)])
def test_predictive_ratio_is_the_formula(batch: int, tiles: int, width: int) -> None:
    prediction, features = torch.randn(batch, width), torch.randn(batch, tiles, width)
    assert predictive_ratio(prediction, features).item() == pytest.approx(slow_ratio(prediction, features), rel=1e-5)


def test_predictive_ratio_falls_while_the_prediction_approaches_its_target() -> None:
    features = 2 * torch.randn(6, 5, 16)
    target, away = features[:, -1], features[:, 0]
    values = [predictive_ratio(torch.lerp(away, target, share), features).item() for share in (0, 0.25, 0.5, 0.75, 1)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] / 2
    # A step along its gradient leads nearer to the target as well.
    prediction = away.clone().requires_grad_()
    predictive_ratio(prediction, features).backward()
    assert F.mse_loss(prediction.detach() - prediction.grad, target) < F.mse_loss(away, target)


def slow_nt_xent(first: Tensor, second: Tensor, temperature: float) -> float:
    """Chen et al. 2020, Algorithm 1: for every view, its partner among all views but itself."""
    views, batch = [*first.tolist(), *second.tolist()], len(first)
    losses = []
    for i, view in enumerate(views):
        weights = {k: math.exp(slow_cosine(view, other) / temperature) for k, other in enumerate(views) if k != i}
        losses.append(-math.log(weights[(i + batch) % (2 * batch)] / sum(weights.values())))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("batch", "width"), [(2, 1), (2, 3), (5, 8), (16, 7)])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_the_formula_and_the_loss_of_monai_and_so_are_its_gradients(
    batch: int, width: int, temperature: float
) -> None:
    first, second = 3 * torch.randn(2, batch, width, dtype=torch.float64)
    first.requires_grad_(), second.requires_grad_()
    loss = nt_xent(first, second, temperature)
    assert loss.item() == pytest.approx(slow_nt_xent(first, second, temperature), rel=1e-9)
    expected = ContrastiveLoss(temperature=temperature)(first, second)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert nt_xent(first.float(), second.float(), temperature).item() == pytest.approx(expected.item(), rel=1e-5)
    gradients, monais = (torch.autograd.grad(one, (first, second)) for one in (loss, expected))
    for gradient, other in zip(gradients, monais, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-7)
    # And of the formula: the difference that a small step makes.
    for side, gradient in enumerate(gradients):
        for place in ((0, 0), (batch - 1, width - 1)):
            values = []
            for step in (1e-5, -1e-5):
                moved = [first.detach().clone(), second.detach().clone()]
                moved[side][place] += step
                values.append(slow_nt_xent(*moved, temperature))
            assert gradient[place].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-7)


def test_nt_xent_is_least_when_views_agree_and_images_differ_and_never_infinite() -> None:
    apart = torch.eye(4)
    # Own view at cosine 1, the six others at 0.
    assert nt_xent(apart, apart, 0.5).item() == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 6)))
    alike = torch.ones(4, 3)
    assert nt_xent(alike, alike, 0.5).item() == pytest.approx(math.log(7))  # a guess among the seven others
    assert nt_xent(apart, apart.roll(1, 0), 0.5) > math.log(7)
    zeros = torch.zeros(3, 5, requires_grad=True)
    loss = nt_xent(zeros, zeros, 0.1)
    loss.backward()
    assert loss.isfinite()
    assert zeros.grad.isfinite().all()


def test_nt_xent_needs_two_images() -> None:
    with pytest.raises(ValueError, match="batch of at least 2 images, got 1: raise batch_size"):
        nt_xent(torch.randn(1, 8), torch.randn(1, 8))


def test_nt_xent_under_autocast_is_computed_in_full_precision() -> None:
    first, second = torch.randn(32, 16), torch.randn(32, 16)
    with torch.autocast("cpu", torch.bfloat16):
        half = nt_xent(first, second)
    assert half.dtype == torch.float32
    assert torch.equal(half, nt_xent(first, second))
