"""Several tasks on one backbone: weights, turns, and going on after an interruption."""

import io
from collections import Counter
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import build_backbone
from medssl.pretext import (
    PretextModel,
    PretextOutput,
    PretextTask,
    build_pretext_model,
    build_task,
    copies_of,
    named_tasks,
)

IMAGES = torch.zeros(2, 1, 8, 8)


class Constant(PretextTask):
    """A task whose loss is a weight of its own, to watch the schedule alone."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images

    def forward(self, backbone: nn.Module, images: Tensor) -> PretextOutput:
        return PretextOutput(1 * self.value, {})


def constant_model(**values: Any) -> PretextModel:
    tasks = {"one": Constant(1.0), "ten": Constant(10.0), "hundred": Constant(100.0)}
    return PretextModel(build_backbone("resnet10_quarter", 2), tasks, **values)


@pytest.mark.parametrize(
    ("weights", "total"),
    [(None, 37.0), ({"one": 1, "ten": 1, "hundred": 2}, 52.75), ({"one": 50, "ten": 30, "hundred": 20}, 23.5)],
)
def test_sum_is_the_mean_under_weights_scaled_to_one(weights: dict[str, float] | None, total: float) -> None:
    model = constant_model(schedule="sum", weights=weights)
    assert sum(model.weights.values()) == pytest.approx(1)
    output = model(IMAGES)
    assert output.loss.item() == pytest.approx(total)
    assert {name: task.loss.item() for name, task in output.tasks.items()} == {"one": 1, "ten": 10, "hundred": 100}
    output.loss.backward()
    for name, task in model.tasks.items():
        assert task.value.grad.item() == pytest.approx(model.weights[name])


def test_real_tasks_share_one_backbone_and_have_heads_of_their_own() -> None:
    backbone = build_backbone("resnet10_quarter", 2, in_channels=3)
    names = ("rotation", "rvrm", "sc_assl")
    model = PretextModel(backbone, {name: build_task(name, backbone, (32, 32)) for name in names})
    output = model(torch.randn(4, 1, 32, 32))  # rvrm's backbone has three channels; the others repeat the image
    assert list(output.tasks) == list(names)
    assert output.loss.item() == pytest.approx(sum(task.loss.item() for task in output.tasks.values()) / 3, rel=1e-5)
    output.loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    assert len({id(weight) for weight in model.parameters()}) == len(list(model.parameters()))


def drawn(model: PretextModel, steps: int) -> list[str]:
    names = []
    for _ in range(steps):
        output = model(IMAGES)
        (name,) = output.tasks
        assert torch.equal(output.loss, output.tasks[name].loss)  # not scaled: its share is in how often it comes
        names.append(name)
    return names


def test_alternate_draws_each_task_in_proportion_and_without_memory() -> None:
    steps, shares = 4000, {"one": 0.5, "ten": 0.3, "hundred": 0.2}
    names = drawn(constant_model(schedule="alternate", weights=shares), steps)
    counts = Counter(names)
    for name, share in shares.items():
        assert abs(counts[name] - steps * share) < 5 * (steps * share * (1 - share)) ** 0.5
    # Neighbouring seeds must not give neighbouring draws: a task follows itself as often as any other.
    repeats = sum(first == second for first, second in pairwise(names))
    expected = sum(share**2 for share in shares.values())
    assert abs(repeats - steps * expected) < 5 * (steps * expected * (1 - expected)) ** 0.5


def test_alternate_draws_the_same_in_every_process_whatever_else_is_random() -> None:
    first = drawn(constant_model(schedule="alternate", seed=3), 60)
    torch.manual_seed(99)
    torch.rand(7)
    second = constant_model(schedule="alternate", seed=3)
    state = torch.get_rng_state()
    assert drawn(second, 60) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert drawn(constant_model(schedule="alternate", seed=4), 60) != first


def test_alternate_goes_on_where_the_checkpoint_stopped() -> None:
    model = constant_model(schedule="alternate", seed=5)
    drawn(model, 25)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    resumed = constant_model(schedule="alternate", seed=5)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    rest = drawn(resumed, 40)
    assert rest == drawn(model, 40)
    assert rest != drawn(constant_model(schedule="alternate", seed=5), 40)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedule": "mixed"}, "schedule must be sum or alternate, got 'mixed'"),
        ({"weights": {"one": 1, "ten": 1}}, "positive number for each of one, ten, hundred"),
        ({"weights": {"one": 1, "ten": 1, "hundred": 1, "more": 1}}, "positive number for each of"),
        ({"weights": {"one": 1, "ten": 0, "hundred": 1}}, "positive number"),
        ({"weights": {"one": 1, "ten": -2, "hundred": 1}}, "positive number"),
        ({"weights": {"one": 1, "ten": float("nan"), "hundred": 1}}, "positive number"),
    ],
)
def test_schedules_and_weights_that_mean_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        constant_model(**values)


def test_a_model_without_a_task_is_refused() -> None:
    with pytest.raises(ValueError, match="no pretext task"):
        PretextModel(build_backbone("resnet10_quarter", 2), {})


FORMS: list[tuple[Any, dict[str, Any]]] = [
    ("rotation", {"rotation": {}}),
    ("rotation,src", {"rotation": {}, "src": {}}),
    (("rotation", "src"), {"rotation": {}, "src": {}}),  # what python-fire makes of rotation,src
    (["src"], {"src": {}}),
    ({"rotation": None, "mim": {"grid": 2}}, {"rotation": {}, "mim": {"grid": 2}}),
    # What python-fire leaves as a text, for it has a path or a flow of YAML in it that is no Python.
    ("{mim: {grid: 2, decoder: null}, rotation: }", {"mim": {"grid": 2, "decoder": None}, "rotation": {}}),
]


@pytest.mark.parametrize(("tasks", "named"), FORMS, ids=[str(tasks) for tasks, _ in FORMS])
def test_tasks_are_values(tasks: Any, named: dict[str, Any]) -> None:
    assert named_tasks(tasks) == named
    model = build_pretext_model(build_backbone("resnet10_quarter", 2), (32, 32), tasks)
    assert list(model.tasks) == list(named)


def test_values_reach_the_task_and_copies_are_the_most_that_one_needs() -> None:
    tasks = {"rotation": {}, "rvrm": {"alpha": 0.5}}
    assert (copies_of("rotation"), copies_of(tasks)) == (1, 3)
    model = build_pretext_model(build_backbone("resnet10_quarter", 2, 3), (32, 32), tasks)
    assert model.all_tasks["rvrm"].alpha == 0.5


class Foreign(Constant):
    """A task of somebody else's."""

    copies = 2

    def __init__(self, backbone: nn.Module, image_size: Any, value: float = 3.0) -> None:
        super().__init__(value)


