"""Windows blended layer by layer are those blended all at once, and what is decided follows from probabilities."""

import itertools

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.transforms import NormalizeIntensity
from torch import nn

from medssl.evaluation import MaskInferer
from medssl.losses import class_probabilities


@pytest.mark.parametrize("shape", [(16, 16, 16), (20, 33, 47), (16, 18, 100), (30, 17, 17)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_layers_give_what_monai_gives_of_the_whole(shape: tuple[int, ...], overlap: float) -> None:
    network = nn.Conv3d(1, 3, 5, padding=2).eval()  # whose borders make windows differ where they overlap
    image = torch.rand(1, 1, *shape)
    whole = SlidingWindowInferer((16, 16, 16), 4, overlap, mode="gaussian")
    with torch.no_grad():
        expected = whole(image, network)
        parts = list(MaskInferer((16, 16, 16), 3, overlap=overlap).slabs(image, network))
    ends = [first + each.shape[-1] for first, each in parts]
    assert [0, *ends[:-1]] == [first for first, _ in parts]  # each begins where the last ended
    assert ends[-1] == shape[-1]
    found = torch.cat([each for _, each in parts], dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_layers_of_a_network_that_sees_no_border_are_exact() -> None:
    network, image = nn.Conv3d(1, 2, 1), torch.rand(1, 1, 21, 18, 57)
    with torch.no_grad():
        found = torch.cat([each for _, each in MaskInferer((16, 16, 16), 2).slabs(image, network)], dim=-1)
        torch.testing.assert_close(found, network(image), rtol=1e-4, atol=1e-5)


def test_no_more_than_a_layer_is_held() -> None:
    held = []
    inferer = MaskInferer((8, 8, 8), 2)
    for _, slab in inferer.slabs(torch.rand(1, 1, 9, 9, 120), nn.Conv3d(1, 2, 1)):
        held.append(slab.untyped_storage().nbytes() // (4 * 2 * 9 * 9))
    assert len(held) > 25
    assert max(held) <= 3 * 8


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize(("disjoint", "exclusive"), [(False, False), (False, True), (True, False)])
def test_the_decision_is_that_of_the_loss(spatial_dims: int, disjoint: bool, exclusive: bool) -> None:
    logits = 3 * torch.randn(1, 4, *[7] * spatial_dims)
    inferer = MaskInferer([7] * spatial_dims, 4, disjoint=disjoint, exclusive=exclusive)
    bits = inferer(torch.zeros(1, 1, *[7] * spatial_dims), lambda images: logits.expand(len(images), *logits.shape[1:]))
    assert bits.dtype == torch.uint8
    probabilities = class_probabilities(logits, disjoint)[0]
    for place in itertools.product(range(7), repeat=spatial_dims):
        of_voxel = probabilities[(slice(None), *place)].tolist()
        if disjoint:
            outcomes = [1 - sum(of_voxel), *of_voxel]
            best = outcomes.index(max(outcomes))
            expected = 0 if best == 0 else 1 << (best - 1)
        elif exclusive:
            expected = 1 << of_voxel.index(max(of_voxel)) if max(of_voxel) > 0.5 else 0
        else:
            expected = sum(1 << number for number, value in enumerate(of_voxel) if value > 0.5)
        assert bits[(0, *place)] == expected


def test_each_window_is_normalised_by_itself_as_a_box_in_training_is() -> None:
    seen = []

    def network(images: torch.Tensor) -> torch.Tensor:
        seen.extend(images)
        return images

    image = torch.rand(1, 1, 8, 8, 24) * torch.linspace(1, 50, 24)
    MaskInferer((8, 8, 8), 1, normalise=True)(image, network)
    assert len(seen) == 5
    expected = NormalizeIntensity(channel_wise=True)(image[0, ..., 4:12])
    torch.testing.assert_close(seen[1], torch.as_tensor(expected))


def test_the_mean_with_the_mirror_image_counts() -> None:
    network, image = nn.Conv3d(1, 1, 3, padding=1), torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        found = MaskInferer((8, 8, 8), 1, mirror=True)(image, network)
        mean = (network(image) + network(image.flip(2)).flip(2)) / 2
    assert torch.equal(found[0].bool(), mean[0, 0] > 0)
    assert not torch.equal(found[0].bool(), network(image)[0, 0] > 0)


@pytest.mark.parametrize("wrong", [{"overlap": 1.0}, {"overlap": -0.1}, {"threshold": 0}])
def test_what_means_nothing_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"overlap .* threshold"):
        MaskInferer((8, 8, 8), 1, **wrong)
