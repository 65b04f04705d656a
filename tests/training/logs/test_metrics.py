"""Has the backbone collapsed? Spread and effective rank of features against their formulas."""

import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from medssl.networks import build_backbone
from medssl.training import PretextMetrics, effective_rank, feature_spread


@pytest.mark.parametrize("shape", [(2, 3), (16, 5), (8, 64)])
def test_effective_rank_is_the_formula(shape: tuple[int, int]) -> None:
    features = torch.randn(shape) + 1
    values = np.sqrt(np.clip(np.linalg.eigvalsh((features.double() @ features.double().T).numpy()), 0, None))
    shares = [value / values.sum() for value in values if value > 1e-12]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert effective_rank(features).item() == pytest.approx(expected, rel=1e-4)


def test_effective_rank_counts_the_directions() -> None:
    orthogonal = torch.linalg.qr(torch.randn(32, 32))[0]
    for count in (1, 2, 7, 32):
        assert effective_rank(3 * orthogonal[:count].repeat(4, 1)).item() == pytest.approx(count, rel=1e-4)
    # Equal up to rounding is collapsed, where the mean taken off would leave nothing but the rounding.
    collapsed = torch.rand(1, 512) + 1e-6 * torch.randn(64, 512)
    assert effective_rank(collapsed).item() == pytest.approx(1, abs=1e-2)
    assert effective_rank(torch.zeros(4, 8)).item() == pytest.approx(1)
    assert effective_rank(collapsed.half()).item() < 1.1


def test_an_epoch_ends_with_both_and_the_backbone_as_it_was() -> None:
    backbone = build_backbone("resnet18", 2)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    images = torch.randn(6, 1, 32, 32)
    engine = Engine(lambda engine, batch: None)
    engine.state.output = {"image": images}  # type: ignore[assignment]
    PretextMetrics(backbone).publish(engine)
    assert backbone.training
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    with torch.no_grad():
        features = backbone.eval().pool(backbone(images))
    assert engine.state.metrics["feature_spread"] == pytest.approx(feature_spread(features).item())
    assert engine.state.metrics["effective_rank"] == pytest.approx(effective_rank(features).item())
    assert 1 <= engine.state.metrics["effective_rank"] <= 6
