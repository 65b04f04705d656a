"""Two images and their mixture, plain and in disguise, against arithmetic on single images."""

from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, QUICK, skip_unless_for, slow_but
from torch import Tensor

from medssl.errors import UserError
from medssl.networks import Backbone, build_backbone, fold_input_copies
from medssl.pretext import RVRM, build_task, copies_of

BATCH = 3
both_dims = pytest.mark.parametrize("spatial_dims", [2, 3])


def set_up(
    spatial_dims: int, architecture: str = "resnet10_quarter", channels: int = 1, alpha: float = 1.0
) -> tuple[RVRM, Backbone, Tensor]:
    backbone = build_backbone(architecture, spatial_dims, 3 * channels)
    side = max(backbone.smallest_side, 24)
    image_size = [side, side, side + 2][:spatial_dims]
    return RVRM(backbone, image_size, alpha), backbone, torch.randn(BATCH, channels, *image_size)


@both_dims
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_rvrm_shows_an_image_another_and_their_mixture(spatial_dims: int, channels: int, alpha: float) -> None:
    task, _, images = set_up(spatial_dims, channels=channels, alpha=alpha)
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


def match_crop(crop: Tensor, image: Tensor) -> tuple[tuple[int, ...], float, float]:
    """Place, factor and residual (standard deviations of the image) of the crop that explains the given one best."""
    fits = []
    for start in product(*(range(side - length + 1) for side, length in zip(image.shape, crop.shape, strict=True))):
        window = image[tuple(slice(first, first + length) for first, length in zip(start, crop.shape, strict=True))]
        factor = ((window * crop).sum() / window.square().sum()).item()
        fits.append((((crop - factor * window).std() / image.std()).item(), factor, start))
    residual, factor, start = min(fits)
    return start, factor, residual


@pytest.mark.parametrize("image_size", [(24, 32), (16, 16, 8)])
@pytest.mark.parametrize("disguise", [1.0, 0.5])
def test_in_disguise_each_of_the_three_is_shifted_scaled_and_noised_by_itself(
    image_size: tuple[int, ...], disguise: float
) -> None:
    task = RVRM(build_backbone("resnet10_quarter", len(image_size), 3), image_size, disguise=disguise)
    # Images of different spread: the noise is measured in each one's own.
    images = torch.randn(BATCH, 1, *image_size) * torch.tensor([1.0, 10, 100]).view(-1, 1, *[1] * len(image_size))
    free = [int(disguise * side / 8) for side in image_size]
    places, factors, residuals = [], [], []
    for _ in range(30):
        inputs, coefficients = task.puzzle(images)
        assert inputs.shape == (BATCH, 3, *(side - room for side, room in zip(image_size, free, strict=True)))
        for b in range(BATCH):
            # The partner leaves the least unexplained, counted in grey values.
            others = [other for other in range(BATCH) if other != b]
            fits = {other: match_crop(inputs[b, 1], images[other, 0]) for other in others}
            partner = min(others, key=lambda other: fits[other][2] * images[other].std())
            matches = [match_crop(inputs[b, 0], images[b, 0]), fits[partner]]
            share = coefficients[b].item()
            matches.append(match_crop(inputs[b, 2], share * images[b, 0] + (1 - share) * images[partner, 0]))
            for store, numbers in zip((places, factors, residuals), zip(*matches, strict=True), strict=True):
                store.append(numbers)
    # Noise of 0.2 standard deviations, factors evenly within 1 ± 0.3, in proportion to the disguise.
    np.testing.assert_allclose(np.mean(residuals, axis=0), 0.2 * disguise, rtol=0.03)
    assert np.abs(np.array(factors) - 1).max() < 0.3 * disguise + 0.02
    np.testing.assert_allclose(np.std(factors, axis=0), 0.3 * disguise / 3**0.5, rtol=0.25)
    # Every place is drawn, and the three are drawn apart: nothing about one tells of another.
    starts = np.array(places)
    for image in range(3):
        for axis, room in enumerate(free):
            assert set(starts[:, image, axis]) == set(range(room + 1))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(np.array(factors)[:, one], np.array(factors)[:, other])[0, 1]) < 0.4
        assert (starts[:, one] != starts[:, other]).any()


def test_rvrm_names_the_error_of_a_constant_answer() -> None:
    for alpha in (1.0, 0.3, 4.0):
        task, backbone, images = set_up(2, alpha=alpha)
        draws = torch.distributions.Beta(alpha, alpha).sample((200_000,))
        baseline = task(backbone, images).metrics["baseline"].item()
        assert baseline == pytest.approx((draws - 0.5).square().mean().item(), rel=0.02)
    assert RVRM(backbone, [24, 24])(backbone, images).metrics["baseline"].item() == pytest.approx(1 / 12)


@both_dims
@pytest.mark.parametrize("architecture", slow_but(QUICK, FAMILIES))
def test_rvrm_trains_a_backbone_that_folds_into_an_ordinary_one(spatial_dims: int, architecture: str) -> None:
    skip_unless_for(spatial_dims, architecture)
    task, backbone, images = set_up(spatial_dims, architecture)
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


def siamese(spatial_dims: int, channels: int = 1, batch: int = 7, **values: Any) -> tuple[RVRM, Backbone, Tensor]:
    backbone = build_backbone("resnet10_quarter", spatial_dims, channels)
    image_size = [24, 26, 24][:spatial_dims]
    return RVRM(backbone, image_size, form="siamese", **values), backbone, torch.randn(batch, channels, *image_size)


