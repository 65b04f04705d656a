"""The thresholds of each class against all bands of a grid, tried one by one."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from medssl.evaluation import threshold_baseline


@pytest.mark.parametrize("size", [(9, 7), (4, 5, 6)])
def test_the_band_of_each_class_is_the_best_of_all_over_known_voxels(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(3)
    images = 2 * torch.randn(6, 1, *size, generator=generator)
    images[0, 0].flatten()[0] = 50  # beyond the grid
    targets = torch.cat([images > 1.3, images < -0.7, (images > -0.2) & (images < 0.9), images > 0], dim=1).float()
    flipped = torch.rand(targets.shape, generator=generator) < 0.1
    targets = torch.where(flipped, 1 - targets, targets)
    targets[:3, 1] = math.nan
    targets[:, 3] = math.nan
    bands = threshold_baseline([(images[:4], targets[:4]), (images[4:], targets[4:])], bins=16)
    predicted = bands(images)
    assert predicted.shape == targets.shape
    edges = [-math.inf, *np.linspace(-4, 4, 17)[1:-1], math.inf]
    for number in range(3):
        known = targets[:, number].isfinite()
        values, truth = images[:, 0][known].numpy(), targets[:, number][known].numpy() == 1

        def dice(found: np.ndarray, truth: np.ndarray = truth) -> float:
            return 2 * (found & truth).sum() / (found.sum() + truth.sum())

        best = max(dice((values >= low) & (values < high)) for low, high in combinations(edges, 2))
        assert bands.dice[number].item() == pytest.approx(best)
        assert dice(predicted[:, number][known].numpy()) == pytest.approx(best)
    assert not predicted[:, 3].any()
    assert bands.dice[3].isnan()
    assert best > 0.5
