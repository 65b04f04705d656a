"""A search over real runs of the bundles, and what is said of a study that cannot be."""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from ignite.engine import Engine

from medssl.commands import main
from medssl.data import Datalist, Source, write_datalist
from medssl.data.prepare import prepare
from medssl.evaluation import feature_gains
from medssl.losses import linear_cka
from medssl.networks import load_backbone
from medssl.phantoms import write_phantoms
from medssl.pretext import TASKS
from medssl.studies import bundle_folder
from medssl.studies.bundle_runs import config_file
from medssl.studies.greedy_search import Row
from medssl.studies.mt_assl import MTASSL
from medssl.studies.search_table import draw_table
from medssl.studies.study_file import read_study
from medssl.training import RunCheckpoint, read_recipe
from medssl.transforms import LoadStored, View

SHARED = {
    "architecture": "resnet10_quarter",
    "batch_size": 16,
    "learning_rate": 0.001,
    "workers": 0,
    "optimizer_name": "sgd",
    "momentum": 0.0,  # Adam's checkpoints are three times as large
}
STUDY = {
    "data": "data",
    "output": "study",
    "candidates": ["rotation", "src"],
    "shared": SHARED,
    "pretrain": {"epochs": 2, "probe_every": 0},
    "finetune": {"epochs": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Thirty-two chest radiographs of 32 × 32, prepared."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("chest")
    table = write_phantoms(folder / "phantoms", "chest", 32, size=32, progress=False)
    sources = [Source(images=folder / "phantoms" / "images", csv=table)]
    prepare(sources, folder / "data", size=(32, 32), fractions=(0.5, 0.25, 0.25), labels=["Effusion", "Infiltration"])
    yield folder
    shutil.rmtree(folder)  # a gigabyte of checkpoints


def study_in(folder: Path, **changes: Any) -> MTASSL:
    """The study above, as a file of the folder."""
    content = {key: value for key, value in {**STUDY, **changes}.items() if value is not None}
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return read_study(folder / "study.yaml")


class StopAt:
    """Stands in for ``RunCheckpoint.save``, and interrupts some epochs, before or after the checkpoint is written."""

    def __init__(self, moments: dict[int, str]) -> None:
        self.save = RunCheckpoint.save
        self.moments = moments
        self.epochs = 0

    def __call__(self, checkpoint: RunCheckpoint, engine: Engine) -> None:
        self.epochs += 1
        moment = self.moments.get(self.epochs)
        if moment != "before":
            self.save(checkpoint, engine)
        if moment:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_search_ends_like_an_undisturbed_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_in(folder)
    assert main(["aggregate", "--config", str(folder / "study.yaml")]) == 0
    screen = capsys.readouterr().out
    whole = study.run(lambda what, run: pytest.fail("repeats what has ended"))
    # The same without a test split, so that only the evaluation at the end is missing.
    datalist = Datalist.read(study.data)
    splits = {split: datalist.items(split) for split in ("training", "validation", "unlabeled")}
    write_datalist(study.data / "without_test.json", datalist.labels, splits)
    parts = replace(study, output=folder / "parts", data=study.data / "without_test.json")
    # Of nine epochs: the first of the first training, the only one of a fine-tuning, the last of the pool's training.
    stop = StopAt({1: "before", 4: "after", 9: "before"})
    monkeypatch.setattr(RunCheckpoint, "save", lambda *arguments: stop(*arguments))
    began: list[str] = []
    for _ in stop.moments:
        with pytest.raises(KeyboardInterrupt):
            parts.run(lambda what, run: began.append(what))
    again = parts.run(lambda what, run: began.append(what))

    assert stop.epochs == 9 + 2  # an epoch is repeated where its checkpoint was not written
    assert again == replace(whole, test={})
    assert (parts.output / "table.csv").read_text() == (study.output / "table.csv").read_text()
    weights = sorted(path.relative_to(study.output) for path in study.output.glob("*/*/[bm]*.pt"))
    assert len(weights) == 6
    for path in weights:
        first, second = (torch.load(output / path, weights_only=True) for output in (study.output, parts.output))
        assert all(torch.equal(first[key], second[key]) for key in first)

    assert "Pre-training on rotation (0 of at most 6 trainings done)" in screen
    assert f"{whole.metric} {whole.score:.3f} on validation" in screen
    assert screen.count("python -m monai.bundle run") == 6 + len(whole.test)
    commands = len(began)
    parts.run(lambda what, run: began.append(what))
    assert len(began) == commands  # nothing that has ended is repeated


def test_the_table_holds_what_the_runs_and_the_networks_say(folder: Path) -> None:
    study = study_in(folder)
    choice = study.run(lambda what, run: None)  # the one above, where both tests run
    table = pd.read_csv(study.output / "table.csv")
    assert list(table["iteration"]) == [1, 1, 2]
    singles, last = table.iloc[:2], table.iloc[2]
    for line in table.itertuples():
        name = line.A1 if pd.isna(line.A2) else f"{line.A1}+{line.A2}"
        metrics = json.loads((study.output / "finetune" / name / "metrics.json").read_text())
        assert line.score == pytest.approx(metrics["splits"]["validation"]["mAUROC"], abs=1e-6)
    assert last["average"] == pytest.approx(singles["score"].mean(), abs=1e-6)
    assert last["maximum"] == pytest.approx(singles["score"].max(), abs=1e-6)
    assert last["over_maximum"] == pytest.approx(last["score"] - last["maximum"], abs=2e-6)
    assert last["A1"] == singles["A1"][singles["score"].idxmax()] == choice.pool[0]

    images = torch.stack([LoadStored()(item["image"]) for item in Datalist.read(study.data).items("pretrain")])
    images = (images - images.mean((1, 2, 3), keepdim=True)) / images.std((1, 2, 3), keepdim=True, unbiased=False)
    networks = [load_backbone(study.output / "pretrain" / name / "backbone.pt").eval() for name in ("rotation", "src")]
    with torch.no_grad():
        features = [network.pool(network(images)).double() for network in networks]
    assert last["similarity"] == pytest.approx(linear_cka(*features).item(), abs=1e-4)
    assert (study.output / "table.png").read_bytes().startswith(b"\x89PNG")
    training = Datalist.read(study.data).items("training")
    images = torch.stack([torch.as_tensor(study_view(study).stored()(item)["image"]) for item in training])
    with torch.no_grad():
        features = [network.pool(network(images)).double() for network in networks]
    if choice.pool[0] == "src":
        features.reverse()
    labels, patients = np.stack([item["label"] for item in training]), [item["patient"] for item in training]
    gains = feature_gains(features[0].numpy(), {last["A2"]: features[1].numpy()}, labels, patients)
    expected = gains[last["A2"]]
    assert last["gain"] == pytest.approx(math.nan if expected is None else expected, abs=0.02, nan_ok=True)
    metrics = json.loads((study.finetuning(choice.pool).folder / "metrics.json").read_text())
    assert choice.test[" + ".join(choice.pool)] == [metrics["mAUROC"], *(metrics["mAUROC_interval"] or [None, None])]


def study_view(study: MTASSL) -> View:
    return Datalist.read(study.data).view()


def test_another_guide_goes_on_in_the_same_folder_as_does_a_search_of_before_there_were_two(folder: Path) -> None:
    study = study_in(folder)
    before = study.run(lambda what, run: None)
    for kept in study.output.glob("similarity/*/gains.json"):
        kept.unlink()  # as earlier versions left it
    again = study.run(lambda what, run: pytest.fail("repeats what has ended"))
    assert again == before
    # With two candidates there is one to add, whatever the guide.
    by_similarity = replace(study, guide="lcka").run(lambda what, run: pytest.fail("repeats what has ended"))
    assert by_similarity == replace(before, guide="lcka")
    assert study_in(folder, guide="lcka").guide == "lcka"
    assert study.guide == "gain"


def test_a_folder_is_of_one_study(folder: Path, tmp_path: Path) -> None:
    def nothing_runs(what: str, run: object) -> None:
        raise InterruptedError

    study = replace(study_in(folder), output=tmp_path)
    with pytest.raises(InterruptedError):
        study.run(nothing_runs)
    with pytest.raises(InterruptedError):  # candidates may join
        replace(study, candidates={**study.candidates, "simclr": {}}).run(nothing_runs)
    with pytest.raises(ValueError, match="holds a study with another pretrain"):
        replace(study, pretrain={**study.pretrain, "epochs": 3}).run(nothing_runs)
    with pytest.raises(ValueError, match="holds a study with other values of its candidates"):
        replace(study, candidates={"rotation": {}, "src": {"pool_seed": 1}}).run(nothing_runs)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a mistyped option": ({"finetune": {"epohcs": 3}}, "Did you mean --epochs?"),
    "no epoch": ({"pretrain": {"epochs": 0}}, "--epochs is 0"),
    "a task that these images do not suit": (
        {"candidates": ["rotation", "mim"], "shared": {"image_size": [48, 48]}},
        "mim: The transposed decoder",
    ),
    "an unknown task": ({"candidates": ["src", "rotatoin"]}, "no pretext task 'rotatoin'.*rotation"),
    "an unknown value": ({"candidates": ["src", {"rvrm": {"disguises": 1}}]}, "rvrm has no value 'disguises'"),
    "a mix-in of the first edition": ({"candidates": ["src", "mine.yaml"]}, "mine.yaml is a mix-in of the first"),
    "another form of candidates": ({"candidates": {"src": {}}}, "candidates must be a list"),
    "one candidate": ({"candidates": ["src"]}, "at least two candidates"),
    "a task twice": ({"candidates": ["src", "src"]}, "two candidates have the same name"),
    "a mistyped key": ({"finetuning": {}}, "no key 'finetuning'.*Did you mean 'finetune'"),
    "another kind of value": ({"seed": "one"}, "seed must be a whole number, not 'one'"),
    "no data": ({"data": None}, "names no data: add it, or give --data"),
    "a datalist that is not there": ({"data": "nowhere.json"}, "There is no datalist .*nowhere.json"),
    "an unknown guide": ({"guide": "cka"}, "no guide 'cka': use gain or lcka"),
    "no process": ({"parallel": 0}, "parallel and processes must be at least 1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_before_anything_is_trained(mistake: str, folder: Path) -> None:
    changes, message = MISTAKES[mistake]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        study_in(folder, **{"output": mistake, **changes}).run(lambda what, run: pytest.fail(what))
    assert not (folder / mistake).exists()  # the study, once put right, can take this folder


def test_a_validation_split_without_both_outcomes_is_refused(folder: Path, tmp_path: Path) -> None:
    datalist = Datalist.read(folder / "data")
    splits = {split: datalist.items(split) for split in ("training", "validation")}
    for item in splits["validation"]:
        item["label"] = [None, 1]
    write_datalist(tmp_path / "datalist.json", datalist.labels, splits)
    study = replace(study_in(folder), data=tmp_path / "datalist.json", output=tmp_path)
    with pytest.raises(ValueError, match="no label has both a positive and a negative image in the validation split"):
        study.run(lambda what, run: pytest.fail(what))


def test_a_pool_holds_every_task_with_its_values_and_one_is_drawn(folder: Path) -> None:
    study = study_in(folder, candidates=["rotation", {"rvrm": {"disguise": 1.0}}, {"src": {}}])
    run = study.pretraining(("rotation", "rvrm"))
    assert run.options["tasks"] == {"rotation": {}, "rvrm": {"disguise": 1.0}}
    assert run.options["schedule"] == "alternate"
    assert "--tasks rotation,src --schedule alternate" in study.pretraining(("rotation", "src")).command()
    assert "schedule" not in study.pretraining(("src",)).options


def test_a_study_of_the_first_edition_is_read(folder: Path) -> None:
    first = study_in(folder, data=None, bundle="cxr", datalist="data/datalist.json")
    assert first == replace(study_in(folder), data=folder / "data" / "datalist.json")


def test_several_processes_are_started_by_torchrun(folder: Path) -> None:
    run = replace(study_in(folder), processes=2).pretraining(("rotation", "src"))
    assert run.command().startswith("torchrun --standalone --nproc_per_node 2 -m monai.bundle run --config_file ")
    configs = bundle_folder("pretrain") / "configs"
    assert run.config_files == [configs / "train.yaml", configs / "multi_gpu_train.yaml"]
    assert run.words()[0] == "torch.distributed.run"


@pytest.mark.parametrize("name", ["mt_assl_cxr", "mt_assl_ct"])
def test_the_studies_that_come_with_the_package_can_be_read(name: str, tmp_path: Path) -> None:
    study = read_study(config_file(f"studies/{name}"), data=tmp_path / "data", output=tmp_path)
    assert set(study.candidates) <= set(TASKS)
    assert study.candidates.get("simclr", {}) == ({"temperature": 0.5} if name == "mt_assl_cxr" else {})
    assert read_recipe(study.pretrain["recipe"], "pretrain", 3 if "ct" in name else 2)["architecture"] == "resnet18"


def test_a_row_without_a_number_can_be_drawn(tmp_path: Path) -> None:
    rows = [
        Row(1, ("a",), score=0.5, taken=True),
        Row(1, ("b",), score=0.4),
        Row(2, ("a",), "b", None, None, 0.45, 0.5),
    ]
    draw_table(tmp_path / "table.png", rows, "mAUROC")
    assert (tmp_path / "table.png").stat().st_size > 5000
