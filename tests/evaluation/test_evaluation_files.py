"""The files of an evaluation, written by MONAI's own evaluator."""

import json
import multiprocessing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Activationsd
from sklearn.metrics import roc_auc_score
from torch import nn

from medssl.evaluation import EvaluationFiles, PredictionsMetric, closing_line, figures, read_predictions
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


def evaluate(items: list[dict], network: nn.Module, handler: EvaluationFiles, base: Path) -> SupervisedEvaluator:
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=4),
        network=network,
        prepare_batch=prepare_labelled,
        postprocessing=Activationsd(keys="pred", sigmoid=True),
        key_val_metric={"val_mAUROC": PredictionsMetric(LABELS, base)},
        val_handlers=[handler],
        decollate=False,
    )
    evaluator.run()
    return evaluator


def test_an_evaluation_writes_its_figures_and_the_probability_of_every_image(tmp_path: Path) -> None:
    items = studies(tmp_path / "data")
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    run_folder = tmp_path / "run"
    written_figures, written_predictions = run_folder / "metrics.json", run_folder / "predictions_validation.csv"
    evaluator = evaluate(items, network, EvaluationFiles(run_folder, "validation", resamples=50), tmp_path / "data")

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
    assert written["split"] == "validation"
    assert written["per_class"] == {
        "Mass": pytest.approx(roc_auc_score(labels[:, 0], probabilities[:, 0])),
        "Nodule, large": pytest.approx(roc_auc_score(labels[known, 1], probabilities[known, 1])),
        "Effusion": None,
    }
    assert written["undefined"] == ["Effusion"]
    assert written["mAUROC"] == pytest.approx(evaluator.state.metrics["val_mAUROC"])
    assert (written["images"], written["patients"]) == (IMAGES, 6)
    assert written["splits"] == {"validation": {key: written[key] for key in written if key not in ("split", "splits")}}
    # What the file holds is what its predictions say, thresholds of the split itself included.
    thresholds = [written["classes"][name]["threshold"] for name in LABELS]
    assert figures(predictions, thresholds, resamples=50) == written["splits"]["validation"]

    # A second evaluation starts anew: no image is counted or written twice.
    evaluator.run()
    assert json.loads(written_figures.read_text())["images"] == IMAGES
    assert len(read_predictions(written_predictions).images) == IMAGES


SCORES, TRUTH = [[0.9], [0.1], [0.7], [0.4]], [[1.0], [0.0], [float("nan")], [1.0]]


def run(files: EvaluationFiles, scores: list = SCORES, labels: list = TRUTH, names: Sequence[str] = ("Mass",)) -> dict:
    """What is written of an evaluation of two batches that gives these scores."""

    def step(engine: Engine, batch: dict) -> dict:
        return {"pred": torch.tensor(scores)[batch["rows"]], "label": torch.tensor(labels)[batch["rows"]]}

    engine = Engine(step)
    files.attach(engine)
    PredictionsMetric(names).attach(engine, "val_mAUROC")
    images = [f"{number}.png" for number in range(4)]
    engine.run([{"file": images[rows], "patient": images[rows], "rows": rows} for rows in (slice(0, 3), slice(3, 4))])
    return json.loads((files.output_dir / "metrics.json").read_text())


def flipped(scores: list) -> list:
    return [[1 - value for value in row] for row in scores]


def test_the_newest_split_stands_on_top_and_every_split_is_kept(tmp_path: Path) -> None:
    run(EvaluationFiles(tmp_path, "validation", resamples=0))
    written = run(EvaluationFiles(tmp_path, "test", resamples=0), flipped(SCORES))
    assert (written["split"], written["mAUROC"], written["mAUROC_interval"]) == ("test", 0.0, None)
    assert {name: split["mAUROC"] for name, split in written["splits"].items()} == {"validation": 1.0, "test": 0.0}
    written = run(EvaluationFiles(tmp_path, "test"))
    assert written["splits"]["test"]["mAUROC"] == written["mAUROC"] == 1.0
    assert list(written["splits"]) == ["validation", "test"]
    written = run(EvaluationFiles(tmp_path, "validation", keep_others=False))
    assert list(written["splits"]) == ["validation"]


def test_thresholds_are_those_of_the_validation(tmp_path: Path) -> None:
    run(EvaluationFiles(tmp_path, "validation"), [[0.8], [0.6], [0.5], [0.7]])
    mass = run(EvaluationFiles(tmp_path, "test"))["classes"]["Mass"]
    assert mass["threshold"] == pytest.approx(0.7)
    assert (mass["sensitivity"][0], mass["specificity"][0]) == (0.5, 1.0)
    with pytest.raises(ValueError, match="is of the classes Mass, but those evaluated are Nodule"):
        run(EvaluationFiles(tmp_path, "test"), names=["Nodule"])


def test_without_a_validation_there_are_no_thresholds_and_a_sentence_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"There is no .*predictions_validation\.csv to choose thresholds on"):
        mass = run(EvaluationFiles(tmp_path, "test"))["classes"]["Mass"]
    assert (mass["threshold"], mass["sensitivity"]) == (None, None)
    assert mass["auroc"][0] == 1


