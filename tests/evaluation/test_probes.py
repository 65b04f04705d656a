"""Probes while a backbone is trained: right figures, and a run that does not notice them."""

import logging
import math
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandGaussianNoised
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from medssl.evaluation import OnlineProbe, knn_probe, linear_probe

NAN = float("nan")


class TinyBackbone(nn.Module):
    """A backbone that obeys the contract, with batch statistics and dropout, and is trained in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.2))

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def pool(self, feature_map: Tensor) -> Tensor:
        return feature_map.flatten(2).mean(dim=2)


def items(count: int, seed: int, labels: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Noise images; a label of 1 brightens the middle (class 0) or raises the contrast (class 1)."""
    random = np.random.default_rng(seed)
    if labels is None:
        labels = random.choice([1, 0, NAN], size=(count, 2), p=[0.4, 0.4, 0.2])
    images = random.normal(size=(count, 1, 12, 12))
    images *= np.where(labels[:, 1] == 1, 2, 1)[:, None, None, None]
    images[:, :, 4:8, 4:8] += np.where(labels[:, 0] == 1, 2, 0)[:, None, None, None]
    return [
        {
            "image": torch.tensor(image, dtype=torch.float32),
            "label": label.astype(np.float32),
            "patient": str(place // 2),
        }
        for place, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def slow_knn(train: np.ndarray, labels: np.ndarray, query: np.ndarray, neighbours: int) -> float:
    """Wu et al. 2018, Sec. 3.4, for one image and one class."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / math.sqrt((a @ a) * (b @ b)))

    ranked = sorted(((cosine(row, query), label) for row, label in zip(train, labels, strict=True)), reverse=True)
    weights = [(math.exp(similarity / 0.07), label) for similarity, label in ranked[:neighbours]]
    return sum(weight for weight, label in weights if label == 1) / sum(weight for weight, _ in weights)


@pytest.mark.parametrize("neighbours", [1, 5, 20])
def test_knn_is_the_formula_over_the_images_whose_label_is_known(neighbours: int) -> None:
    train, queries = torch.rand(30, 6), torch.rand(9, 6)
    labels = torch.tensor(np.random.default_rng(0).choice([1, 0, NAN], size=(30, 3)))
    labels[12:, 1] = NAN  # fewer than 20 are known
    labels[:, 2] = torch.where(labels[:, 2] == 1, NAN, labels[:, 2])  # one outcome only
    scores = knn_probe(train, labels, queries, neighbours)
    assert (scores[:, 2] == 0.5).all()
    for k in (0, 1):
        known = ~labels[:, k].isnan()
        for query, score in zip(queries.numpy(), scores[:, k], strict=True):
            expected = slow_knn(train[known].numpy(), labels[known, k].numpy(), query, neighbours)
            assert score == pytest.approx(expected, rel=1e-4)


def train(epochs: int, probe: OnlineProbe | None, backbone: Any) -> tuple[list[dict[str, float]], Tensor]:
    """A training with all kinds of randomness; returns the metrics of each epoch and the state of torch's generator."""
    torch.manual_seed(1)
    dataset = Dataset(items(12, seed=5), transform=Compose([RandGaussianNoised(keys="image", prob=0.5)]))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(dataset, batch_size=4, shuffle=True),
        network=backbone,
        optimizer=torch.optim.Adam(backbone.parameters(), lr=1e-3),
        loss_function=lambda output, _: output.square().mean(),
        prepare_batch=lambda batch, device, non_blocking, **kwargs: (batch["image"], None),
        train_handlers=[probe] if probe else [],
        decollate=False,
    )
    seen: list[dict[str, float]] = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: seen.append(dict(engine.state.metrics)))
    trainer.run()
    return seen, torch.get_rng_state()


def build(interval: int, training: list, validation: list, backbone: Any, **values: Any) -> OnlineProbe:
    return OnlineProbe(backbone, training, validation, ["Bright", "Coarse"], Compose([]), interval, 8, **values)


