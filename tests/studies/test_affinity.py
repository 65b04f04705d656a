"""The study on pre-trainings and fine-tunings of the bundles, on phantoms; the comparison of guides against pairs."""

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from monai.data import Dataset
from monai.networks.nets import resnet10
from sklearn.metrics import roc_auc_score

from medssl.data import Datalist, Source
from medssl.data.prepare import prepare
from medssl.evaluation.probes import patients_of, pooled_features
from medssl.losses import PartialBCELoss
from medssl.networks import load_backbone
from medssl.phantoms import write_phantoms
from medssl.runs import Run
from medssl.studies import BundleRun
from medssl.studies.affinity import (
    PretrainingRun,
    agreement,
    finetuned_results,
    measure,
    run_affinity,
    study,
)
from medssl.studies.affinity.finetuned import finetune_command, missing_finetunings
from medssl.studies.affinity.guides import Images
from medssl.training import fit_linear_layer
from medssl.transforms import StoredImage

CPU = torch.device("cpu")


class Runs(NamedTuple):
    """A datalist, the folder of the runs on it, and what the study says of them."""

    datalist: Path
    folder: Path
    affinities: pd.DataFrame

    def pretraining(self, task: str) -> PretrainingRun:
        return PretrainingRun(Run.read(self.folder / task))


def bundle_run(bundle: str, data: Path, output: Path, **values: Any) -> BundleRun:
    numbers = {"architecture": "resnet10_quarter", "learning_rate": 0.001, "batch_size": 20, "workers": 0}
    return BundleRun(bundle, {"data": data, "output_dir": output, **numbers, **values})


def copy_finetuning(run: Path, name: str, pretrained: Path, auroc: float) -> None:
    """A fine-tuning like another one, from other weights and with another result."""
    folder = run.with_name(name)
    folder.mkdir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "pretrained": str(pretrained)}))
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["splits"]["test"]["mAUROC"] = auroc
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Three pre-trainings with one seed, one last epoch fine-tuned; two more fine-tunings are written after it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("affinity")
    table = write_phantoms(folder / "phantoms", "chest", 60, size=64, progress=False)
    sources = [Source(images=folder / "phantoms" / "images", csv=table)]
    prepare(sources, folder / "data", size=(32, 32), fractions=(0.5, 0.25, 0.25), labels=["Effusion", "Mass"])
    datalist = folder / "data" / "datalist.json"
    for task, epochs in (("rotation", 2), ("rvrm", 1), ("src", 1)):
        values = {"tasks": task, "epochs": epochs, "keep_every": 1, "probe_every": 0}
        bundle_run("pretrain", folder / "data", folder / task, **values).run()
    last = folder / "last"
    finetuning = bundle_run("finetune", folder / "data", last, epochs=1, pretrained=folder / "rotation")
    finetuning.run()
    finetuning.evaluation(resamples=0).run()
    copy_finetuning(last, "random", folder / "src" / "backbones" / "epoch_0000.pt", 0.5)
    copy_finetuning(last, "first", folder / "rotation" / "backbones" / "epoch_0001.pt", 0.75)
    given = [folder / name for name in ("rotation", "rvrm", "src", "last", "random", "first")]
    return Runs(datalist, folder, run_affinity(given, datalist, folder / "affinity", batches=2))


