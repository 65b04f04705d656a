"""Distillation: its losses written out; a teacher from whatever file, that stays as it was; a student that learns."""

import math
from itertools import combinations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import UserError
from medssl.losses import distance_distillation
from medssl.networks import Backbone, build_backbone, save_backbone
from medssl.phantoms.batch import draw_batch
from medssl.pretext import PretextTask, build_task
from medssl.pretext.distil import most_alike

SIZES = [(48, 64), (32, 40, 33)]


def distances(rows: Tensor) -> list[float]:
    return [math.dist(one, other) for one, other in combinations(rows.tolist(), 2)]


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) < 1 else abs(difference) - 0.5


def test_distances_are_compared_over_their_means() -> None:
    student, teacher = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 7, dtype=torch.float64)
    teacher[0] *= 20  # beyond the square part
    mine, theirs = distances(student), distances(teacher)
    slow = [
        huber(one / (sum(mine) / len(mine)) - other / (sum(theirs) / len(theirs)))
        for one, other in zip(mine, theirs, strict=True)
    ]
    assert distance_distillation(student, teacher).item() == pytest.approx(sum(slow) / len(slow))
    assert distance_distillation(3 * teacher, teacher).item() == pytest.approx(0)
    student.requires_grad_(), teacher.requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: distance_distillation(rows, teacher), student)
    distance_distillation(student, teacher).backward()
    assert teacher.grad is None
    assert distance_distillation(torch.zeros(3, 2), teacher[:3].float()).isfinite()


@pytest.mark.parametrize("image_size", SIZES)
def test_features_point_where_the_standardised_ones_of_the_teacher_do(image_size: tuple[int, ...]) -> None:
    student, teacher = build_backbone("resnet10_quarter", len(image_size)), build_backbone("vgg11", len(image_size))
    task = build_task("distil", student, image_size, teacher=teacher)
    images = torch.randn(3, 1, *image_size)
    torch.manual_seed(1)
    output = task(student, images)
    torch.manual_seed(1)
    views, _ = task.puzzle(images)
    with torch.no_grad():
        answer, wanted = task.head(student(views)), teacher.eval()(views)
    wanted = F.interpolate(wanted, answer.shape[2:], mode="nearest") if wanted.shape != answer.shape else wanted
    rows = wanted.transpose(0, 1).flatten(1)
    rows = (rows - rows.mean(dim=1, keepdim=True)) / (rows.var(dim=1, correction=0, keepdim=True) + 1e-5).sqrt()
    said = answer.transpose(0, 1).flatten(1)
    assert output.loss.item() == pytest.approx(1 - F.cosine_similarity(said, rows, dim=0).mean().item(), abs=1e-4)


def test_the_teacher_is_frozen_and_in_evaluation_mode_and_learns_nothing_from_its_student() -> None:
    student = build_backbone("resnet10_quarter", 2)
    task = build_task("distil", student, (32, 32), teacher=build_backbone("resnet10", 2))
    before = {name: value.clone() for name, value in task.teacher.state_dict().items()}
    task.train()
    assert not any(module.training for module in task.teacher.modules())
    task(student, torch.randn(4, 1, 32, 32)).loss.backward()
    assert all(weight.grad is None for weight in task.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in task.teacher.state_dict().items())


def test_a_teacher_is_a_run_or_weights_with_or_without_a_description(tmp_path: Path) -> None:
    student, teacher = build_backbone("resnet10_quarter", 2), build_backbone("resnet10", 2)
    save_backbone(teacher, tmp_path / "backbone.pt", image_size=[32, 32])
    torch.save(teacher.network.state_dict(), plain := tmp_path / "others.pt")
    expected = teacher.network.state_dict()
    for values in (
        {"teacher": tmp_path},
        {"teacher": str(tmp_path / "backbone.pt")},
        {"teacher": str(plain), "architecture": "resnet10"},
    ):
        found = build_task("distil", student, (32, 32), **values).teacher.network.state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    with pytest.raises(UserError, match="others"):  # nothing says of which network these are
        build_task("distil", student, (32, 32), teacher=str(plain))
    with pytest.raises(UserError, match=r"distil: the teacher is a network for 2D images.* 3 axes"):
        build_task("distil", build_backbone("resnet10_quarter", 3), (32, 32, 32), teacher=tmp_path)


def test_the_most_alike_is_another_image() -> None:
    features = torch.tensor([[1.0, 0.1], [0.0, -1.0], [1.0, 0.0], [0.1, -1.0]])
    assert most_alike(features).tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("loss", ["features", "relations"])
def test_a_student_comes_to_see_images_as_its_teacher(loss: str) -> None:
    train, unseen = draw_batch((32, 32), 96, 0), draw_batch((32, 32), 32, 1)
    student, teacher = build_backbone("resnet10_quarter", 2), build_backbone("resnet10", 2)
    task = build_task("distil", student, (32, 32), teacher=teacher, loss=loss)
    optimizer = torch.optim.Adam([w for w in (*student.parameters(), *task.parameters()) if w.requires_grad], lr=3e-3)
    before = judge(task, student, unseen)
    for _ in range(20 if loss == "features" else 40):
        optimizer.zero_grad()
        task(student, train[torch.randperm(len(train))[:16]]).loss.backward()
        optimizer.step()
    after = judge(task, student, unseen)
    assert after < 0.8 * before


def judge(task: PretextTask, student: Backbone, images: Tensor) -> float:
    task.eval(), student.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        loss = task(student, images).loss.item()
    task.train(), student.train()
    return loss
