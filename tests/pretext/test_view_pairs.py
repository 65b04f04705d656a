"""SimSiam and SimCLR: their layers, their losses and gradients written out, and when two views find each other."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from families import FAMILIES, QUICK, slow_but
from torch import Tensor, nn

from medssl.networks import Backbone, build_backbone
from medssl.pretext import PretextTask, SimCLR, SimSiam, build_task
from medssl.pretext.view_pairs import matching_metrics

BATCH = 4
both_dims = pytest.mark.parametrize("spatial_dims", [2, 3])
both_tasks = pytest.mark.parametrize("name", ["simsiam", "simclr"])
SAME_VIEW = {"scale": (1, 1), "ratio": (1, 1), "mirror_axes": (), "jitter": 0, "blur": 0}
"""Values of a view that is the image itself."""


def set_up(name: str, spatial_dims: int, **values: Any) -> tuple[PretextTask, Backbone, Tensor]:
    """Views are drawn in float32; what follows is in double precision, to compare a slow reference closely."""
    backbone = build_backbone("resnet10_quarter", spatial_dims).double()
    backbone.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    image_size = [24, 26] if spatial_dims == 2 else [16, 14, 12]
    images = torch.randn(BATCH, 1, *image_size)
    return build_task(name, backbone, image_size, **values).double(), backbone, images


def linear_layers(network: nn.Sequential) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for layer in network:
        if isinstance(layer, nn.Linear):
            rows.append(("linear", layer.in_features, layer.out_features))
        elif isinstance(layer, nn.BatchNorm1d):
            rows.append(("normalise", layer.num_features))
        else:
            rows.append((type(layer).__name__.lower(),))
    return rows


@pytest.mark.parametrize("architecture", slow_but(QUICK, FAMILIES))
def test_simsiam_has_the_layers_of_the_paper(architecture: str) -> None:
    backbone = build_backbone(architecture, 2)
    task = SimSiam(backbone, (32, 32))
    # Dong et al. 2024, Sec. 6.2.4.
    assert linear_layers(task.projector) == [
        ("linear", backbone.out_channels, 1024),
        ("normalise", 1024),
        ("relu",),
        ("linear", 1024, 1024),
        ("normalise", 1024),
        ("relu",),
        ("linear", 1024, 2048),
        ("normalise", 2048),
    ]
    assert linear_layers(task.predictor) == [
        ("linear", 2048, 1024),
        ("normalise", 1024),
        ("relu",),
        ("linear", 1024, 2048),
    ]
    # Only what no batch normalisation follows has a bias.
    layers = [*task.projector, *task.predictor]
    assert [layer.bias is not None for layer in layers if isinstance(layer, nn.Linear)] == [False] * 4 + [True]


def test_simclr_has_one_hidden_layer() -> None:
    task = SimCLR(build_backbone("densenet121", 2), (32, 32))
    assert linear_layers(task.head) == [("linear", 1024, 1024), ("relu",), ("linear", 1024, 128)]


def slow_cosine(first: Tensor, second: Tensor) -> float:
    dot = sum(a * b for a, b in zip(first.tolist(), second.tolist(), strict=True))
    return dot / math.sqrt(sum(a * a for a in first.tolist()) * sum(b * b for b in second.tolist()))


def gradients(loss: Tensor, *modules: nn.Module) -> Iterator[Tensor]:
    yield from torch.autograd.grad(loss, [weight for module in modules for weight in module.parameters()])


def largest_difference(first: Iterator[Tensor], second: Iterator[Tensor]) -> float:
    """Of two gradients, relative to the larger of each pair."""
    pairs = list(zip(first, second, strict=True))
    scale = max(one.abs().max().item() for one, _ in pairs)
    return max((one - other).abs().max().item() for one, other in pairs) / scale


@both_dims
def test_simsiam_is_the_symmetric_negative_cosine_and_no_gradient_flows_into_what_is_predicted(
    spatial_dims: int,
) -> None:
    task, backbone, images = set_up("simsiam", spatial_dims, hidden_channels=32, out_channels=48)
    torch.manual_seed(5)
    output = task(backbone, images)
    torch.manual_seed(5)
    views, _ = task.puzzle(images)

    def embed() -> tuple[Tensor, ...]:
        features = backbone(views).flatten(2).mean(dim=2)
        z1, z2 = task.projector(features[:BATCH]), task.projector(features[BATCH:])
        return z1, z2, task.predictor(z1), task.predictor(z2)

    z1, z2, p1, p2 = embed()
    slow = [-(slow_cosine(p1[b], z2[b]) + slow_cosine(p2[b], z1[b])) / 2 for b in range(BATCH)]
    assert output.loss.item() == pytest.approx(np.mean(slow), rel=1e-9)

    # The targets as numbers that were computed before, which no gradient can reach.
    with torch.no_grad():
        fixed1, fixed2, _, _ = embed()

    def loss(target1: Tensor, target2: Tensor) -> Tensor:
        pairs = [(p1[b], target2[b]) for b in range(BATCH)] + [(p2[b], target1[b]) for b in range(BATCH)]
        return -sum((p @ z) / (p.norm() * z.norm()) for p, z in pairs) / (2 * BATCH)

    got = list(gradients(output.loss, backbone, task))
    stopped = torch.autograd.grad(loss(fixed1, fixed2), [*backbone.parameters(), *task.parameters()], retain_graph=True)
    assert largest_difference(iter(got), iter(stopped)) < 1e-8
    # A gradient through the targets would be another one.
    assert largest_difference(iter(got), gradients(loss(z1, z2), backbone, task)) > 1e-2


@both_dims
@pytest.mark.parametrize("temperature", [0.5, None])
def test_simclr_is_nt_xent_of_the_embeddings(spatial_dims: int, temperature: float | None) -> None:
    values, temperature = ({}, 0.2) if temperature is None else ({"temperature": temperature}, temperature)
    task, backbone, images = set_up("simclr", spatial_dims, **values)
    torch.manual_seed(5)
    output = task(backbone, images)
    torch.manual_seed(5)
    views, _ = task.puzzle(images)
    with torch.no_grad():
        embedded = task.head(backbone(views).flatten(2).mean(dim=2))
    losses = []
    for view in range(2 * BATCH):
        own = (view + BATCH) % (2 * BATCH)
        weight = {
            other: math.exp(slow_cosine(embedded[view], embedded[other]) / temperature)
            for other in range(2 * BATCH)
            if other != view
        }
        losses.append(-math.log(weight[own] / sum(weight.values())))
    assert output.loss.item() == pytest.approx(np.mean(losses), rel=1e-9)


@both_tasks
@both_dims
def test_two_different_views_of_each_image_pass_the_backbone_once(name: str, spatial_dims: int) -> None:
    task, backbone, images = set_up(name, spatial_dims)
    seen: list[Tensor] = []
    backbone.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    pictures = task(backbone, images).pictures
    assert [batch.shape for batch in seen] == [(2 * BATCH, *images.shape[1:])]
    first, second = seen[0].float().split(BATCH)
    assert all(not torch.allclose(first[b], second[b]) for b in range(BATCH))
    # The pictures show an image's two views side by side, and name the image.
    assert torch.equal(pictures.panels, torch.cat([first, second], dim=1))
    assert pictures.target.tolist() == list(range(BATCH))
    assert [task.describe(number) for number in pictures.target][:2] == ["a view of image 1", "a view of image 2"]


@both_tasks
def test_without_a_change_the_two_views_are_the_image(name: str) -> None:
    task, _, images = set_up(name, 2, view=SAME_VIEW)
    views, target = task.puzzle(images)
    assert target is None
    torch.testing.assert_close(views, torch.cat([images, images]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("batch", "width"), [(2, 3), (5, 4), (16, 9)])
def test_metrics_count_the_images_whose_second_view_is_the_most_alike(batch: int, width: int) -> None:
    first = torch.randn(batch, width, requires_grad=True)
    second = first.detach() + torch.randn(batch, width)
    metrics, answer = matching_metrics(first, second)
    best = []
    for one in first.detach():
        cosines = [slow_cosine(one, other) for other in second]
        best.append(int(np.argmax(cosines)))
    assert answer.tolist() == best
    hits = [choice == own for own, choice in enumerate(best)]
    assert metrics["accuracy"].item() == pytest.approx(np.mean(hits))
    assert metrics["chance"].item() == pytest.approx(1 / batch)
    directions = second.double().numpy()
    directions /= np.sqrt((directions**2).sum(axis=1, keepdims=True))
    assert metrics["spread"].item() == pytest.approx(directions.std(axis=0).mean() * math.sqrt(width), rel=1e-4)
    assert not any(value.requires_grad for value in metrics.values())


def test_the_spread_is_one_when_embeddings_point_everywhere_and_nought_when_they_collapse() -> None:
    everywhere = torch.randn(2000, 64)
    assert matching_metrics(everywhere, everywhere)[0]["spread"].item() == pytest.approx(1, abs=0.02)
    # Length does not count.
    lengths = 100 * torch.rand(2000, 1)
    assert matching_metrics(everywhere, lengths * everywhere)[0]["spread"].item() == pytest.approx(1, abs=0.02)
    constant = torch.randn(64).expand(2000, 64)
    assert matching_metrics(everywhere, lengths * constant)[0]["spread"].item() < 1e-5
    assert 0.05 < matching_metrics(everywhere, constant + 0.1 * everywhere)[0]["spread"].item() < 0.2


@both_tasks
def test_equal_images_are_told_apart_as_often_as_by_a_guess_and_unchanged_ones_always(name: str) -> None:
    task, backbone, images = set_up(name, 2)
    backbone.eval(), task.eval()
    rounds = 25
    with torch.no_grad():
        equal = images[:1].expand_as(images)
        found = [task(backbone, equal).metrics["accuracy"].item() for _ in range(rounds)]
        same = build_task(name, backbone, images.shape[2:], view=SAME_VIEW).double().eval()
        if name == "simsiam":
            same.predictor = torch.nn.Identity()  # one that has learned what there is to learn
        output = same(backbone, images)
    draws = BATCH * rounds
    assert abs(np.mean(found) - 1 / BATCH) < 4 * math.sqrt(1 / BATCH * (1 - 1 / BATCH) / draws)
    assert output.metrics["accuracy"] == 1
    if name == "simclr":  # an image's two views are the same, so the loss is the least that the other images allow
        assert output.loss < math.log(2 * BATCH - 1)
        assert F.mse_loss(output.pictures.panels[:, 0], output.pictures.panels[:, 1]) < 1e-9
