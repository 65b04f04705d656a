"""DINO: its loss is that of its views, its centre moves with a step, and a collapse is seen and said."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from medssl.losses import dino
from medssl.networks import Backbone, build_backbone
from medssl.pretext import DINO, PretextModel, build_task
from medssl.training.logs.metrics import PretrainingWatch, effective_rank

BATCH = 3


def set_up(spatial_dims: int = 2, **values: Any) -> tuple[DINO, Backbone, Tensor]:
    backbone = build_backbone("resnet10_quarter", spatial_dims)
    image_size = [24, 26] if spatial_dims == 2 else [16, 14, 12]
    task = build_task("dino", backbone, image_size, prototypes=32, **values)
    assert isinstance(task, DINO)
    return task, backbone, torch.randn(BATCH, 1, *image_size)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("small_views", [0, 2])
def test_the_loss_is_that_of_all_pairs_of_different_views(spatial_dims: int, small_views: int) -> None:
    task, backbone, images = set_up(spatial_dims, small_views=small_views)
    task.centre += torch.randn(32) / 10
    torch.manual_seed(5)
    output = task(backbone, images)
    torch.manual_seed(5)
    (large, small), _ = task.puzzle(images)
    assert large.shape == (2 * BATCH, *images.shape[1:])
    assert list(small.shape) == [small_views * BATCH, 1, *(round(0.43 * side) for side in images.shape[2:])]
    with torch.no_grad():
        passes = [large] + [small] * bool(small_views)
        student = torch.cat([task.head(backbone(views).flatten(2).mean(dim=2)) for views in passes])
        teacher = task.teacher(large)
        wanted = dino(student.view(-1, BATCH, 32), teacher.view(2, BATCH, 32), task.centre)
    assert output.loss.item() == pytest.approx(wanted.item(), rel=1e-3)
    shares = torch.softmax((teacher - task.centre) / 0.04, dim=1)
    apart = [(share * (share / shares.mean(dim=0)).log()).sum() for share in shares]  # from the mean, in nats
    assert output.metrics["answers"].item() == pytest.approx(torch.stack(apart).mean().exp().item(), rel=1e-3)


def test_logits_are_cosines() -> None:
    task, _, _ = set_up()
    embeddings = torch.randn(4, 256)
    slow = [
        [torch.cosine_similarity(one, other, dim=0) for other in task.head[1].weight.detach()] for one in embeddings
    ]
    torch.testing.assert_close(task.head[1](embeddings), torch.tensor(slow), atol=1e-5, rtol=1e-4)


def test_the_centre_moves_to_the_mean_of_what_the_teacher_said_once_a_step() -> None:
    task, backbone, images = set_up(centre_momentum=0.75)
    model = PretextModel(backbone, {"dino": task})
    said: list[Tensor] = []
    task.teacher.register_forward_hook(lambda module, inputs, output: said.append(output.mean(dim=0)))
    expected = torch.zeros(32)
    for _ in range(3):
        model(images)
        model.after_step()
        expected = 0.75 * expected + 0.25 * said[-1]
        torch.testing.assert_close(task.centre, expected)
    model.after_step()  # another task had its turn
    torch.testing.assert_close(task.centre, expected)
    assert "tasks.dino.centre" in model.state_dict()  # a resumed run goes on with it


def test_a_collapse_shows_in_the_metrics_and_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    task, backbone, images = set_up()
    with torch.no_grad():
        for weight in (*backbone.parameters(), *task.teacher.backbone.parameters()):
            weight.fill_(0.01)  # to which all images look alike
        metrics = task(backbone, images).metrics
        assert metrics["spread"] < 0.05
        rank = effective_rank(backbone.eval().pool(backbone(torch.randn(12, 1, 24, 26))))
    watch = PretrainingWatch(["dino"], interval=1)
    figures = {f"dino/{name}": float(value) for name, value in metrics.items()} | {"effective_rank": float(rank)}
    for epoch in (1, 2):
        state = SimpleNamespace(metrics=figures, epoch=epoch, max_epochs=9, output={"image": torch.zeros(12, 1)})
        with caplog.at_level(logging.WARNING):
            watch(SimpleNamespace(state=state))  # type: ignore[arg-type]
    assert "The features have collapsed" in " ".join(watch.warnings)


@pytest.mark.parametrize("peak", [0.0, 50.0])
def test_one_answer_to_all_images_is_warned_of_whichever_it_is(peak: float) -> None:
    task, backbone, images = set_up()
    answer = peak * (torch.arange(32) == 3)
    task.teacher.forward = lambda views: answer.repeat(len(views), 1) + 1e-4 * torch.randn(len(views), 32)  # type: ignore
    figures = {"dino/answers": float(task(backbone, images).metrics["answers"]), "effective_rank": 20.0}
    assert 1 <= figures["dino/answers"] < 1.01
    watch = PretrainingWatch(["dino"])
    warned = []
    for epoch in (1, 4, 5):
        state = SimpleNamespace(metrics=figures, epoch=epoch, max_epochs=9, output={"image": torch.zeros(12, 1)})
        watch(SimpleNamespace(state=state))  # type: ignore[arg-type]
        warned.append(len(watch.warnings))
    assert warned == [0, 0, 1]  # from the middle on
    assert "dino has collapsed" in watch.warnings[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"small_views": -1}, "small_views must be a whole number"),
        ({"teacher_temperature": 0}, "teacher_temperature must be positive"),
        ({"centre_momentum": 1.5}, "centre_momentum must lie between 0 and 1"),
        ({"small_scale": (0.5, 0.1)}, "scale must rise"),
        ({"momentum": 1}, "momentum must lie between 0 and 1"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"dino: .*{message}"):
        set_up(**values)
