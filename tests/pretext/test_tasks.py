"""Every task on every backbone in 2D and 3D, and each puzzle against a slow reference."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.networks import ARCHITECTURES, Backbone, build_backbone, first_convolution, fold_input_copies
from medssl.pretext import MCPC, RVRM, SCASSL, SRC, TASKS, PretextTask, Rotation, build_task
from medssl.pretext.route_puzzle import tile_features

BATCH = 3
VALUES: list[tuple[str, dict[str, Any]]] = [*((name, {}) for name in TASKS), ("mcpc", {"loss": "ratio"})]
every_task = pytest.mark.parametrize(
    ("name", "values"), VALUES, ids=lambda part: "-".join(part.values()) if isinstance(part, dict) else part
)
both_dims = pytest.mark.parametrize("spatial_dims", [2, 3])
NEEDS_TILES = ("src", "mcpc", "sc_assl")


def set_up(
    name: str, spatial_dims: int, architecture: str = "resnet18", channels: int = 1, **values: Any
) -> tuple[PretextTask, Backbone, Tensor]:
    """A task, its backbone and images of about the smallest sides that both can take."""
    backbone = build_backbone(architecture, spatial_dims, channels * (3 if name == "rvrm" else 1))
    side = 2 * max(backbone.smallest_side, 12) if name in NEEDS_TILES else max(backbone.smallest_side, 24)
    image_size = [side, side, side + 2][:spatial_dims]
    task = build_task(name, backbone, image_size, **values)
    return task, backbone, torch.randn(BATCH, channels, *image_size)


def weights(*modules: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    for module in modules:
        yield from module.named_parameters()


@every_task
@both_dims
@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_a_task_keeps_its_contract(name: str, values: dict[str, Any], spatial_dims: int, architecture: str) -> None:
    task, backbone, images = set_up(name, spatial_dims, architecture, **values)
    images = images[:2]
    before = images.clone()
    output = task(backbone, images)
    assert torch.equal(images, before)

    # The loss reaches every weight of the head and of the backbone, down to the first convolution.
    assert output.loss.shape == ()
    assert output.loss.isfinite()
    output.loss.backward()
    assert [
        key for key, weight in weights(task, backbone) if weight.grad is None or not weight.grad.isfinite().all()
    ] == []
    assert first_convolution(backbone)[1].weight.grad.abs().sum() > 0
    assert all(weight.grad.abs().sum() > 0 for weight in task.parameters())

    # Metrics stand beside what a guess would reach.
    assert output.metrics
    for key, value in output.metrics.items():
        assert value.shape == ()
        assert value.isfinite()
        assert not value.requires_grad
        if key.endswith("accuracy"):
            assert 0 < output.metrics[key.replace("accuracy", "chance")] < 1
        if key.endswith("error"):
            assert output.metrics[key.replace("error", "baseline")] > 0

    # Pictures show the puzzle, and their answers are those that the metrics count.
    pictures = output.pictures
    assert pictures is not None
    assert pictures.panels.shape[0] == len(pictures.target) == len(pictures.answer) == 2
    assert pictures.panels.ndim == 2 + spatial_dims
    assert not pictures.panels.requires_grad
    if "accuracy" in output.metrics:
        assert (pictures.answer == pictures.target).float().mean() == output.metrics["accuracy"]
    else:
        assert F.mse_loss(pictures.answer, pictures.target).item() == pytest.approx(output.metrics["error"].item())
    assert all(task.describe(one) for one in (*pictures.target, *pictures.answer))


@every_task
@both_dims
def test_the_same_draws_give_the_same_puzzle_and_the_same_loss(
    name: str, values: dict[str, Any], spatial_dims: int
) -> None:
    task, backbone, images = set_up(name, spatial_dims, **values)
    puzzles, losses = [], []
    for seed in (7, 7, 8, 9, 10):
        torch.manual_seed(seed)
        puzzles.append(task.puzzle(images)[0])
        with torch.no_grad():
            losses.append(task(backbone, images).loss.item())
    assert torch.equal(puzzles[0], puzzles[1])
    assert losses[0] == losses[1]
    assert not all(torch.equal(puzzles[0], other) for other in puzzles[2:])


@every_task
@both_dims
def test_a_task_goes_on_from_its_state_dict(name: str, values: dict[str, Any], spatial_dims: int) -> None:
    task, backbone, images = set_up(name, spatial_dims, **values)
    file = io.BytesIO()
    torch.save(task.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    other, _, _ = set_up(name, spatial_dims, **values, **({"pool_seed": 5} if name in NEEDS_TILES else {}))
    other.load_state_dict(torch.load(file, weights_only=True))
    losses = []
    for one in (task, other):
        torch.manual_seed(2)
        with torch.no_grad():
            losses.append(one(backbone, images).loss)
    # Had the routes stayed those of the other seed, the classes would carry other numbers.
    assert torch.equal(*losses)


@every_task
@both_dims
def test_half_precision_gives_a_finite_loss_and_finite_gradients(
    name: str, values: dict[str, Any], spatial_dims: int
) -> None:
    task, backbone, images = set_up(name, spatial_dims, **values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = task(backbone, images)
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(weight.grad.isfinite().all() for _, weight in weights(task, backbone))


@pytest.mark.parametrize("image_size", [(24, 24), (24, 20), (16, 16, 16), (16, 16, 10), (12, 14, 16)])
def test_rotated_images_are_those_of_numpy_and_every_class_is_drawn(image_size: tuple[int, ...]) -> None:
    backbone = build_backbone("resnet18", len(image_size))
    task = Rotation(backbone, image_size)
    images = torch.rand(200, 1, *image_size)
    inputs, target = task.puzzle(images)
    assert set(target.tolist()) == set(range(len(task.rotations)))
    for rotated, image, number in zip(inputs[:40], images, target.tolist(), strict=False):
        plane, turns = task.rotations[number]
        np.testing.assert_array_equal(rotated[0].numpy(), np.rot90(image[0].numpy(), turns, plane))
    # Two classes never share a name on the pictures.
    assert len({task.describe(torch.tensor(number)) for number in range(len(task.rotations))}) == len(task.rotations)


@both_dims
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_rvrm_shows_an_image_another_and_their_mixture(spatial_dims: int, channels: int, alpha: float) -> None:
    task, _, images = set_up("rvrm", spatial_dims, channels=channels, alpha=alpha)
    for _ in range(20):
        inputs, coefficients = task.puzzle(images)
        assert inputs.shape == (BATCH, 3 * channels, *images.shape[2:])
        for b in range(BATCH):
            first, second, mixture = inputs[b].split(channels)
            assert torch.equal(first, images[b])
            partner = [number for number in range(BATCH) if torch.equal(second, images[number])]
            assert len(partner) == 1
            assert partner != [b]
            share = coefficients[b].item()
            assert (mixture - (share * first + (1 - share) * second)).abs().max() < 1e-5


def test_rvrm_names_the_error_of_a_constant_answer() -> None:
    for alpha in (1.0, 0.3, 4.0):
        task, backbone, images = set_up("rvrm", 2, alpha=alpha)
        draws = torch.distributions.Beta(alpha, alpha).sample((200_000,))
        baseline = task(backbone, images).metrics["baseline"].item()
        assert baseline == pytest.approx((draws - 0.5).square().mean().item(), rel=0.02)
    assert RVRM(backbone, [24, 24])(backbone, images).metrics["baseline"].item() == pytest.approx(1 / 12)


@both_dims
@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_rvrm_trains_a_backbone_that_folds_into_an_ordinary_one(spatial_dims: int, architecture: str) -> None:
    task, backbone, images = set_up("rvrm", spatial_dims, architecture)
    optimizer = torch.optim.Adam([*backbone.parameters(), *task.parameters()], lr=1e-3, fused=True)
    for _ in range(2):
        optimizer.zero_grad()
        task(backbone, images).loss.backward()
        optimizer.step()
    folded = build_backbone(architecture, spatial_dims, in_channels=1).eval()
    folded.network.load_state_dict(fold_input_copies(backbone.network, copies=3))
    with torch.no_grad():
        expected = backbone.eval()(torch.cat([images, images, images], dim=1))
        assert (folded(images) - expected).abs().max() < 1e-5 * expected.abs().max()


@both_dims
def test_each_tile_has_the_features_that_it_has_alone(spatial_dims: int) -> None:
    backbone = build_backbone("resnet18", spatial_dims).eval()
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

    # The answer is, of all tiles of the mini-batch, the one most alike.
    hits = []
    for b in range(BATCH):
        cosines = [
            F.cosine_similarity(prediction[b], features[other, m], dim=0).item()
            for other in range(BATCH)
            for m in range(length)
        ]
        hits.append(int(np.argmax(cosines)) == b * length + length - 1)
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


@both_dims
@pytest.mark.parametrize("loss", ["info_nce", "ratio"])
def test_sc_assl_is_src_and_mcpc_on_one_route_in_one_pass(spatial_dims: int, loss: str) -> None:
    task, backbone, images = set_up("sc_assl", spatial_dims, loss=loss)
    assert isinstance(task, SCASSL)
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


@pytest.mark.parametrize(
    ("name", "image_size", "values", "message"),
    [
        ("rotations", (32, 32), {}, "no pretext task 'rotations'; choose one of mcpc, rotation, rvrm, sc_assl, src"),
        ("rotation", (32, 32), {"clases": 4}, "rotation: .*clases"),
        ("rotation", (32, 32, 32), {}, "rotation: image_size has 3 entries, but the backbone is for 2D"),
        ("src", (64, 40), {}, r"src: tiles of \[32, 20\] are too small for vgg11.* at least 32"),
        ("mcpc", (64, 64), {"tile_size": (20, 20)}, "mcpc: tiles .* too small for vgg11"),
        ("src", (96, 96), {"tile_size": (32, 50)}, r"need images of at least \[64, 100\], image_size is \[96, 96\]"),
        ("sc_assl", (96, 96), {"tile_size": (32, 32, 32)}, "3 entries, but the backbone is for 2D"),
        ("rotation", (31, 64), {}, "rotation: images .* too small for vgg11"),
        ("mcpc", (64, 64), {"loss": "cpc"}, "mcpc: loss must be info_nce or ratio, got 'cpc'"),
        ("sc_assl", (64, 64), {"routes_per_corner": 7}, "between 1 and 6 in 2D, got 7"),
        ("rvrm", (32, 32), {}, "three times an image's channels, not 1.*copies: 3"),
    ],
)
def test_what_cannot_work_is_refused_when_the_task_is_built(
    name: str, image_size: tuple[int, ...], values: dict[str, Any], message: str
) -> None:
    backbone = build_backbone("vgg11", 2, in_channels=1)
    with pytest.raises(ValueError, match=message):
        build_task(name, backbone, image_size, **values)


@pytest.mark.parametrize("alpha", [0, -1.0])
def test_rvrm_needs_a_positive_alpha_and_two_images(alpha: float) -> None:
    backbone = build_backbone("resnet18", 2, in_channels=3)
    with pytest.raises(ValueError, match="alpha must be positive"):
        build_task("rvrm", backbone, (24, 24), alpha=alpha)
    with pytest.raises(ValueError, match=r"batch of at least 2, got 1.*batch_size"):
        build_task("rvrm", backbone, (24, 24))(backbone, torch.rand(1, 1, 24, 24))


def test_names_of_tasks_are_those_of_their_classes() -> None:
    backbone = build_backbone("resnet18", 2, in_channels=3)
    for name, kind in TASKS.items():
        task = build_task(name, backbone, (32, 32))
        assert type(task) is kind
        # A task that kept its backbone would carry it into its own state dict.
        assert not any(isinstance(module, Backbone) for module in task.modules())
