"""Each loss against its formula, written out as loops over numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.losses import PartialBCELoss, info_nce, partial_bce, predictive_ratio

NAN = float("nan")


def partial_labels(batch: int, classes: int) -> Tensor:
    labels = torch.randint(0, 3, (batch, classes)).float()
    labels[labels == 2] = NAN
    return labels


def slow_partial_bce(logits: Tensor, labels: Tensor, positive: Tensor, negative: Tensor) -> tuple[float, Tensor]:
    """Eq. 1 and its derivative, entry by entry."""
    total, known, gradient = 0.0, 0, torch.zeros_like(logits)
    for b in range(len(logits)):
        for k in range(logits.shape[1]):
            label, probability = labels[b, k].item(), 1 / (1 + math.exp(-logits[b, k].item()))
            if math.isnan(label):
                continue
            known += 1
            if label == 1:
                total -= positive[k].item() * math.log(probability)
                gradient[b, k] = -positive[k].item() * (1 - probability)
            else:
                total -= negative[k].item() * math.log(1 - probability)
                gradient[b, k] = negative[k].item() * probability
    return total / known, gradient / known


@pytest.mark.parametrize(("batch", "classes"), [(1, 1), (5, 3), (16, 11)])
def test_partial_bce_is_the_mean_over_known_labels(batch: int, classes: int) -> None:
    logits = (3 * torch.randn(batch, classes, dtype=torch.float64)).requires_grad_()
    labels = partial_labels(batch, classes)
    labels[0, 0] = 1
    positive, negative = torch.rand(2, classes, dtype=torch.float64)
    loss = partial_bce(logits, labels, positive, negative)
    loss.backward()
    expected, gradient = slow_partial_bce(logits.detach(), labels, positive, negative)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(logits.grad, gradient, rtol=1e-9, atol=1e-12)
    assert (logits.grad[labels.isnan()] == 0).all()


def test_what_an_unknown_label_belongs_to_changes_nothing() -> None:
    logits, labels = torch.randn(8, 4), partial_labels(8, 4)
    changed = torch.where(labels.isnan(), 1e4 * torch.randn(8, 4), logits)
    weights = torch.rand(2, 4)
    assert torch.equal(partial_bce(logits, labels, *weights), partial_bce(changed, labels, *weights))


def test_partial_bce_of_extreme_logits_is_finite_and_so_are_its_gradients() -> None:
    logits = torch.tensor([[200.0, -200.0, 200.0, -1e30]], requires_grad=True)
    loss = partial_bce(logits, torch.tensor([[0.0, 1.0, NAN, 0.0]]), torch.ones(4), torch.ones(4))
    loss.backward()
    assert loss.item() == pytest.approx(400 / 3)
    torch.testing.assert_close(logits.grad, torch.tensor([[1 / 3, -1 / 3, 0.0, 0.0]]))


def test_a_batch_without_a_known_label_gives_zero_and_keeps_its_graph() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    loss = PartialBCELoss([1, 2], [3, 4])(logits, torch.full((3, 2), NAN))
    assert loss.item() == 0
    loss.backward()  # a trainer calls this whatever the batch holds
    assert torch.equal(logits.grad, torch.zeros(3, 2))


def test_weights_follow_the_counts_and_a_class_with_one_outcome_gets_halves() -> None:
    loss = PartialBCELoss(positive=[3, 0, 5, 0], negative=[9, 8, 0, 0])
    # w+ = n- / n and w- = n+ / n; a class that has one outcome only, or none, is weighted evenly.
    assert loss.positive_weight.tolist() == [0.75, 0.5, 0.5, 0.5]
    assert loss.negative_weight.tolist() == [0.25, 0.5, 0.5, 0.5]
    logits, labels = torch.randn(6, 4), partial_labels(6, 4)
    expected, _ = slow_partial_bce(logits, labels, loss.positive_weight, loss.negative_weight)
    assert loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("logits", "labels"), [((4, 3), (4, 2)), ((4, 2), (3, 2)), ((4, 3), (4, 3))])
def test_shapes_that_do_not_fit_are_refused(logits: tuple[int, int], labels: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"must both be \[batch, 2\]"):
        PartialBCELoss([1, 2], [3, 4])(torch.zeros(logits), torch.zeros(labels))


def slow_info_nce(prediction: Tensor, candidates: Tensor, positive: Tensor, temperature: float) -> float:
    losses = []
    for vector, own in zip(prediction, positive.tolist(), strict=True):
        weights = []
        for candidate in candidates:
            dot = sum(a * b for a, b in zip(vector.tolist(), candidate.tolist(), strict=True))
            norms = math.sqrt(sum(a * a for a in vector.tolist()) * sum(b * b for b in candidate.tolist()))
            weights.append(math.exp(dot / norms / temperature))
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