def test_the_study_tells_what_was_measured_and_what_fine_tuning_came_to(runs: Runs) -> None:
    rows = runs.affinities
    kept = [("rotation", 0), ("rotation", 1), ("rotation", 2), ("rvrm", 0), ("rvrm", 1), ("src", 0), ("src", 1)]
    assert list(zip(rows["run"], rows["epoch"], strict=True)) == kept
    lcp = dict(zip(kept, rows["lcp_mAUROC"], strict=True))
    for row in rows.itertuples():
        assert row.proxy_affinity == pytest.approx(row.lcp_mAUROC - lcp[row.run, 0])
        low, high = row.proxy_low, row.proxy_high
        assert (low, high) == (0, 0) if row.epoch == 0 else low < high
        assert 0 < abs(row.gradient_affinity) < 1
        assert row.gradient_standard_error > 0
    result = json.loads((runs.folder / "last" / "metrics.json").read_text())["splits"]["test"]["mAUROC"]
    # RandIni of rotation and src is the same; RVRM, with three input channels, begins with other weights.
    np.testing.assert_array_equal(rows["finetuned_mAUROC"], [0.5, 0.75, result, np.nan, np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(rows["finetuned_gain"], [0, 0.25, result - 0.5, np.nan, np.nan, 0, np.nan])
    assert lcp["rotation", 0] == lcp["src", 0] != lcp["rvrm", 0]
    table = pd.read_csv(runs.folder / "affinity" / "affinity.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(table, rows, check_exact=True)
    assert (runs.folder / "affinity" / "affinity.png").stat().st_size > 10_000


def slow_features(weights: Path, items: list[dict[str, Any]]) -> torch.Tensor:
    """Pooled features of the stored images, one at a time, through MONAI's own network."""
    network = resnet10(
        widen_factor=0.25, spatial_dims=2, n_input_channels=1, conv1_t_stride=2, feed_forward=False
    ).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    rows = []
    for item in items:
        image = StoredImage(item["image"]).read()
        image = torch.from_numpy((image - image.mean()) / image.std())
        with torch.no_grad():
            rows.append(network(image[None, None])[0])
    return torch.stack(rows)


def test_the_linear_layer_is_judged_on_features_of_the_stored_images(runs: Runs) -> None:
    run = runs.pretraining("rvrm")
    splits = [Datalist.read(runs.datalist).items(split) for split in ("training", "validation")]
    backbone = load_backbone(run.kept[1])
    features = [pooled_features(backbone, Dataset(items, run.view.stored()), 20) for items in splits]
    for quick, items in zip(features, splits, strict=True):
        torch.testing.assert_close(quick, slow_features(run.kept[1], items), rtol=1e-3, atol=1e-4)
    # Fitted to the quick ones: how the folds choose, and the order of near ties, may hang on the last digit.
    labels = [torch.from_numpy(np.array([item["label"] for item in items])) for items in splits]
    loss = PartialBCELoss((labels[0] == 1).sum(dim=0), (labels[0] == 0).sum(dim=0))
    patients = patients_of(splits[0])
    layer = fit_linear_layer(features[0], labels[0], loss, run.seed, batch_size=20, patients=patients)
    scores = layer(features[1]).detach()
    aurocs = [roc_auc_score(labels[1][:, k], scores[:, k]) for k in range(2)]
    lcp = runs.affinities.set_index(["run", "epoch"])["lcp_mAUROC"]["rvrm", 1]
    assert lcp == pytest.approx(np.mean(aurocs))


def test_a_measurement_can_be_repeated_and_needs_no_heads_for_the_proxy(runs: Runs) -> None:
    run, images = runs.pretraining("src"), Images.read(runs.datalist, "validation")
    torch.rand(7)
    again = measure(run, images, CPU, batches=2)
    before = runs.affinities.query("run == 'src'").reset_index(drop=True)
    pd.testing.assert_frame_equal(before[again.columns], again, check_exact=True)
    (runs.folder / "src" / "pretext_models").rename(runs.folder / "elsewhere")
    without_heads = again.assign(gradient_affinity=np.nan, gradient_standard_error=np.nan)
    pd.testing.assert_frame_equal(measure(run, images, CPU, batches=2), without_heads, check_exact=True)
    (runs.folder / "elsewhere").rename(runs.folder / "src" / "pretext_models")


def test_what_is_missing_is_named_once_and_its_command_takes_the_kept_weights(runs: Runs) -> None:
    pretrainings = [runs.pretraining(task) for task in ("rotation", "rvrm", "src")]
    results = finetuned_results(pretrainings, [Run.read(runs.folder / "last")])
    missing = missing_finetunings(results, pretrainings)
    assert [(run.name, epoch) for run, epoch in missing] == [("rotation", 0), ("rvrm", 0), ("rvrm", 1), ("src", 1)]
    command = finetune_command(*missing[2], runs.datalist)
    assert f"--pretrained {runs.folder / 'rvrm' / 'backbones' / 'epoch_0001.pt'}" in command
    assert "bundles/finetune/configs/train.yaml" in command
    assert "--architecture resnet10_quarter" in command


def test_mistakes_are_answered_in_one_sentence_before_anything_is_measured(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "measure", lambda *arguments: pytest.fail("measured"))
    rotation, rvrm, last = (runs.folder / name for name in ("rotation", "rvrm", "last"))
    without = tmp_path / "without"
    without.mkdir()
    (without / "config.yaml").write_text((rotation / "config.yaml").read_text())
    mistakes = {
        "There is no pre-training among the runs": [last],
        "Two pre-trainings are called rotation": [rotation, rotation],
        "began with .*rotation, which no given pre-training kept": [rvrm, last],
        "kept no backbones along its epochs: pre-train again with, say, --keep_every 10": [without],
        "is no run": [tmp_path],
    }
    for message, given in mistakes.items():
        with pytest.raises(ValueError, match=message):
            run_affinity(given, runs.datalist, tmp_path)
    with pytest.raises(ValueError, match="at least 2 batches"):
        run_affinity([rotation], runs.datalist, tmp_path, batches=1)
    unknown = runs.datalist.with_name("unknown.json")
    content = json.loads(runs.datalist.read_text())
    content["training"] = [{**item, "label": [None, None]} for item in content["training"]]
    unknown.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no image of training has a known label"):
        run_affinity([rotation], unknown, tmp_path)


def rows_of(proxies: list[float], gradients: list[float], gains: list[float]) -> pd.DataFrame:
    columns = ["epoch", "proxy_affinity", "gradient_affinity", "finetuned_gain"]
    rows = [(0, 0.0, 9.0, 0.0), (1, 9.0, 9.0, np.nan)]  # neither RandIni is a point, nor what was not fine-tuned
    return pd.DataFrame([*rows, *((1, *row) for row in zip(proxies, gradients, gains, strict=True))], columns=columns)


def test_agreement_counts_pairs_and_names_what_the_guide_would_have_chosen() -> None:
    random = np.random.default_rng(0)
    for count in (2, 4, 7):
        proxies, gradients, gains = random.normal(size=(3, count)).tolist()
        for guide, values in (("proxy", proxies), ("gradient", gradients)):
            found = agreement(rows_of(proxies, gradients, gains), guide)
            pairs = itertools.combinations(zip(values, gains, strict=True), 2)
            signs = [np.sign((a - b) * (x - y)) for (a, x), (b, y) in pairs]
            assert found.points == count
            assert found.tau == pytest.approx(np.mean(signs))
            assert found.chosen == gains[int(np.argmax(values))]
            assert found.best == max(gains)


@pytest.mark.parametrize(("count", "least"), [(3, 1 / 3), (4, 1 / 12)])
def test_few_tasks_prove_nothing(count: int, least: float) -> None:
    order = [float(number) for number in range(count)]
    assert agreement(rows_of(order, order, order), "proxy").p == pytest.approx(least)


def test_agreement_without_an_order_is_undefined() -> None:
    for gains in ([], [0.1], [0.1, 0.1]):
        found = agreement(rows_of([1.0, 2.0][: len(gains)], [1.0, 1.0][: len(gains)], gains), "gradient")
        assert (found.points, found.tau, found.p) == (len(gains), None, None)