def test_a_run_with_probes_ends_as_one_without_to_the_bit() -> None:
    ends = []
    for interval in (0, 1):
        torch.manual_seed(0)
        backbone: Any = TinyBackbone()
        metrics, generator = train(3, build(interval, items(20, 1), items(20, 2), backbone), backbone)
        ends.append((backbone.state_dict(), generator))
        assert [bool(epoch) for epoch in metrics] == [interval == 1] * 3
    (without, first), (with_probes, second) = ends
    assert [key for key in without if not torch.equal(without[key], with_probes[key])] == []
    assert torch.equal(first, second)


def test_probes_come_in_their_epochs_and_in_the_last() -> None:
    backbone: Any = TinyBackbone()
    metrics, _ = train(5, build(2, items(20, 1), items(20, 2), backbone), backbone)
    names = {"probe/linear_mAUROC", "probe/knn_mAUROC"}
    assert [set(epoch) for epoch in metrics] == [set(), names, set(), names, names]


def test_the_figures_are_those_of_both_probes_on_the_features() -> None:
    backbone: Any = TinyBackbone()
    training, validation = items(80, 1), items(60, 2)
    figures = build(1, training, validation, backbone).probe()
    backbone.eval()

    def features(listed: list[dict[str, Any]]) -> Tensor:
        with torch.no_grad():
            return backbone.pool(backbone(torch.stack([item["image"] for item in listed])))

    labels = [np.stack([item["label"] for item in listed]) for listed in (training, validation)]
    patients = [item["patient"] for item in training]
    scores = {
        "linear": linear_probe(features(training).numpy(), labels[0], features(validation).numpy(), patients),
        "knn": knn_probe(features(training), torch.tensor(labels[0]), features(validation)),
    }
    for name, values in scores.items():
        columns = [(labels[1][:, k], values[:, k]) for k in (0, 1)]
        expected = [roc_auc_score(y[~np.isnan(y)], score[~np.isnan(y)]) for y, score in columns]
        assert figures[f"probe/{name}_mAUROC"] == pytest.approx(np.mean(expected), abs=2e-3)
        assert figures[f"probe/{name}_mAUROC"] > 0.7  # random filters see what was drawn


def test_a_class_with_one_outcome_has_no_part_in_the_mean() -> None:
    backbone: Any = TinyBackbone()
    labels = np.stack([np.tile([1.0, 0.0], 20), np.tile([0.0, NAN], 20)], axis=1)
    both = build(1, items(40, 1, labels), items(40, 2), backbone).probe()
    alone = build(1, items(40, 1, labels), items(40, 2, np.tile([[1.0, 0.0], [0.0, NAN]], (20, 1))), backbone).probe()
    assert both["probe/linear_mAUROC"] != 0.5
    assert alone["probe/linear_mAUROC"] > 0.8


UNKNOWN = items(6, 1, np.full((6, 2), NAN))


@pytest.mark.parametrize(("training", "validation"), [([], []), (items(9, 1), []), (UNKNOWN, items(9, 2))])
def test_without_labels_a_run_goes_on_and_says_so_once(
    training: list, validation: list, caplog: pytest.LogCaptureFixture
) -> None:
    backbone: Any = TinyBackbone()
    with caplog.at_level(logging.INFO, logger="medssl"):
        metrics, _ = train(3, build(1, training, validation, backbone), backbone)
    assert metrics == [{}, {}, {}]
    assert [record.message.split(":")[0] for record in caplog.records if record.name.startswith("medssl")] == [
        "No probes"
    ]


def test_too_few_patients_for_folds_are_said(caplog: pytest.LogCaptureFixture) -> None:
    backbone: Any = TinyBackbone()
    few = [{**item, "patient": "the only one"} for item in items(20, 1)]
    with caplog.at_level(logging.INFO, logger="medssl"):
        train(1, build(1, few, items(20, 2), backbone), backbone)
    assert "not chosen by folds over patients but 0.01" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="medssl"):
        train(1, build(1, items(20, 1), items(20, 2), backbone), backbone)
    assert "Probing" in caplog.text
    assert "folds" not in caplog.text


def test_of_many_images_a_part_is_looked_at() -> None:
    backbone: Any = TinyBackbone()
    probe = build(1, items(200, 1), UNKNOWN + items(50, 2), backbone, most=10)
    assert (len(probe.training), len(probe.validation)) == (10, 10)
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch = engine.state.max_epochs = 1
    probe(engine)
    assert len(engine.state.metrics) == 2
