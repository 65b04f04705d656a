"""Each loss of partial labels against its formula, written out as loops over numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.losses import (
    AsymmetricPartialLoss,
    PartialBCELoss,
    PartialCrossEntropyLoss,
    asymmetric_partial,
    label_loss,
    partial_bce,
    partial_cross_entropy,
)

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_an_unknown_label_belongs_to_changes_nothing(dtype: torch.dtype) -> None:
    logits, labels = torch.randn(8, 4).to(dtype), partial_labels(8, 4)
    largest = torch.finfo(dtype).max * torch.randn(8, 4).sign()
    changed = torch.where(labels.isnan(), largest.to(dtype), logits).requires_grad_()
    weights = torch.rand(2, 4)
    loss = partial_bce(changed, labels, *weights)
    assert torch.equal(loss, partial_bce(logits, labels, *weights))
    loss.backward()
    assert (changed.grad[labels.isnan()] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_partial_bce_of_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    logits, labels = (100 * torch.randn(512, 14)).to(dtype), partial_labels(512, 14)
    weights = torch.rand(2, 14)
    loss = partial_bce(logits, labels, *weights)  # the sum is beyond the range of float16
    assert loss.dtype == torch.float32
    assert torch.equal(loss, partial_bce(logits.float(), labels, *weights))


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


def exclusive_labels(batch: int, classes: int) -> Tensor:
    labels = torch.eye(classes)[torch.randint(classes, (batch,))]
    labels[torch.rand(batch) < 0.4] = NAN
    return labels


def slow_partial_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor) -> float:
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if 1 in label:
            own = label.index(1)
            losses.append(-weight[own].item() * math.log(math.exp(row[own]) / sum(map(math.exp, row))))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("batch", "classes"), [(1, 2), (6, 3), (20, 7)])
def test_partial_cross_entropy_is_the_mean_over_images_of_known_class(batch: int, classes: int) -> None:
    logits = (2 * torch.randn(batch, classes, dtype=torch.float64)).requires_grad_()
    labels = exclusive_labels(batch, classes)
    labels[0] = torch.eye(classes)[1]
    weight = torch.rand(classes, dtype=torch.float64)
    loss = partial_cross_entropy(logits, labels, weight)
    assert loss.item() == pytest.approx(slow_partial_cross_entropy(logits, labels, weight), rel=1e-9)
    loss.backward()
    known = (labels == 1).any(dim=1)
    assert (logits.grad[~known] == 0).all()
    # Weight times (softmax − label), over the number of known images.
    softmax = logits.detach()[known].softmax(dim=1)
    own = labels[known].argmax(dim=1)
    expected = weight[own, None] * (softmax - labels[known]) / known.sum()
    torch.testing.assert_close(logits.grad[known], expected, rtol=1e-9, atol=1e-12)


def test_a_batch_of_unknown_classes_gives_zero_and_keeps_its_graph() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    loss = PartialCrossEntropyLoss([5, 1])(logits, torch.full((3, 2), NAN))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 2))


def test_exclusive_classes_are_weighted_by_inverse_frequency_with_a_mean_of_one() -> None:
    loss = label_loss(positive=[10, 40, 0], negative=[40, 10, 50], exclusive=True)
    assert isinstance(loss, PartialCrossEntropyLoss)
    # 1/10 : 1/40 is 4 : 1; the class that never occurs has no part in the mean, and is no target either.
    torch.testing.assert_close(loss.weight, torch.tensor([1.6, 0.4, 1.0]))
    assert PartialCrossEntropyLoss([0, 0]).weight.tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"must both be \[batch, 3\]"):
        loss(torch.zeros(4, 2), torch.zeros(4, 2))
    findings = label_loss([3, 0], [9, 8], exclusive=False)
    assert isinstance(findings, PartialBCELoss)
    assert findings.positive_weight.tolist() == [0.75, 0.5]


def test_without_balance_all_outcomes_count_alike() -> None:
    findings = label_loss([3, 0], [9, 8], balance=False)
    assert findings.positive_weight.tolist() == findings.negative_weight.tolist() == [0.5, 0.5]
    assert label_loss([10, 40, 0], [40, 10, 50], exclusive=True, balance=False).weight.tolist() == [1, 1, 1]
    logits, labels = torch.randn(5, 2), partial_labels(5, 2)
    known = labels.isfinite()
    expected = F.binary_cross_entropy_with_logits(logits[known], labels[known]) / 2
    torch.testing.assert_close(findings(logits, labels), expected)


def test_a_mixed_label_costs_the_mixture_of_both_outcomes() -> None:
    logits, weights = torch.randn(6, 3, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
    share = torch.rand(6, 3, dtype=torch.float64)
    one, none = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for loss in (partial_bce, asymmetric_partial):
        expected = 0.0
        for b in range(6):
            for k in range(3):
                outcomes = [loss(logits[b : b + 1, k : k + 1], y, *weights[:, k : k + 1]).item() for y in (one, none)]
                expected += share[b, k].item() * outcomes[0] + (1 - share[b, k].item()) * outcomes[1]
        assert loss(logits, share, *weights).item() == pytest.approx(expected / 18, rel=1e-9)


def test_mixed_exclusive_classes_cost_the_mixture_of_both_classes() -> None:
    logits, weight = torch.randn(2, 4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    labels = torch.tensor([[0, 0.3, 0, 0.7], [NAN] * 4], dtype=torch.float64)
    first, second = (partial_cross_entropy(logits[:1], torch.eye(4)[[own]], weight).item() for own in (1, 3))
    assert partial_cross_entropy(logits, labels, weight).item() == pytest.approx(0.3 * first + 0.7 * second)


def slow_asymmetric(
    logits: Tensor, labels: Tensor, weights: Tensor, gammas: tuple[float, float], margin: float
) -> float:
    losses = []
    for b in range(len(logits)):
        for k in range(logits.shape[1]):
            probability = 1 / (1 + math.exp(-logits[b, k].item()))
            if labels[b, k] == 1:
                losses.append(-weights[0, k].item() * (1 - probability) ** gammas[0] * math.log(probability))
            elif labels[b, k] == 0:
                shifted = max(probability - margin, 0)
                losses.append(-weights[1, k].item() * shifted ** gammas[1] * math.log(1 - shifted))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(("gammas", "margin"), [((0, 4), 0.05), ((1, 2.5), 0.0), ((0, 0), 0.2)])
def test_the_asymmetric_loss_is_its_formula_over_known_labels(gammas: tuple[float, float], margin: float) -> None:
    logits = (2 * torch.randn(9, 4, dtype=torch.float64)).requires_grad_()
    labels, weights = partial_labels(9, 4), torch.rand(2, 4, dtype=torch.float64)
    loss = asymmetric_partial(logits, labels, *weights, *gammas, margin)
    assert loss.item() == pytest.approx(slow_asymmetric(logits.detach(), labels, weights, gammas, margin), rel=1e-9)
    loss.backward()
    assert (logits.grad[labels.isnan()] == 0).all()
    if gammas == (0, 0) and not margin:
        torch.testing.assert_close(loss, partial_bce(logits, labels, *weights))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_asymmetric_loss_of_extreme_logits_is_finite_and_so_are_its_gradients(dtype: torch.dtype) -> None:
    logits = torch.tensor([[200.0, -200.0, 200.0, -1e30]], dtype=dtype, requires_grad=True)
    loss = AsymmetricPartialLoss([1, 1, 1, 1], [1, 1, 1, 1])(logits, torch.tensor([[0.0, 1.0, NAN, 0.0]]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    nothing = asymmetric_partial(logits, torch.full((1, 4), NAN), torch.ones(4), torch.ones(4))
    assert nothing.item() == 0


def test_label_losses_are_values() -> None:
    assert isinstance(label_loss([3, 0], [9, 8], kind="asymmetric"), AsymmetricPartialLoss)
    with pytest.raises(ValueError, match="focal"):
        label_loss([1], [1], kind="focal")
    with pytest.raises(ValueError, match="exclude each other"):
        label_loss([1], [1], exclusive=True, kind="asymmetric")
    for numbers in ({"gamma_negative": 0.5}, {"margin": 1.0}, {"gamma_positive": -1}):
        with pytest.raises(ValueError, match="margin from 0"):
            AsymmetricPartialLoss([1], [1], **numbers)
