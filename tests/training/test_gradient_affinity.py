"""The cosine of two gradients, taken here parameter by parameter with backward()."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medssl.losses import PartialBCELoss
from medssl.networks import build_backbone
from medssl.pretext import PretextModel, PretextOutput, PretextTask, build_task
from medssl.training import gradient_affinity

NAN = float("nan")
LABELS = torch.tensor([[1, 0], [0, NAN], [1, 1], [NAN, 0]])


class Echo(PretextTask):
    """A pretext task whose loss is that of the downstream task, times a factor."""

    def __init__(self, head: nn.Module, loss: nn.Module, factor: float) -> None:
        super().__init__()
        self.head, self.loss, self.factor = head, loss, factor

    def puzzle(self, images: Tensor) -> tuple[Any, Any]:
        return images, LABELS

    def forward(self, backbone: Any, images: Tensor) -> PretextOutput:
        return PretextOutput(self.factor * self.loss(self.head(backbone.pool(backbone(images))), LABELS), {})


@pytest.mark.parametrize(("task", "copies"), [("rotation", 1), ("rvrm", 3)])
def test_it_is_the_cosine_over_all_parameters_of_the_backbone(task: str, copies: int) -> None:
    backbone = build_backbone("resnet18", 2, in_channels=copies)
    model = PretextModel(backbone, {task: build_task(task, backbone, (32, 32))}).eval()
    head, loss = nn.Linear(512, 2), PartialBCELoss([2, 1], [1, 2])
    batches = [(torch.randn(4, 1, 32, 32), LABELS) for _ in range(2)]
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    cosines = gradient_affinity(model, head, loss, batches)
    assert not model.training
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before if not key.endswith("_extra_state"))
    assert head.weight.grad is None

    slow = copy.deepcopy(model).train()
    torch.manual_seed(5)
    expected = []
    for images, labels in batches:
        gradients: list[list[Tensor]] = []
        for step in ("pretext", "downstream"):
            slow.zero_grad()
            features = slow.backbone.pool(slow.backbone(images)) if step == "downstream" else None
            (slow(images).loss if features is None else loss(head(features), labels)).backward()
            gradients.append([parameter.grad.clone() for parameter in slow.backbone.parameters()])  # type: ignore[union-attr]
        product, *squares = (
            sum((one * two).double().sum().item() for one, two in zip(first, second, strict=True))
            for first, second in (gradients, [gradients[0]] * 2, [gradients[1]] * 2)
        )
        expected.append(product / math.sqrt(math.prod(squares)))
    assert cosines.tolist() == pytest.approx(expected, abs=1e-4)
    assert abs(expected[0] - expected[1]) > 1e-3  # so that the comparison says something


def test_the_same_task_agrees_its_opposite_does_not_and_nothing_known_says_nothing() -> None:
    backbone = build_backbone("resnet18", 2)
    head, loss = nn.Linear(512, 2), PartialBCELoss([2, 1], [1, 2])
    images = torch.randn(4, 1, 32, 32)
    for factor in (2.0, -0.5):
        model = PretextModel(backbone, {"echo": Echo(head, loss, factor)})
        batches = [(images, LABELS), (images, torch.full_like(LABELS, NAN))]
        assert gradient_affinity(model, head, loss, batches).tolist() == pytest.approx([math.copysign(1, factor), 0])
