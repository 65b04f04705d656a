"""Pairs of images, their coefficients and their mixtures."""

from collections import Counter

import pytest
import torch

from medssl.pretext.rvrm import draw_coefficients, draw_partners, mix

CPU = torch.device("cpu")


@pytest.mark.parametrize("batch_size", [2, 3, 4, 7, 16, 65])
def test_every_image_has_a_partner_and_is_never_its_own(batch_size: int) -> None:
    own = torch.arange(batch_size)
    for _ in range(300):
        partners = draw_partners(batch_size, CPU)
        assert not (partners == own).any()
        assert torch.equal(partners.sort().values, own)  # each image is the partner of exactly one


def test_all_other_images_are_partners_equally_often() -> None:
    draws = 6000
    counts = Counter(int(draw_partners(5, CPU)[2]) for _ in range(draws))
    assert set(counts) == {0, 1, 3, 4}
    assert all(abs(count - draws / 4) < 6 * (draws * 3 / 16) ** 0.5 for count in counts.values())


@pytest.mark.parametrize("batch_size", [0, 1])
def test_a_lone_image_has_no_partner(batch_size: int) -> None:
    with pytest.raises(ValueError, match=rf"batch of at least 2, got {batch_size}.*batch_size"):
        draw_partners(batch_size, CPU)


@pytest.mark.parametrize("alpha", [1.0, 0.2, 4.0])
def test_coefficients_have_the_mean_and_variance_of_their_distribution(alpha: float) -> None:
    draws = 200_000
    coefficients = draw_coefficients(draws, alpha, CPU)
    assert coefficients.shape == (draws,)
    assert coefficients.min() >= 0
    assert coefficients.max() <= 1
    variance = 1 / (4 * (2 * alpha + 1))
    assert coefficients.mean().item() == pytest.approx(0.5, abs=6 * (variance / draws) ** 0.5)
    assert coefficients.var().item() == pytest.approx(variance, rel=0.02)
    if alpha == 1.0:  # uniform
        shares = torch.histc(coefficients, 10, 0, 1) / draws
        assert (shares - 0.1).abs().max() < 0.005


def test_draws_follow_the_global_generator() -> None:
    torch.manual_seed(5)
    first = draw_partners(9, CPU), draw_coefficients(9, 1.0, CPU)
    torch.manual_seed(5)
    again = draw_partners(9, CPU), draw_coefficients(9, 1.0, CPU)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(draw_coefficients(9, 1.0, CPU), first[1])


@pytest.mark.parametrize("shape", [(6, 1, 5, 7), (6, 3, 4, 4), (6, 1, 3, 4, 5)])
def test_a_mixture_is_the_formula_pixel_by_pixel(shape: tuple[int, ...]) -> None:
    first, second = torch.randn(shape), torch.randn(shape)
    coefficients = torch.tensor([0.0, 1.0, 0.5, 0.25, 0.9, 0.01])
    mixed = mix(first, second, coefficients)
    for sample, coefficient in enumerate(coefficients.tolist()):
        expected = coefficient * first[sample].double() + (1 - coefficient) * second[sample].double()
        torch.testing.assert_close(mixed[sample].double(), expected, atol=1e-6, rtol=1e-6)
    # The ends are the images themselves, to the bit.
    assert torch.equal(mixed[0], second[0])
    assert torch.equal(mixed[1], first[1])


def test_a_mixture_keeps_half_precision() -> None:
    first, second = torch.randn(2, 2, 1, 4, 4, dtype=torch.bfloat16)
    assert mix(first, second, torch.tensor([0.3, 0.6])).dtype == torch.bfloat16