@both_dims
@pytest.mark.parametrize(("channels", "batch"), [(1, 7), (2, 4)])
def test_the_siamese_form_shows_views_of_the_images_and_of_mixtures_apart(
    spatial_dims: int, channels: int, batch: int
) -> None:
    unchanged = {"scale": (1, 1), "ratio": (1, 1), "mirror_axes": (), "jitter": 0, "blur": 0}
    task, _, images = siamese(spatial_dims, channels, batch, view=unchanged)
    seen = set()
    for _ in range(20):
        inputs, (pairs, coefficients) = task.puzzle(images)
        assert inputs.shape == (batch + batch // 2, channels, *images.shape[2:])  # 1.5 passes an image
        torch.testing.assert_close(inputs[:batch], images, rtol=0, atol=1e-4)
        assert len(set(pairs.flatten().tolist())) == 2 * (batch // 2)  # each image is in one mixture
        for mixture, first, second, share in zip(inputs[batch:], *pairs, coefficients, strict=True):
            expected = share * images[first] + (1 - share) * images[second]
            torch.testing.assert_close(mixture, expected, rtol=0, atol=1e-4)
        seen |= {tuple(pair) for pair in pairs.T.tolist()}
    assert len(seen) > batch  # drawn anew
    # By default the views of an image and of its mixtures are drawn apart.
    task, _, images = siamese(spatial_dims, view={"jitter": 0, "blur": 0})
    same = images[:1].expand(4, *images.shape[1:])
    inputs, _ = task.puzzle(same)
    assert len({tuple(one.flatten().tolist()) for one in inputs}) == 6


@both_dims
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_the_siamese_loss_is_cross_entropy_with_the_shares_of_both_images(
    spatial_dims: int, temperature: float
) -> None:
    task, backbone, images = siamese(spatial_dims, temperature=temperature)
    torch.manual_seed(3)
    inputs, (pairs, coefficients) = task.puzzle(images)
    torch.manual_seed(3)
    passes: list[int] = []
    handle = backbone.register_forward_pre_hook(lambda module, given: passes.append(len(given[0])))
    output = task(backbone, images)
    handle.remove()
    assert passes == [10]  # 7 views and 3 mixtures, in one pass of an ordinary backbone
    embedded = task.head(backbone.pool(backbone(inputs))).detach().double().numpy()
    embedded /= np.linalg.norm(embedded, axis=1, keepdims=True)
    losses, hits, answers = [], [], []
    for mixture, first, second, share in zip(
        embedded[7:], *pairs.tolist(), coefficients.double().tolist(), strict=True
    ):
        weights = np.exp([mixture @ image / temperature for image in embedded[:7]])
        chances = weights / weights.sum()
        losses.append(-share * np.log(chances[first]) - (1 - share) * np.log(chances[second]))
        hits.append(chances.argmax() == (first if share >= 0.5 else second))
        answers.append(weights[first] / (weights[first] + weights[second]))
    assert output.loss.item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert output.metrics["accuracy"].item() == pytest.approx(np.mean(hits))
    assert output.metrics["chance"].item() == pytest.approx(1 / 7)
    assert output.metrics["error"].item() == pytest.approx(((coefficients.numpy() - answers) ** 2).mean(), rel=1e-3)
    assert output.metrics["baseline"].item() == pytest.approx(1 / 12)
    pictures = output.pictures
    assert torch.equal(pictures.target, coefficients)
    np.testing.assert_allclose(pictures.answer.numpy(), answers, rtol=1e-3)
    for number, (first, second) in enumerate(pairs.T.tolist()):
        assert torch.equal(pictures.panels[number], inputs[[first, second, 7 + number], 0])
    output.loss.backward()
    assert all(weight.grad is not None for weight in [*backbone.parameters(), *task.parameters()])


@pytest.mark.parametrize(
    ("tasks", "copies"),
    [
        ("rvrm", 3),
        ({"rvrm": {"form": "printed", "disguise": 1.0}}, 3),
        ({"rvrm": {"form": "siamese"}}, 1),
        ({"rotation": {}, "rvrm": {"form": "siamese"}}, 1),
        ({"mine": partial(RVRM, form="siamese")}, 1),
        ({"mine": partial(RVRM, alpha=0.5)}, 3),
        ({"mine": RVRM(build_backbone("resnet10_quarter", 2), (24, 24), form="siamese")}, 1),
    ],
)
def test_only_the_printed_form_needs_three_copies(tasks: Any, copies: int) -> None:
    assert copies_of(tasks) == copies


def test_the_siamese_form_refuses_what_belongs_to_the_printed_one() -> None:
    backbone = build_backbone("resnet10_quarter", 2)
    for values, message in (
        ({"form": "paper"}, "form must be printed or siamese, got 'paper'"),
        ({"form": "siamese", "disguise": 0.5}, "disguise belongs to form: printed"),
        ({"view": {"jitter": 0}}, "view belongs to form: siamese"),
        ({"form": "siamese", "view": {"mirror_axes": [2]}}, "mirror_axes must name axes 0 to 1"),
        ({"form": "siamese", "temperature": 0}, "temperature must be positive"),
    ):
        with pytest.raises(UserError, match=message):
            build_task("rvrm", backbone, (24, 24), **values)
    task, _, images = siamese(2, batch=1)
    with pytest.raises(UserError, match="at least 2, got 1"):
        task.puzzle(images)
    assert task.compares_images
    assert not RVRM(build_backbone("resnet10_quarter", 2, 3), (24, 24)).compares_images


@pytest.mark.parametrize("alpha", [0, -1.0])
def test_rvrm_needs_a_positive_alpha(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must be positive"):
        RVRM(build_backbone("resnet10_quarter", 2, in_channels=3), (24, 24), alpha=alpha)
