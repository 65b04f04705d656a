"""MoCo, BYOL, Barlow Twins and VICReg: their losses are those of their embeddings, and teacher and queue move."""

import io
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ignite.engine import Engine
from torch import Tensor

from medssl.losses import barlow_twins, queue_info_nce, vicreg
from medssl.networks import Backbone, build_backbone
from medssl.pretext import PretextModel, PretextTask, build_task
from medssl.training import AfterStep

BATCH = 4
NAMES, TEACHERS = ("moco", "byol", "barlow_twins", "vicreg"), ("moco", "byol", "dino")


def set_up(name: str, spatial_dims: int = 2, **values: Any) -> tuple[PretextTask, Backbone, Tensor]:
    backbone = build_backbone("resnet10_quarter", spatial_dims)
    image_size = [24, 26] if spatial_dims == 2 else [16, 14, 12]
    return build_task(name, backbone, image_size, **values), backbone, torch.randn(BATCH, 1, *image_size)


def slow_cosine(first: Tensor, second: Tensor) -> float:
    dot = sum(a * b for a, b in zip(first.tolist(), second.tolist(), strict=True))
    return dot / math.sqrt(sum(a * a for a in first.tolist()) * sum(b * b for b in second.tolist()))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_of_a_task_is_that_of_its_embeddings(name: str, spatial_dims: int) -> None:
    task, backbone, images = set_up(name, spatial_dims, **({"variance": 0} if name == "moco" else {}))
    torch.manual_seed(5)
    output = task(backbone, images)
    torch.manual_seed(5)
    views, _ = task.puzzle(images)
    with torch.no_grad():
        features = backbone(views).flatten(2).mean(dim=2)
        if name in ("barlow_twins", "vicreg"):
            embedded = [task.projector(half) for half in features.split(BATCH)]
            expected = {"barlow_twins": barlow_twins, "vicreg": vicreg}[name](*embedded)
        else:
            taught = task.teacher.head(task.teacher.backbone(views).flatten(2).mean(dim=2)).split(BATCH)
        if name == "byol":
            said = [task.predictor(task.projector(half)) for half in features.split(BATCH)]
            pairs = [
                pair for one, other in zip(said, taught[::-1], strict=True) for pair in zip(one, other, strict=True)
            ]
            expected = torch.tensor(np.mean([-slow_cosine(*pair) for pair in pairs]))
        if name == "moco":
            asked = [task.head(half) for half in features.split(BATCH)]
            halves = [queue_info_nce(a, b, task.queue, 0.2) for a, b in zip(asked, taught[::-1], strict=True)]
            expected = torch.stack(halves).mean()
    assert output.loss.item() == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("name", TEACHERS)
def test_the_teacher_follows_after_each_step_and_has_no_gradient(name: str) -> None:
    task, backbone, images = set_up(name, momentum=0.9)
    model = PretextModel(backbone, {name: task}).train()
    assert not task.teacher.training
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def numbers(of: Backbone) -> list[Tensor]:
        return [tensor.detach().clone() for tensor in of.state_dict().values() if tensor.is_floating_point()]

    slow = numbers(task.teacher.backbone)
    for step in range(100):
        if step < 3:
            optimizer.zero_grad()
            model(images).loss.backward()
            assert all(weight.grad is None for weight in task.teacher.parameters())
            optimizer.step()
        model.after_step()
        momentum = min(0.9, (1 + step) / (10 + step))
        slow = [momentum * mine + (1 - momentum) * own for mine, own in zip(slow, numbers(backbone), strict=True)]
    found = numbers(task.teacher.backbone)  # weights and running statistics
    for mine, expected, own in zip(found, slow, numbers(backbone), strict=True):
        torch.testing.assert_close(mine, expected)
        torch.testing.assert_close(mine, own, rtol=0.02, atol=0.02)  # it has come close by now


