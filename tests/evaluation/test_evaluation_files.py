"""The files of an evaluation, written by MONAI's own evaluator."""

import json
import multiprocessing
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ignite.distributed as idist
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

from medssl.evaluation import EvaluationFile, PartialAUROC, PredictionsFile, figures, read_predictions
from medssl.training import prepare_labelled

LABELS = ["Mass", "Nodule, large", "Effusion"]
IMAGES = 11


def studies(folder: Path) -> list[dict]:
    items = []
    for number in range(IMAGES):
        label = torch.tensor([number % 2, float("nan") if number % 3 else number % 2, 1.0])
        items.append(
            {
                "image": torch.randn(1, 4, 4),
                "label": label,
                "file": str(folder / "images" / f"scan_{number:02}.png"),
                "patient": f"p{number // 2}",
            }
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
    written_figures, written_predictions = tmp_path / "run" / "metrics.json", tmp_path / "run" / "predictions_test.csv"
    handlers = [
        PredictionsFile(written_predictions, LABELS, tmp_path / "data"),
        EvaluationFile(written_figures, "test", LABELS, resamples=50),
    ]
    evaluator = evaluate(items, network, handlers, PartialAUROC(LABELS))

    with torch.no_grad():
        probabilities = network(torch.stack([item["image"] for item in items])).sigmoid().numpy()
    labels = torch.stack([item["label"] for item in items]).numpy()
    predictions = read_predictions(written_predictions)
    assert predictions.images == [f"images/scan_{number:02}.png" for number in range(IMAGES)]
    assert predictions.patients == [item["patient"] for item in items]
    assert predictions.names == LABELS
    np.testing.assert_allclose(predictions.scores, probabilities, rtol=1e-6)
    np.testing.assert_array_equal(predictions.labels, labels)

    written = json.loads(written_figures.read_text())
    known = ~np.isnan(labels[:, 1])
    assert written["split"] == "test"
    assert written["per_class"] == {
        "Mass": pytest.approx(roc_auc_score(labels[:, 0], probabilities[:, 0])),
        "Nodule, large": pytest.approx(roc_auc_score(labels[known, 1], probabilities[known, 1])),
        "Effusion": None,
    }
    assert written["undefined"] == ["Effusion"]
    assert written["mAUROC"] == pytest.approx(evaluator.state.metrics["val_mAUROC"])
    assert (written["images"], written["patients"]) == (IMAGES, 6)
    assert written["splits"] == {"test": {key: written[key] for key in written if key not in ("split", "splits")}}
    # What the file holds is what its predictions say, thresholds of the split itself included.
    thresholds = [written["classes"][name]["threshold"] for name in LABELS]
    assert figures(predictions, thresholds, resamples=50) == written["splits"]["test"]

    # A second evaluation starts anew: no image is counted or written twice.
    evaluator.run()
    assert json.loads(written_figures.read_text())["images"] == IMAGES
    assert len(read_predictions(written_predictions).images) == IMAGES


SCORES, TRUTH = [[0.9], [0.1], [0.7], [0.4]], [[1.0], [0.0], [float("nan")], [1.0]]


def run(handlers: Iterable[Any], scores: list = SCORES, labels: list = TRUTH) -> None:
    """An evaluation of two batches that gives these scores."""
    rows = [slice(0, 3), slice(3, 4)]

    def step(engine: Engine, batch: dict) -> dict:
        return {"pred": torch.tensor(scores)[batch["rows"]], "label": torch.tensor(labels)[batch["rows"]]}

    engine = Engine(step)
    for handler in handlers:
        handler.attach(engine)
    files = [f"{number}.png" for number in range(4)]
    engine.run([{"file": files[each], "patient": files[each], "rows": each} for each in rows])


def flipped(scores: list) -> list:
    return [[1 - value for value in row] for row in scores]


def test_the_newest_split_stands_on_top_and_every_split_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    run([EvaluationFile(path, "validation", ["Mass"])])
    run([EvaluationFile(path, "test", ["Mass"])], flipped(SCORES))
    written = json.loads(path.read_text())
    assert (written["split"], written["mAUROC"]) == ("test", 0.0)
    assert {name: split["mAUROC"] for name, split in written["splits"].items()} == {"validation": 1.0, "test": 0.0}
    run([EvaluationFile(path, "test", ["Mass"])])
    written = json.loads(path.read_text())
    assert written["splits"]["test"]["mAUROC"] == written["mAUROC"] == 1.0


def test_files_of_a_model_that_was_not_kept_are_not_written(tmp_path: Path) -> None:
    best = SimpleNamespace(improved=True)
    handlers = [
        PredictionsFile(tmp_path / "p.csv", ["Mass"], tmp_path, only_if=best),
        EvaluationFile(tmp_path / "m.json", "validation", ["Mass"], only_if=best, resamples=0),
    ]
    run(handlers)
    before = (tmp_path / "p.csv").read_text(), (tmp_path / "m.json").read_text()
    best.improved = False
    run(handlers, flipped(SCORES))
    assert ((tmp_path / "p.csv").read_text(), (tmp_path / "m.json").read_text()) == before
    assert json.loads(before[1])["mAUROC_interval"] is None


def test_thresholds_are_those_of_the_validation(tmp_path: Path) -> None:
    validation, metrics = tmp_path / "validation.csv", tmp_path / "m.json"
    run([PredictionsFile(validation, ["Mass"], tmp_path)], [[0.8], [0.6], [0.5], [0.7]])
    run([EvaluationFile(metrics, "test", ["Mass"], thresholds_from=validation)])
    mass = json.loads(metrics.read_text())["classes"]["Mass"]
    assert mass["threshold"] == pytest.approx(0.7)
    assert (mass["sensitivity"][0], mass["specificity"][0]) == (0.5, 1.0)
    with pytest.raises(ValueError, match="is of the classes Mass, but those evaluated are Nodule"):
        run([EvaluationFile(metrics, "test", ["Nodule"], thresholds_from=validation)])


def test_without_a_validation_there_are_no_thresholds_and_a_sentence_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"There is no .*gone\.csv to choose thresholds on"):
        run([EvaluationFile(tmp_path / "m.json", "test", ["Mass"], thresholds_from=tmp_path / "gone.csv")])
    mass = json.loads((tmp_path / "m.json").read_text())["classes"]["Mass"]
    assert (mass["threshold"], mass["sensitivity"]) == (None, None)
    assert mass["auroc"][0] == 1


