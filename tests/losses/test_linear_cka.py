"""Linear CKA against its definition, written out as loops over images."""

import pytest
import torch
from torch import Tensor

from medssl.losses import linear_cka


def slow_linear_cka(x: Tensor, y: Tensor) -> float:
    """Kornblith et al. 2019, Eq. 3 and HSIC: centred Gram matrices, entry by entry."""
    images = len(x)

    def centred_gram(features: Tensor) -> list[list[float]]:
        gram = [[float(a @ b) for b in features] for a in features]
        rows = [sum(row) / images for row in gram]
        mean = sum(rows) / images
        return [[gram[i][j] - rows[i] - rows[j] + mean for j in range(images)] for i in range(images)]

    def hsic(one: list[list[float]], two: list[list[float]]) -> float:
        return sum(
            a * b for one_row, two_row in zip(one, two, strict=True) for a, b in zip(one_row, two_row, strict=True)
        )

    k, l = centred_gram(x), centred_gram(y)  # noqa: E741 -- the paper's letters
    return hsic(k, l) / (hsic(k, k) * hsic(l, l)) ** 0.5


def slow_unbiased_cka(x: Tensor, y: Tensor) -> float:
    """Song et al. 2012, Eq. 5, with traces and sums of Gram matrices without their diagonals; Nguyen et al. 2021."""
    n = len(x)
    one = torch.ones(n, dtype=x.dtype)

    def hsic(a: Tensor, b: Tensor) -> float:
        k, l = (gram - torch.diag(gram.diagonal()) for gram in (a @ a.T, b @ b.T))  # noqa: E741
        total = torch.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        return float((total - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3)))

    return hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5


def features(images: int, width: int) -> Tensor:
    # Columns of different spread, and a mean far from 0.
    return torch.randn(images, width, dtype=torch.float64) * torch.rand(width, dtype=torch.float64) + 5


@pytest.mark.parametrize(
    ("images", "d", "e"), [(4, 20, 30), (9, 10, 3), (40, 6, 3), (40, 3, 60), (7, 7, 7), (30, 1, 1)]
)
def test_it_is_the_definition_in_both_forms(images: int, d: int, e: int) -> None:
    x, y = features(images, d), features(images, e)
    y[:, : min(d, e)] += x[:, : min(d, e)]
    assert linear_cka(x, y).item() == pytest.approx(slow_linear_cka(x, y), rel=1e-10)
    assert linear_cka(y, x).item() == pytest.approx(linear_cka(x, y).item(), rel=1e-12)


@pytest.mark.parametrize(("images", "width"), [(8, 32), (64, 16)])
def test_rotation_scale_and_shift_change_nothing_and_the_same_has_1(images: int, width: int) -> None:
    x, y = features(images, width), features(images, width)
    rotation = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))[0]
    value = linear_cka(x, y).item()
    assert linear_cka(-0.01 * x @ rotation + 3, y).item() == pytest.approx(value, rel=1e-9)
    assert linear_cka(x, 100 * y @ rotation - 7).item() == pytest.approx(value, rel=1e-9)
    assert linear_cka(x, x @ rotation).item() == pytest.approx(1, rel=1e-12)
    # Not under any invertible map: stretching one direction makes other features of them.
    stretched = x.clone()
    stretched[:, 0] *= 20
    assert linear_cka(x, stretched).item() < 0.95


def test_independent_features_are_near_0_only_over_many_images() -> None:
    values = {images: linear_cka(torch.randn(images, 64), torch.randn(images, 64)).item() for images in (2, 16, 4096)}
    assert values[4096] < 0.03
    assert values[16] > 0.7
    assert values[2] == pytest.approx(1)


@pytest.mark.parametrize(("images", "d", "e"), [(5, 8, 6), (12, 3, 2)])
def test_gradients(images: int, d: int, e: int) -> None:
    x, y = features(images, d).requires_grad_(), features(images, e).requires_grad_()
    assert torch.autograd.gradcheck(linear_cka, (x, y))


def test_features_without_spread_have_0_and_zero_gradients() -> None:
    x = torch.zeros(6, 4, requires_grad=True)
    value = linear_cka(x, torch.randn(6, 5))
    value.backward()
    assert value.item() == 0
    assert (x.grad == 0).all()


def test_half_precision_is_computed_in_float32() -> None:
    x, y = 200 * torch.randn(32, 16), 200 * torch.randn(32, 16)  # squares of their products overflow float16
    expected = linear_cka(x.half().float(), y.half().float()).item()
    with torch.autocast("cpu", torch.bfloat16):
        value = linear_cka(x.half(), y.half())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shapes", [((4, 3), (5, 3)), ((4, 3, 2), (4, 3)), ((4,), (4,))])
def test_features_of_different_images_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="of the same images"):
        linear_cka(*map(torch.zeros, shapes))


@pytest.mark.parametrize(("images", "d", "e"), [(4, 20, 30), (9, 10, 3), (40, 6, 3), (7, 7, 7), (30, 1, 1)])
def test_the_unbiased_form_is_its_definition(images: int, d: int, e: int) -> None:
    x, y = features(images, d), features(images, e)
    y[:, : min(d, e)] += x[:, : min(d, e)]
    assert linear_cka(x, y, unbiased=True).item() == pytest.approx(slow_unbiased_cka(x, y), rel=1e-8)
    assert linear_cka(x, -3 * x + 2, unbiased=True).item() == pytest.approx(1, rel=1e-9)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda one: linear_cka(one, y, unbiased=True), x)


@pytest.mark.parametrize("width", [64, 1024])
def test_the_unbiased_form_of_independent_features_is_0_on_average_over_few_images(width: int) -> None:
    values = torch.stack([linear_cka(*torch.randn(2, 64, width), unbiased=True) for _ in range(60)])
    assert values.abs().mean() < 0.06
    assert values.mean().abs() < 5 * values.std() / 60**0.5
    if width == 1024:
        assert linear_cka(*torch.randn(2, 64, width)) > 0.9


def test_the_unbiased_form_needs_four_images_and_some_spread() -> None:
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        linear_cka(torch.randn(3, 5), torch.randn(3, 5), unbiased=True)
    x = torch.ones(6, 4, requires_grad=True)
    value = linear_cka(x, torch.randn(6, 5), unbiased=True)
    value.backward()
    assert value.item() == 0
    assert (x.grad == 0).all()
