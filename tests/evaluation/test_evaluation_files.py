"""The files of an evaluation, written by MONAI's own evaluator."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, from_engine
from monai.transforms import Activationsd
from sklearn.metrics import roc_auc_score
from torch import nn

from medssl.evaluation import EvaluationFile, PartialAUROC, PredictionsFile
from medssl.training import prepare_labelled

LABELS = ["Mass", "Nodule, large", "Effusion"]
IMAGES = 11


def studies(folder: Path) -> list[dict]:
    items = []
    for number in range(IMAGES):
        label = torch.tensor([number % 2, float("nan") if number % 3 else number % 2, 1.0])
        items.append(
            {"image": torch.randn(1, 4, 4), "label": label, "file": str(folder / "images" / f"scan_{number:02}.png")}
        )
    return items


def evaluate(items: list[dict], network: nn.Module, handlers: list, metric: PartialAUROC) -> SupervisedEvaluator:
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=4),
        network=network,
        prepare_batch=prepare_labelled,
        postprocessing=Activationsd(keys="pred", sigmoid=True),
        key_val_metric={
            "val_mAUROC": IgniteMetricHandler(metric_fn=metric, output_transform=from_engine(["pred", "label"]))
        },
        val_handlers=handlers,
        decollate=False,
    )
    evaluator.run()
    return evaluator


def test_an_evaluation_writes_its_figures_and_the_probability_of_every_image(tmp_path: Path) -> None:
    items = studies(tmp_path / "data")
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    metric = PartialAUROC(LABELS)
    figures, predictions = tmp_path / "run" / "metrics.json", tmp_path / "run" / "predictions_test.csv"
    handlers = [EvaluationFile(figures, metric, "test"), PredictionsFile(predictions, LABELS, tmp_path / "data")]
    evaluator = evaluate(items, network, handlers, metric)

    with torch.no_grad():
        probabilities = network(torch.stack([item["image"] for item in items])).sigmoid().numpy()
    with predictions.open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["image", *LABELS]
    assert [row[0] for row in rows] == [f"images/scan_{number:02}.png" for number in range(IMAGES)]
    np.testing.assert_allclose(np.array([row[1:] for row in rows], dtype=float), probabilities, atol=1e-6)

    written = json.loads(figures.read_text())
    labels = torch.stack([item["label"] for item in items]).numpy()
    known = ~np.isnan(labels[:, 1])
    assert written["split"] == "test"
    assert written["per_class"]["Mass"] == pytest.approx(roc_auc_score(labels[:, 0], probabilities[:, 0]))
    assert written["per_class"]["Nodule, large"] == pytest.approx(
        roc_auc_score(labels[known, 1], probabilities[known, 1])
    )
    assert written["per_class"]["Effusion"] is None
    assert written["undefined"] == ["Effusion"]
    assert written["mAUROC"] == pytest.approx(evaluator.state.metrics["val_mAUROC"])
    assert written["images"] == IMAGES
    assert list(written["splits"]) == ["test"]

    # A second evaluation starts anew: no image is counted or written twice.
    evaluator.run()
    assert json.loads(figures.read_text())["images"] == IMAGES
    assert len(predictions.read_text().splitlines()) == 1 + IMAGES


def seen(metric: PartialAUROC, flip: bool = False) -> PartialAUROC:
    metric.reset()
    scores = torch.tensor([[0.9], [0.1], [0.7]])
    metric(1 - scores if flip else scores, torch.tensor([[1.0], [0.0], [float("nan")]]))
    return metric


def test_the_newest_split_stands_on_top_and_every_split_is_kept(tmp_path: Path) -> None:
    metric, path = PartialAUROC(["Mass"]), tmp_path / "metrics.json"
    engine = Engine(lambda engine, batch: None)
    seen(metric)
    EvaluationFile(path, metric, "validation")(engine)
    seen(metric, flip=True)
    EvaluationFile(path, metric, "test")(engine)
    written = json.loads(path.read_text())
    assert (written["split"], written["mAUROC"]) == ("test", 0.0)
    assert {name: split["mAUROC"] for name, split in written["splits"].items()} == {"validation": 1.0, "test": 0.0}
    seen(metric)
    EvaluationFile(path, metric, "test")(engine)
    written = json.loads(path.read_text())
    assert written["splits"]["test"]["mAUROC"] == written["mAUROC"] == 1.0


def test_figures_of_a_model_that_was_not_kept_are_not_written(tmp_path: Path) -> None:
    metric, path = PartialAUROC(["Mass"]), tmp_path / "metrics.json"
    best = SimpleNamespace(improved=True)
    handler = EvaluationFile(path, metric, "validation", only_if=best)
    engine = Engine(lambda engine, batch: None)
    seen(metric)
    handler(engine)
    best.improved = False
    seen(metric, flip=True)
    handler(engine)
    assert json.loads(path.read_text())["mAUROC"] == 1.0
