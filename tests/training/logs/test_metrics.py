"""Has the backbone collapsed? Spread and effective rank of features against their formulas."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from medssl.networks import build_backbone
from medssl.training import MetricsFile, PretextMetrics, PretrainingWatch, effective_rank, feature_spread


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


def epoch_of(watch: PretrainingWatch, epoch: int, images: int = 32, of: int = 100, **metrics: float) -> None:
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch, engine.state.max_epochs = epoch, of
    engine.state.output = {"image": torch.zeros(images, 1)}  # type: ignore[assignment]
    engine.state.metrics = {name.replace("__", "/"): value for name, value in metrics.items()}
    watch(engine)


def test_a_solved_task_is_warned_of_once_and_one_that_is_not_is_not(caplog: pytest.LogCaptureFixture) -> None:
    watch = PretrainingWatch(["rotation", "mim"])
    epoch_of(watch, 1, rotation__accuracy=0.97, rotation__chance=0.25)
    assert watch.warnings == []
    for epoch in (2, 3):
        epoch_of(watch, epoch, rotation__accuracy=0.985, rotation__chance=0.25)
    assert len(watch.warnings) == 1
    assert "rotation is solved: in epoch 2 98.5%" in watch.warnings[0]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == watch.warnings


@pytest.mark.parametrize(
    ("images", "rank", "warns"), [(64, 2.9, True), (64, 3.1, False), (8, 2.1, False), (8, 1.1, True)]
)
def test_collapse_is_warned_of_where_it_stays(images: int, rank: float, warns: bool) -> None:
    watch = PretrainingWatch([])
    epoch_of(watch, 1, images, effective_rank=1.0)
    epoch_of(watch, 2, images, effective_rank=9.0)
    epoch_of(watch, 3, images, effective_rank=rank)
    assert watch.warnings == []
    epoch_of(watch, 4, images, effective_rank=rank)
    assert [("collapsed" in each, f"is {rank}" in each) for each in watch.warnings] == [(True, True)] * warns
    at_the_end = PretrainingWatch([])
    epoch_of(at_the_end, 5, images, of=5, effective_rank=rank)
    assert len(at_the_end.warnings) == warns


@pytest.mark.parametrize(
    ("probes", "warns"),
    [
        ([0.7, 0.74, 0.71, 0.70, 0.69], True),
        ([0.7, 0.74, 0.71, 0.73, 0.69, 0.70], False),  # one in three that is as good
        ([0.74, 0.70, 0.70], False),  # too few
        ([0.6, 0.65, 0.7, 0.72, 0.74], False),
    ],
)
def test_a_falling_probe_is_warned_of_and_a_noisy_one_is_not(probes: list[float], warns: bool) -> None:
    watch = PretrainingWatch([])
    for number, value in enumerate(probes):
        epoch_of(watch, 10 * number + 1)  # epochs without a probe between
        epoch_of(watch, 10 * (number + 1), **{"probe/linear_mAUROC": value})
    assert ["0.740 in epoch 20" in each for each in watch.warnings] == [True] * warns


def test_a_resumed_watch_goes_on_where_it_was_and_the_file_holds_its_warnings(tmp_path: Path) -> None:
    whole, first, second = (PretrainingWatch(["rotation"]) for _ in range(3))
    file = MetricsFile(tmp_path, watch=second)
    epochs = [
        {"effective_rank": 1.0, "probe/linear_mAUROC": value, "rotation/accuracy": 0.99, "rotation/chance": 0.25}
        for value in (0.8, 0.7, 0.7, 0.7, 0.6)
    ]
    for number, metrics in enumerate(epochs, start=1):
        epoch_of(whole, number, **metrics)
        epoch_of(first if number < 3 else second, number, **metrics)
        if number == 2:
            torch.save(first.state_dict(), tmp_path / "state.pt")
            second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.warnings == whole.warnings
    assert second.state_dict() == whole.state_dict()
    assert len(whole.warnings) == 3
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch = 5
    file(engine)
    assert json.loads((tmp_path / "metrics.json").read_text())["warnings"] == whole.warnings


def test_the_log_says_how_it_goes_beside_chance(caplog: pytest.LogCaptureFixture) -> None:
    watch = PretrainingWatch(["rotation", "mim"], interval=2)
    figures = {"rotation/accuracy": 0.5, "rotation/chance": 0.25, "mim/error": 0.4, "mim/baseline": 1.0}
    figures |= {"effective_rank": 12.3, "feature_spread": 0.5, "probe/linear_mAUROC": 0.7}
    with caplog.at_level(logging.INFO, logger="medssl"):
        for epoch in (1, 2, 3):
            epoch_of(watch, epoch, of=3, **figures)
    assert len(caplog.records) == 2  # of the second and of the last epoch
    for words in (
        "rotation 0.500 right (chance 0.250)",
        "mim error 0.400 (constant 1.000)",
        "rank 12.30",
        "probe 0.700",
    ):
        assert words in caplog.text