@pytest.mark.parametrize("name", TEACHERS)
def test_what_a_teacher_says_of_an_image_depends_on_no_other(name: str) -> None:
    task, backbone, images = set_up(name)
    PretextModel(backbone, {name: task}).train()
    together = task.teacher(images)
    torch.testing.assert_close(torch.cat([task.teacher(image[None]) for image in images]), together)


@pytest.mark.parametrize("name", TEACHERS)
def test_a_run_that_goes_on_has_the_teacher_and_the_queue_of_one_that_never_stopped(name: str) -> None:
    def train(stop: bool) -> dict[str, Any]:
        torch.manual_seed(0)
        values = {"queue": 6} if name == "moco" else {}
        task, backbone, images = set_up(name, **values)
        model = PretextModel(backbone, {name: task})
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(4):
            if stop and step == 2:
                torch.save((model.state_dict(), optimizer.state_dict()), file := io.BytesIO())
                file.seek(0)
                task, backbone, _ = set_up(name, **values)
                model = PretextModel(backbone, {name: task})
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                for part, state in zip((model, optimizer), torch.load(file, weights_only=True), strict=True):
                    part.load_state_dict(state)
            torch.manual_seed(step)
            optimizer.zero_grad()
            model(images).loss.backward()
            optimizer.step()
            model.after_step()
        return model.state_dict()

    undisturbed, resumed = train(stop=False), train(stop=True)
    assert undisturbed[f"tasks.{name}.teacher._extra_state"] == {"steps": 4}
    for key, value in undisturbed.items():
        assert torch.equal(value, resumed[key]) if isinstance(value, Tensor) else value == resumed[key]


def test_the_queue_holds_the_newest_embeddings_and_moves_with_a_step_alone() -> None:
    task, backbone, images = set_up("moco", queue=10)
    before = task.queue.clone()
    seen: list[Tensor] = []
    task.teacher.register_forward_hook(lambda module, inputs, output: seen.append(F.normalize(output[BATCH:], dim=1)))
    for _ in range(4):
        task(backbone, images)
        task(backbone, images)  # a second look, with no step between, counts once
        assert torch.equal(task.queue, before)
        task.after_step(backbone)
        before = task.queue.clone()
    newest = torch.cat(seen[1::2])[-10:]
    assert torch.equal(task.queue[torch.arange(6, 16) % 10], newest)
    task.after_step(backbone)  # another task had its turn
    assert torch.equal(task.queue, before)


def test_what_a_mini_batch_has_in_common_does_not_find_the_own_key() -> None:
    # All images of a mini-batch alike, all of the queue another: with the queue alone the loss would be near 0.
    mini_batch, queue = torch.tensor([1.0, 0.0]).expand(64, 2), torch.tensor([-1.0, 0.0]).expand(512, 2)
    assert queue_info_nce(mini_batch, mini_batch, queue, 0.1).item() == pytest.approx(math.log(64), rel=1e-3)


def test_a_floor_under_the_variance_raises_a_collapsed_loss_of_moco() -> None:
    task, backbone, images = set_up("moco")
    plain, _, _ = set_up("moco", variance=0)
    plain.load_state_dict(task.state_dict())
    torch.manual_seed(1)
    with_floor = task(backbone, images).loss
    torch.manual_seed(1)
    assert with_floor > plain(backbone, images).loss


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 10), (2, 6), (5, 2), (7, 2)])
def test_a_trainer_calls_the_hook_once_a_step(accumulate: int, steps: int) -> None:
    called: list[int] = []
    model: Any = SimpleNamespace(after_step=lambda: called.append(1))
    engine: Any = Engine(lambda engine, batch: None)
    engine.accumulation_steps = accumulate
    AfterStep(model).attach(engine)
    engine.run([0] * 5, max_epochs=2)
    assert len(called) == steps


def test_all_tasks_of_a_model_are_called() -> None:
    byol, backbone, images = set_up("byol")
    moco, _, _ = set_up("moco")
    model = PretextModel(backbone, {"byol": byol}, beside={"moco": moco})
    model(images)
    model.after_step()
    assert byol.teacher.steps == moco.teacher.steps == 1
    assert moco.place == BATCH
