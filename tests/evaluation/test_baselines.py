"""The trivial results: what a thumbnail and a random network give away, and what cannot be learned."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from medssl.evaluation import TrivialBaselines, baselines, linear_probe, thumbnails
from medssl.networks import Backbone


@pytest.mark.parametrize("shape", [(32, 48), (16, 24, 40)])
def test_a_thumbnail_is_the_mean_of_each_cell(shape: tuple[int, ...]) -> None:
    images = torch.randn(2, 1, *shape)
    found = thumbnails(images).reshape(2, *[8] * len(shape))
    cell = tuple(slice(3 * side // 8, 4 * side // 8) for side in shape)
    torch.testing.assert_close(found[(1, *[3] * len(shape))], images[1, 0][cell].mean())
    assert thumbnails(torch.randn(2, 3, *[5] * len(shape)), side=2).shape == (2, 3 * 2 ** len(shape))


def features_and_labels(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The first feature tells the first class, the second the second; their scales differ by a million."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(images, 3))
    labels = (features[:, [0, 1, 2]] + generator.normal(scale=0.3, size=(images, 3)) > 1).astype(float)
    return features * [1e3, 1e-3, 1], labels


def test_a_probe_learns_from_the_known_labels_alone() -> None:
    features, labels = features_and_labels(400, 0)
    known = np.random.default_rng(1).random(labels.shape) < 0.5
    partial = np.where(known, labels, np.nan)
    partial[:, 2] = np.where(known[:, 2], 1, np.nan)
    others, truth = features_and_labels(400, 2)
    scores = linear_probe(features, partial, others, strength=1.0)
    for k in range(2):
        assert roc_auc_score(truth[:, k], scores[:, k]) > 0.95
        only_known = linear_probe(features[known[:, k]], labels[known[:, k], k : k + 1], others, strength=1.0)
        np.testing.assert_allclose(scores[:, k], only_known[:, 0], rtol=1e-6)
        # Rare as the positives are, they weigh as much as the negatives.
        balanced = scores[truth[:, k] == 1, k].mean() + scores[truth[:, k] == 0, k].mean()
        assert balanced == pytest.approx(1, abs=0.1)
    assert (scores[:, 2] == 0.5).all()


class Loader:
    """Batches of grey images: the first class is bright, the second is a gradient of which there is no other case."""

    def __init__(self, images: int, seed: int, side: int, dims: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        bright = (torch.rand(images, generator=generator) < 0.5).float()
        self.images = torch.randn(images, 1, *[side] * dims, generator=generator) + bright.view(-1, 1, *[1] * dims)
        self.labels = torch.stack([bright, torch.ones(images)], dim=1)
        self.labels[::5] = float("nan")
        self.truth = bright.numpy()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.given = 0
        for images, labels in zip(self.images.split(7), self.labels.split(7), strict=True):
            count = self.given
            self.given += len(images)
            yield {"image": images, "label": labels, "patient": [f"{count + place}" for place in range(len(images))]}


@pytest.mark.parametrize(("dims", "side"), [(2, 16), (3, 8)])
def test_both_baselines_see_what_is_no_finding(dims: int, side: int) -> None:
    network = Backbone("resnet10_quarter", dims, 1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    baselines = TrivialBaselines(network, Loader(60, 0, side, dims), "cpu")
    judged = Loader(40, 1, side, dims)
    scores = baselines(judged)
    assert list(scores) == ["pixels", "untrained"]
    for of_baseline in scores.values():
        assert of_baseline.shape == (40, 2)
        assert roc_auc_score(judged.truth, of_baseline[:, 0]) > 0.9
        assert (of_baseline[:, 1] == 0.5).all()
    for name, value in network.state_dict().items():  # the batch normalisation has learned nothing either
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_the_untrained_backbone_is_probed_on_its_pooled_features() -> None:
    class Mean(nn.Module):
        out_channels = 1

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images * self.weight

        def pool(self, feature_map: torch.Tensor) -> torch.Tensor:
            return feature_map.flatten(2).mean(2)

    training, judged = Loader(60, 0, 16, 2), Loader(40, 1, 16, 2)
    scores = TrivialBaselines(Mean(), training, "cpu")(judged)  # type: ignore[arg-type]

    def probe(loader: Loader, side: int) -> np.ndarray:
        cells = loader.images.reshape(-1, side, 16 // side, side, 16 // side).mean((2, 4))
        return cells.flatten(1).numpy()

    for name, side in (("pixels", 8), ("untrained", 1)):
        expected = linear_probe(probe(training, side), training.labels.numpy(), probe(judged, side))
        np.testing.assert_allclose(scores[name], expected, rtol=1e-3)


def test_pixels_are_regularised_by_folds_over_patients() -> None:
    """Images of a patient look alike: by folds over images, learning them by heart would seem best."""
    training, judged = Loader(60, 0, 16, 2), Loader(40, 1, 16, 2)
    seen: list[Any] = []
    probe = baselines.linear_probe
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "linear_probe", lambda *given: seen.append(given[3]) or probe(*given))
        TrivialBaselines(Backbone("resnet10_quarter", 2, 1), training, "cpu")(judged)
    assert seen == [[str(number) for number in range(60)]] * 2
