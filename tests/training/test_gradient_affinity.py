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
from medssl.training import fit_linear_layer, gradient_affinity, restate_batch_norm

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


def gradient_after(model: PretextModel, head: nn.Module, loss: nn.Module, batches: Any) -> Tensor:
    torch.manual_seed(5)
    return gradient_affinity(model, head, loss, batches)


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
    assert torch.equal(gradient_after(model.train(), head, loss, batches), cosines)  # whatever mode the model is in
    model.eval()
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before if not key.endswith("_extra_state"))
    assert head.weight.grad is None

    slow = copy.deepcopy(model).eval()
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


def test_the_head_sees_the_features_that_it_was_fitted_to() -> None:
    """A head fitted in evaluation and asked in training mode had three times the loss, more than a constant has."""
    backbone = build_backbone("resnet10_quarter", 2)
    images = 2 + torch.randn(64, 1, 32, 32) * torch.linspace(0.5, 3, 64)[:, None, None, None]
    labels = (torch.arange(64) > 31).float()[:, None]
    for _ in range(20):  # statistics of a pre-training, whose puzzles are no plain images
        backbone.train()(images - 2)
    loss = PartialBCELoss([32], [32])
    restate_batch_norm(backbone, images.split(16))
    with torch.no_grad():
        features = backbone.eval().pool(backbone(images))
    head = fit_linear_layer(features, labels, loss, epochs=200, learning_rate=0.01, batch_size=16)
    fitted = loss(head(features), labels).item()
    assert fitted < 0.8 * loss(torch.zeros_like(labels), labels).item()
    seen: list[float] = []

    def recorded(logits: Tensor, labels: Tensor) -> Tensor:
        value = loss(logits, labels)
        seen.append(value.item())
        return value

    model = PretextModel(backbone, {"rotation": build_task("rotation", backbone, (32, 32))}).train()
    gradient_affinity(model, head, recorded, list(zip(images.split(16), labels.split(16), strict=True)))
    assert sum(seen) / len(seen) == pytest.approx(fitted, rel=0.02)


def test_the_statistics_are_those_of_the_images_and_nothing_else_changes() -> None:
    backbone = build_backbone("resnet10_quarter", 2).eval()
    before = copy.deepcopy(backbone.state_dict())
    images = 3 + 2 * torch.randn(32, 1, 32, 32)
    restate_batch_norm(backbone, images.split(8))
    assert not backbone.training
    after = backbone.state_dict()
    changed = {key.rpartition(".")[2] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    network: Any = backbone.network
    with torch.no_grad():
        maps = network.conv1(images)
    torch.testing.assert_close(network.bn1.running_mean, maps.mean(dim=(0, 2, 3)))


def test_a_model_is_given_what_else_the_batch_holds() -> None:
    backbone = build_backbone("resnet18", 2)
    model = PretextModel(backbone, {"rotation": build_task("rotation", backbone, (32, 32))})
    given: list[Any] = []
    model.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1:]))
    # The copy that is looked at keeps the hook.
    patients = torch.tensor([1, 1, 2, 2])
    gradient_affinity(
        model, nn.Linear(512, 2), PartialBCELoss([2, 1], [1, 2]), [(torch.randn(4, 1, 32, 32), LABELS, patients)]
    )
    assert torch.equal(given[0][0], patients)