@pytest.mark.parametrize(
    "tasks",
    [
        f"{__name__}.Foreign",
        {f"{__name__}.Foreign": {"value": 3.0}},
        {"Foreign": partial(Foreign, value=3.0)},
        {"Foreign": Foreign(nn.Identity(), (8, 8))},
    ],
    ids=["name", "values", "callable", "built"],
)
def test_a_task_may_be_somebody_elses(tasks: Any) -> None:
    assert copies_of(tasks) == 2
    model = build_pretext_model(build_backbone("resnet10_quarter", 2), (8, 8), tasks)
    assert list(model.tasks) == ["Foreign"]
    assert model(IMAGES).loss.item() == 3.0


@pytest.mark.parametrize(
    ("tasks", "named"),
    [
        ("", "tasks"),
        ({}, "tasks"),
        (3, "tasks"),
        ("rotatoin", "rotation"),
        ("nowhere.Task", "nowhere.Task"),
        ("torch.nn.Linear", "torch.nn.Linear"),
        ({"rotation": 3}, "rotation"),
        ({"rotation": {"angle": 3}}, "angle"),
    ],
)
def test_what_is_no_task_is_refused_by_name(tasks: Any, named: str) -> None:
    with pytest.raises(UserError, match=named):
        build_pretext_model(build_backbone("resnet10_quarter", 2), (32, 32), tasks)
