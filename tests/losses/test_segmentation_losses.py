"""The losses of partially outlined masks against loops over voxels, with classes unknown at random."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DeepSupervisionLoss, DiceLoss
from torch import Tensor

from medssl.errors import UserError
from medssl.losses import SegmentationLoss, class_probabilities, marginal_exclusion, partial_dice_bce

NAN, SMOOTH = math.nan, 1e-5


def draw(seed: int, size: tuple[int, ...], disjoint: bool = False, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Logits and targets of 3 images: classes known, unknown in an image, or unknown in some of its voxels."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    logits = (6 * random(3, classes, *size) - 3).double()
    if disjoint:
        label = (random(3, 1, *size) * (classes + 1)).long()
        targets = (label == torch.arange(1, classes + 1).view(1, -1, *[1] * len(size))).double()
    else:
        targets = (random(3, classes, *size) < 0.4).double()
    ones = [1] * len(size)
    targets[(random(3, classes, *ones) < 0.3).expand_as(targets)] = NAN
    partly = (random(3, classes, *ones) < 0.2) & (random(3, classes, *size) < 0.5)
    targets[partly] = NAN
    return logits, targets


def slow_dice(pairs: list[tuple[float, float]]) -> float:
    both = sum(p * t for p, t in pairs)
    return (2 * both + SMOOTH) / (sum(p + t for p, t in pairs) + SMOOTH)


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def slow_dice_loss(probability: Tensor, targets: Tensor, batch_dice: bool) -> float:
    losses = []
    for c in range(targets.shape[1]):
        images = [b for b in range(len(targets)) if not targets[b, c].isnan().any()]
        groups = [images] * bool(images) if batch_dice else [[b] for b in images]
        for group in groups:
            p, t = probability[group, c].flatten().tolist(), targets[group, c].flatten().tolist()
            losses.append(1 - slow_dice(list(zip(p, t, strict=True))))
    return mean(losses)


def slow_dice_bce(logits: Tensor, targets: Tensor, batch_dice: bool) -> float:
    costs = []
    for logit, target in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        if not math.isnan(target):
            p = 1 / (1 + math.exp(-logit))
            costs.append(-math.log(p if target == 1 else 1 - p))
    return mean(costs) + slow_dice_loss(logits.sigmoid(), targets, batch_dice)


def slow_marginal_exclusion(logits: Tensor, targets: Tensor, batch_dice: bool) -> float:
    classes, costs = targets.shape[1], []
    probability = torch.zeros_like(logits)
    excluded: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for place in product(range(len(logits)), *map(range, logits.shape[2:])):
        b, voxel = place[0], place[1:]
        at = [(b, c, *voxel) for c in range(classes)]
        exponentials = [1.0, *(math.exp(logits[each].item()) for each in at)]
        shares = [value / sum(exponentials) for value in exponentials]
        states = [targets[each].item() for each in at]
        for each, share in zip(at, shares[1:], strict=True):
            probability[each] = share
        if 1 in states:
            costs.append(-math.log(shares[1 + states.index(1)]))
        elif not all(map(math.isnan, states)):
            merged = shares[0] + sum(s for s, state in zip(shares[1:], states, strict=True) if math.isnan(state))
            costs.append(-math.log(merged))
        for c, state in enumerate(states):
            if math.isnan(state):
                excluded.setdefault((0 if batch_dice else b, c), []).append((shares[1 + c], float(1 in states)))
    overlaps = [slow_dice(pairs) for pairs in excluded.values() if any(taken for _, taken in pairs)]
    return mean(costs) + slow_dice_loss(probability, targets, batch_dice) + mean(overlaps)


CASES = st.tuples(st.integers(0, 10**6), st.sampled_from([(4, 3), (2, 3, 2)]), st.booleans())


@given(CASES)
@settings(max_examples=25, deadline=None)
def test_each_kind_is_its_formula_and_what_is_unknown_has_no_part_in_it(case: tuple[int, Any, bool]) -> None:
    seed, size, batch_dice = case
    logits, targets = draw(seed, size)
    loss = partial_dice_bce(logits.requires_grad_(), targets, batch_dice)
    assert loss.item() == pytest.approx(slow_dice_bce(logits.detach(), targets, batch_dice), rel=1e-6, abs=1e-9)
    loss.backward()
    assert (logits.grad[targets.isnan()] == 0).all()
    assert (logits.grad[targets.isfinite()] != 0).all()
    logits, targets = draw(seed, size, disjoint=True)
    expected = slow_marginal_exclusion(logits, targets, batch_dice)
    assert marginal_exclusion(logits, targets, batch_dice).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("batch_dice", [True, False])
def test_where_all_is_known_the_dice_is_that_of_monai(batch_dice: bool) -> None:
    logits, targets = torch.randn(3, 4, 5, 6), (torch.rand(3, 4, 5, 6) < 0.3).float()
    expected = DiceLoss(sigmoid=True, batch=batch_dice)(logits, targets)
    expected = expected + torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(SegmentationLoss(batch_dice=batch_dice)(logits, targets), expected)


def test_the_parts_of_the_softmax_are_those_of_all_labels_where_all_is_known() -> None:
    logits = torch.randn(2, 3, 6, 5)
    label = torch.randint(4, (2, 6, 5))
    targets = torch.nn.functional.one_hot(label, 4).movedim(-1, 1)[:, 1:].float()
    full = torch.cat([torch.zeros(2, 1, 6, 5), logits], dim=1)
    torch.testing.assert_close(class_probabilities(logits, disjoint=True), full.softmax(dim=1)[:, 1:])
    expected = torch.nn.functional.cross_entropy(full, label)
    expected = expected + DiceLoss(softmax=True, include_background=False, batch=True)(
        full, torch.cat([1 - targets.sum(1, True), targets], 1)
    )
    torch.testing.assert_close(marginal_exclusion(logits, targets), expected)


@pytest.mark.parametrize("kind", ["dice_bce", "marginal_exclusion"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_of_any_precision_give_finite_losses_and_gradients(kind: str, dtype: torch.dtype) -> None:
    _, targets = draw(3, (24, 24), disjoint=True)
    targets = targets.float()
    logits = (torch.randn(targets.shape).sign() * 6e4).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = SegmentationLoss(kind)(logits, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["dice_bce", "marginal_exclusion"])
@pytest.mark.parametrize("batch_dice", [True, False])
def test_a_batch_of_which_nothing_is_known_costs_nothing_and_keeps_its_graph(kind: str, batch_dice: bool) -> None:
    outputs = [torch.randn(2, 3, side, side, requires_grad=True) for side in (8, 4)]
    loss = SegmentationLoss(kind, batch_dice)(outputs, torch.full((2, 3, 8, 8), NAN))
    loss.backward()
    assert loss.item() == 0
    assert all((output.grad == 0).all() for output in outputs)


def test_outputs_from_fine_to_coarse_are_weighted_as_in_monai_and_the_weights_sum_to_one() -> None:
    targets = torch.randint(0, 2, (2, 3, 16, 12)).float()
    targets[1, 2] = NAN
    outputs = [torch.randn(2, 3, 16 // step, 12 // step) for step in (1, 2, 4)]
    loss = SegmentationLoss()
    expected = DeepSupervisionLoss(loss)(outputs, targets) / (1 + 0.5 + 0.25)
    torch.testing.assert_close(loss(outputs, targets), expected)
    torch.testing.assert_close(loss(outputs[:1], targets), loss(outputs[0], targets))
    torch.testing.assert_close(SegmentationLoss(level_decay=0.0)(outputs, targets), loss(outputs[0], targets))


def test_classes_learned_apart_from_two_hospitals_come_together() -> None:
    """Each image has one of two disjoint classes outlined; the logits of both images are one, so both must be found."""
    truth = torch.zeros(1, 2, 6, 6)
    truth[:, 0, :2, :3], truth[:, 1, 4:, 3:] = 1, 1
    targets = truth.repeat(2, 1, 1, 1)
    targets[0, 1], targets[1, 0] = NAN, NAN
    for kind in ("dice_bce", "marginal_exclusion"):
        logits = torch.zeros(1, 2, 6, 6, requires_grad=True)
        optimiser = torch.optim.Adam([logits], 0.3)
        for _ in range(30):
            optimiser.zero_grad()
            SegmentationLoss(kind)(logits.expand(2, -1, -1, -1), targets).backward()
            optimiser.step()
        assert torch.equal(class_probabilities(logits, kind == "marginal_exclusion") > 0.5, truth == 1)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="focal"):
        SegmentationLoss("focal")
    targets = torch.zeros(2, 3, 8, 8)
    for outputs in (torch.zeros(2, 2, 8, 8), [torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 4, 4)]):
        with pytest.raises(UserError, match="do not fit"):
            SegmentationLoss()(outputs, targets)