def test_baselines_stand_beside_the_figures(tmp_path: Path) -> None:
    labels = [[*row, value] for row, value in zip(TRUTH, (0.0, 1.0, 1.0, 0.0), strict=True)]
    scores = [[*row, 0.5] for row in SCORES]
    judged = []

    def baselines(loader: Iterable) -> dict[str, np.ndarray]:
        judged.append(len(list(loader)))
        return {"pixels": np.array(flipped(scores)), "untrained": np.full((4, 2), 0.5)}

    run([EvaluationFile(tmp_path / "m.json", "test", ["Mass", "Edema"], baselines=baselines)], scores, labels)
    written = json.loads((tmp_path / "m.json").read_text())
    assert judged == [2]  # the evaluator's own two batches
    pixels, untrained = written["baselines"]["pixels"], written["baselines"]["untrained"]
    assert pixels == {"mAUROC": [0.0, 0.0, 0.0], "per_class": {"Mass": 0.0, "Edema": None}}
    assert untrained == {"mAUROC": None, "per_class": {"Mass": None, "Edema": None}}
    assert written["splits"]["test"]["baselines"] == written["baselines"]


def test_exclusive_classes_have_an_accuracy(tmp_path: Path) -> None:
    scores = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]
    labels = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [float("nan")] * 2]
    run([EvaluationFile(tmp_path / "m.json", "test", ["Mass", "Edema"], exclusive=True)], scores, labels)
    written = json.loads((tmp_path / "m.json").read_text())
    assert written["accuracy"][0] == pytest.approx(2 / 3)
    assert written["balanced_accuracy"][0] == pytest.approx(0.75)


def one_of_two(rank: int, folder: Path) -> None:
    """The process of a distributed evaluation that sees every other image."""
    torch.distributed.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    idist.sync()
    files = [f"{number}.png" for number in range(rank, 4, 2)]

    def step(engine: Engine, batch: dict) -> dict:
        return {"pred": torch.tensor(SCORES)[rank::2], "label": torch.tensor(TRUTH)[rank::2]}

    engine = Engine(step)
    PredictionsFile(folder / "p.csv", ["Mass"], folder).attach(engine)
    EvaluationFile(folder / "m.json", "test", ["Mass"]).attach(engine)
    engine.run([{"file": [str(folder / file) for file in files], "patient": files}])
    torch.distributed.destroy_process_group()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are forked")
def test_what_several_processes_saw_is_one_evaluation(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=one_of_two, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=240)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    predictions = read_predictions(tmp_path / "p.csv")
    assert sorted(predictions.images) == [f"{number}.png" for number in range(4)]
    order = np.argsort(predictions.images)
    np.testing.assert_allclose(predictions.scores[order], SCORES)
    np.testing.assert_array_equal(predictions.labels[order], TRUTH)
    assert json.loads((tmp_path / "m.json").read_text())["images"] == 4