def test_figures_that_are_none_of_ours_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(ValueError, match=r"metrics\.json is damaged: remove it"):
        run(EvaluationFiles(tmp_path, "validation"))


def test_baselines_stand_beside_the_figures(tmp_path: Path) -> None:
    labels = [[*row, value] for row, value in zip(TRUTH, (0.0, 1.0, 1.0, 0.0), strict=True)]
    scores = [[*row, 0.5] for row in SCORES]
    judged = []

    def baselines(loader: Iterable) -> dict[str, np.ndarray]:
        judged.append(len(list(loader)))
        return {"pixels": np.array(flipped(scores)), "untrained": np.full((4, 2), 0.5)}

    written = run(EvaluationFiles(tmp_path, "validation", baselines=baselines), scores, labels, ["Mass", "Edema"])
    assert judged == [2]  # the evaluator's own two batches
    pixels, untrained = written["baselines"]["pixels"], written["baselines"]["untrained"]
    assert pixels == {"mAUROC": [0.0, 0.0, 0.0], "per_class": {"Mass": 0.0, "Edema": None}}
    assert untrained == {"mAUROC": None, "per_class": {"Mass": None, "Edema": None}}
    assert written["splits"]["validation"]["baselines"] == written["baselines"]


def test_exclusive_classes_have_an_accuracy(tmp_path: Path) -> None:
    scores = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]
    labels = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [float("nan")] * 2]
    written = run(EvaluationFiles(tmp_path, "validation", exclusive=True), scores, labels, ["Mass", "Edema"])
    assert written["accuracy"][0] == pytest.approx(2 / 3)
    assert written["balanced_accuracy"][0] == pytest.approx(0.75)


def test_the_key_metric_is_finite_where_nothing_is_known(tmp_path: Path) -> None:
    engine = Engine(lambda engine, batch: {"pred": torch.rand(2, 1)})
    PredictionsMetric(["Mass"]).attach(engine, "val_mAUROC")
    with pytest.warns(UserWarning, match="mAUROC is taken as 0.5"):
        state: Any = engine.run([{"file": ["a", "b"]}])
    assert state.metrics["val_mAUROC"] == 0.5
    assert state.predictions.patients == state.predictions.images == ["a", "b"]
    assert np.isnan(state.predictions.labels).all()


def one_of_two(rank: int, folder: Path) -> None:
    """The process of a distributed evaluation that sees every other image."""
    torch.distributed.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    idist.sync()
    files = [f"{number}.png" for number in range(rank, 4, 2)]

    def step(engine: Engine, batch: dict) -> dict:
        return {"pred": torch.tensor(SCORES)[rank::2], "label": torch.tensor(TRUTH)[rank::2]}

    engine = Engine(step)
    EvaluationFiles(folder, "validation").attach(engine)
    PredictionsMetric(["Mass"], folder).attach(engine, "val_mAUROC")
    engine.run([{"file": [str(folder / file) for file in files], "patient": files}])
    assert engine.state.metrics["val_mAUROC"] == 1.0
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
    predictions = read_predictions(tmp_path / "predictions_validation.csv")
    assert sorted(predictions.images) == [f"{number}.png" for number in range(4)]
    order = np.argsort(predictions.images)
    np.testing.assert_allclose(predictions.scores[order], SCORES)
    np.testing.assert_array_equal(predictions.labels[order], TRUTH)
    assert json.loads((tmp_path / "metrics.json").read_text())["images"] == 4


def say(folder: Path, **figures: Any) -> str:
    (folder / "metrics.json").write_text(json.dumps({"splits": {"test": figures}}))
    return closing_line(folder, "test")


def test_the_figure_stands_beside_the_trivial_ones_with_its_interval(tmp_path: Path) -> None:
    (tmp_path / "predictions_test.csv").touch()
    baselines = {"pixels": {"mAUROC": [0.61, 0.5, 0.7]}, "untrained": {"mAUROC": None}}
    said = say(tmp_path, mAUROC=0.7123, mAUROC_interval=[0.66, 0.75], baselines=baselines)
    first, second = said.splitlines()
    assert first == (
        "mAUROC on test: 0.712 [0.660, 0.750] (beside it: logistic regression on few pixels 0.610 [0.500, 0.700], "
        "probe of the untrained backbone undefined)"
    )
    assert second == (f"{tmp_path}: metrics.json, predictions_test.csv. As a page: medssl report {tmp_path}")


def test_what_is_undefined_is_said_to_be(tmp_path: Path) -> None:
    assert say(tmp_path, mAUROC=None, mAUROC_interval=None).startswith("mAUROC on test: undefined\n")
    assert say(tmp_path, mAUROC=0.5, mAUROC_interval=None).startswith("mAUROC on test: 0.500\n")
    missing = {"pixels": {"mAUROC": [0.5, None, None]}}
    assert "few pixels 0.500)" in say(tmp_path, mAUROC=0.5, mAUROC_interval=None, baselines=missing)
