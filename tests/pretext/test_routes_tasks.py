"""Naming a route, predicting its last tile, and both together, against loops over single tiles."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.losses import predictive_ratio
from medssl.networks import Backbone, build_backbone
from medssl.pretext import MCPC, SCASSL, SRC, PretextTask, build_task
from medssl.pretext.puzzles import tile_features

BATCH = 3
both_dims = pytest.mark.parametrize("spatial_dims", [2, 3])


def set_up(name: str, spatial_dims: int, **values: Any) -> tuple[PretextTask, Backbone, Tensor]:
    backbone = build_backbone("resnet10_quarter", spatial_dims)
    image_size = [24, 24, 26][:spatial_dims]
    return build_task(name, backbone, image_size, **values), backbone, torch.randn(BATCH, 1, *image_size)


@both_dims
def test_each_tile_has_the_features_that_it_has_alone(spatial_dims: int) -> None:
    backbone = build_backbone("resnet10_quarter", spatial_dims).eval()
    tiles = torch.randn(2, 5, 1, *[12] * spatial_dims)
    with torch.no_grad():
        together = tile_features(backbone, tiles)
        for b in range(2):
            for m in range(5):
                alone = backbone.pool(backbone(tiles[b, m][None]))[0]
                torch.testing.assert_close(together[b, m], alone, rtol=1e-4, atol=1e-5)


@both_dims
def test_src_classifies_the_features_in_the_order_of_the_visit(spatial_dims: int) -> None:
    task, backbone, images = set_up("src", spatial_dims)
    assert isinstance(task, SRC)
    classes, length = (24, 5) if spatial_dims == 2 else (48, 7)
    tiles, route = task.puzzle(images)
    features = torch.randn(BATCH, length, backbone.out_channels)
    output = task.solve(features, tiles, route)
    losses, hits = [], []
    for b in range(BATCH):
        row = torch.cat([features[b, m] for m in range(length)])
        scores = [(row @ task.head.weight[k] + task.head.bias[k]).item() for k in range(classes)]
        exponentials = np.exp(scores)
        losses.append(-np.log(exponentials[route[b]] / exponentials.sum()))
        hits.append(int(np.argmax(scores)) == int(route[b]))
    assert output.loss.item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert output.metrics["accuracy"].item() == pytest.approx(np.mean(hits))
    assert output.metrics["chance"].item() == pytest.approx(1 / classes)


def record_prediction(task: MCPC, features: Tensor, tiles: Tensor) -> tuple[Tensor, Any]:
    seen: list[Tensor] = []
    handle = task.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    output = task.solve(features, tiles)
    handle.remove()
    return seen[0], output


@both_dims
@pytest.mark.parametrize("loss", ["info_nce", "ratio"])
def test_mcpc_predicts_the_last_tile_from_the_others_in_their_order(spatial_dims: int, loss: str) -> None:
    task, backbone, images = set_up("mcpc", spatial_dims, loss=loss, hidden_channels=32)
    assert isinstance(task, MCPC)
    tiles, target = task.puzzle(images)
    length = tiles.shape[1]
    assert torch.equal(tiles.flatten(0, 1)[target], tiles[:, -1])
    features = torch.randn(BATCH, length, backbone.out_channels)
    with torch.no_grad():
        prediction, output = record_prediction(task, features, tiles)
        for tile in range(length):
            changed = features.clone()
            changed[:, tile] += 1
            same = torch.equal(record_prediction(task, changed, tiles)[0], prediction)
            assert same == (tile == length - 1)  # what is to be predicted is not seen
        swapped = features[:, [1, 0, *range(2, length)]]
        assert not torch.allclose(record_prediction(task, swapped, tiles)[0], prediction)

    # The answer is, of all tiles of the mini-batch, the one most alike; for the ratio the one of least cross-entropy.
    hits, means, deviations = [], features.mean(dim=(0, 1)), features.std(dim=(0, 1), unbiased=False)

    def alike(b: int, other: int, m: int) -> float:
        if loss == "info_nce":
            return F.cosine_similarity(prediction[b], features[other, m], dim=0).item()
        shares = ((features[other, m] - means) / (deviations**2 + 1e-5).sqrt()).sigmoid()
        return -F.binary_cross_entropy(prediction[b].sigmoid(), shares).item()

    for b in range(BATCH):
        every = [alike(b, other, m) for other in range(BATCH) for m in range(length)]
        hits.append(int(np.argmax(every)) == b * length + length - 1)
    assert output.metrics["accuracy"].item() == pytest.approx(np.mean(hits))
    assert output.metrics["chance"].item() == pytest.approx(1 / (BATCH * length))


@pytest.mark.parametrize("loss", ["info_nce", "ratio"])
def test_mcpc_is_right_when_its_prediction_is_and_its_loss_is_lower_then(loss: str) -> None:
    task, backbone, images = set_up("mcpc", 2, loss=loss)
    assert isinstance(task, MCPC)
    tiles, _ = task.puzzle(images)
    features = 3 * torch.randn(BATCH, 5, backbone.out_channels)
    wrong = task.solve(features, tiles)
    task.head.register_forward_hook(lambda module, inputs, output: features[:, -1])
    right = task.solve(features, tiles)
    assert right.metrics["accuracy"] == 1
    assert right.loss < wrong.loss


def slow_ratio(prediction: Tensor, features: Tensor) -> float:
    """Eq. 3 with the last tiles of the other images beside the image's own, their mean times the own ones' number."""

    def cross_entropy(truth: Tensor, guess: Tensor) -> float:
        return F.binary_cross_entropy(guess.sigmoid(), truth.sigmoid()).item()

    ratios = []
    for b, guess in enumerate(prediction):
        negatives = [*features[b, :-1], *(features[other, -1] for other in range(len(features)) if other != b)]
        terms = [cross_entropy(features[b, -1], guess) / cross_entropy(negative, guess) for negative in negatives]
        ratios.append(np.mean(terms) * (features.shape[1] - 1))
    return float(np.mean(ratios))


@pytest.mark.parametrize(("batch", "tiles", "width"), [(1, 2, 4), (4, 5, 6), (3, 7, 9)])
def test_the_ratio_takes_the_last_tiles_of_the_other_images_as_negatives(batch: int, tiles: int, width: int) -> None:
    prediction, features = torch.randn(batch, width), 2 * torch.randn(batch, tiles, width)
    value = predictive_ratio(prediction, features, features[:, -1]).item()
    assert value == pytest.approx(slow_ratio(prediction, features), rel=1e-5)
    task, backbone, images = set_up("mcpc", 2, loss="ratio")
    assert isinstance(task, MCPC)
    cut, _ = task.puzzle(images)
    raw = torch.randn(BATCH, 5, backbone.out_channels).relu()  # as pooled features: never negative
    prediction, output = record_prediction(task, raw, cut)
    flat = raw.flatten(0, 1)
    standardised = ((flat - flat.mean(dim=0)) / (flat.var(dim=0, unbiased=False) + 1e-5).sqrt()).view_as(raw)
    assert output.loss.item() == pytest.approx(slow_ratio(prediction.detach(), standardised), rel=1e-5)


def test_the_ratio_tells_images_apart_that_a_place_does_not() -> None:
    # Each image's tiles are alike but for the place, so that all that names the target is the image.
    images = 2 * torch.randn(8, 16)
    features = images[:, None].expand(8, 5, 16) + torch.randn(5, 16)
    right, wrong = features[:, -1], features[:, -1].roll(1, dims=0)
    losses = [predictive_ratio(one, features, features[:, -1]).item() for one in (right, wrong)]
    assert losses[0] < losses[1] - 0.5


@both_dims
@pytest.mark.parametrize("loss", ["info_nce", "ratio"])
def test_sc_assl_is_src_and_mcpc_on_one_route_in_one_pass(spatial_dims: int, loss: str) -> None:
    task, backbone, images = set_up("sc_assl", spatial_dims, loss=loss)
    assert isinstance(task, SCASSL)
    assert task.mcpc.routes is task.src.routes  # one pool of routes
    passes: list[int] = []
    backbone.register_forward_hook(lambda module, inputs, output: passes.append(len(inputs[0])))
    outputs = []
    for one in (task, task.src, task.mcpc):
        torch.manual_seed(4)
        with torch.no_grad():
            outputs.append(one(backbone, images))
    both, src, mcpc = outputs
    assert passes[0] == BATCH * task.src.routes.route_length
    assert len(passes) == 3  # one for each of the three calls
    assert both.loss.item() == pytest.approx(src.loss.item() + mcpc.loss.item(), rel=1e-6)
    assert torch.equal(both.metrics["src_loss"], src.loss)
    assert torch.equal(both.metrics["mcpc_loss"], mcpc.loss)
    assert torch.equal(both.metrics["accuracy"], src.metrics["accuracy"])
    assert torch.equal(both.metrics["mcpc_accuracy"], mcpc.metrics["accuracy"])
