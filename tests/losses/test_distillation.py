"""DINO's loss against its formula, written out as loops over views, images and prototypes."""

import math

import pytest
import torch
from torch import Tensor

from medssl.losses import dino


def softmax(logits: list[float], temperature: float) -> list[float]:
    weights = [math.exp(logit / temperature) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def slow_dino(student: Tensor, teacher: Tensor, centre: Tensor, cold: float, warm: float) -> float:
    """Caron et al. 2021, Algorithm 1, for any number of views: the teacher's view is not asked of the student again."""
    terms = []
    for g, taught in enumerate(teacher):
        for v, said in enumerate(student):
            if g == v:
                continue
            for answer, guess in zip(taught, said, strict=True):
                target = softmax((answer - centre).tolist(), cold)
                found = softmax(guess.tolist(), warm)
                terms.append(-sum(t * math.log(s) for t, s in zip(target, found, strict=True)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize(("views", "large"), [(2, 2), (6, 2), (3, 1)])
def test_dino_is_the_formula(views: int, large: int) -> None:
    student, teacher, centre = torch.randn(views, 3, 5) / 3, torch.randn(large, 3, 5) / 9, torch.randn(5) / 9
    wanted = slow_dino(student, teacher, centre, 0.04, 0.1)
    assert dino(student, teacher, centre).item() == pytest.approx(wanted, rel=1e-4)
    wanted = slow_dino(student, teacher, centre, 0.2, 0.3)
    assert dino(student, teacher, centre, 0.3, 0.2).item() == pytest.approx(wanted, rel=1e-4)


def test_the_gradient_reaches_the_student_alone_and_16_bits_count_in_32() -> None:
    student = torch.randn(4, 3, 8, requires_grad=True)
    teacher = torch.randn(2, 3, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = dino(student, teacher, torch.zeros(8))
    loss.backward()
    assert loss.dtype == torch.float32
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
