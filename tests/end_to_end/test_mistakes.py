"""What a user can get wrong is answered in one sentence before the work begins, and costs no earlier work."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import command, end_of, start

from medssl.data import Datalist, Source, write_datalist
from medssl.data.prepare import prepare
from medssl.errors import user_error
from medssl.evaluation import read_predictions
from medssl.studies import BundleRun

BUNDLES = {"cxr": {}, "ct": {"image_size": [32, 32, 32], "window": [-50.0, 150.0]}}
SMALL = {"architecture": "resnet10_quarter", "workers": 0, "batch_size": 8, "learning_rate": 0.001, "epochs": 1}


def training(kind: str, datalist: Path | str, output: Path | str, part: str = "finetune", **values: Any) -> BundleRun:
    return BundleRun(part, {"data": datalist, "output_dir": output, **SMALL, **BUNDLES[kind], **values})


def evaluation(datalist: Path, run: Path, **values: Any) -> BundleRun:
    options = {"data": datalist, "output_dir": run, "workers": 0, "resamples": 20, **values}
    return BundleRun("finetune", options, "evaluate")


def refusal(run: BundleRun) -> str:
    """The sentence with which a run is refused."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- MONAI wraps ours in errors of its own
        run.run()
    sentence = user_error(caught.value)
    assert sentence is not None, repr(caught.value)
    return str(sentence)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(chest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning on radiographs; tests take a copy of it where they change it."""
    run = tmp_path_factory.mktemp("trained") / "run"
    training("cxr", chest, run).run()
    return run


@pytest.fixture(scope="module")
def trained_on_volumes(head: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    training("ct", head, run).run()
    return run


def other_datalist(datalist: Path, name: str, labels: list[str], **splits: list[dict[str, Any]]) -> Path:
    """The same images with other labels, chosen by name, or other splits."""
    names, content = Datalist.read(datalist).labels, {}
    for split in ("training", "validation", "test"):
        content[split] = splits.get(split, Datalist.read(datalist).items(split))
        for item in content[split]:
            known = dict(zip(names, item["label"], strict=True))
            item["label"] = [known.get(label) for label in labels]
    return written(datalist, name, labels, content)


def written(datalist: Path, name: str, labels: list[str], content: Mapping[str, Any], exclusive: bool = False) -> Path:
    plain = {
        split: [{key: item[key] for key in ("image", "patient", "label")} for item in items]
        for split, items in content.items()
    }
    path = datalist.with_name(f"{name}.json")
    write_datalist(path, labels, plain, exclusive)
    return path


# As typed: what python-fire and MONAI make of it is told before anything is written.

TYPED = {
    "run#1": "--output_dir run#1 does not arrive whole",
    "2024": "--output_dir 2024 is read by MONAI's command line as Python, int 2024",
    "a,b": "--output_dir a,b is read",
    "None": "--output_dir None changes nothing",
    "~/run": "output_dir is '~/run'",
    "": "output_dir is empty",
    "$HOME/run": "--output_dir $HOME/run begins with $",
    "my run": "",  # simply right
    "2024-01-01": "",
}


def typed_in(folder: Path, run: BundleRun) -> None:
    os.chdir(folder)
    command(run)


@pytest.mark.parametrize("name", TYPED)
def test_a_folder_is_called_as_it_was_typed_or_there_is_a_sentence(name: str, chest: Path, tmp_path: Path) -> None:
    here, log = tmp_path / "here", tmp_path / "log.txt"
    here.mkdir()
    code = end_of([start(typed_in, log, here, training("cxr", chest, name))], log)
    said = [line for line in log.read_text().splitlines() if line.startswith("medssl: ")]
    if sentence := TYPED[name]:
        assert code == [1]
        assert len(said) == 1
        assert sentence in said[0]
        assert list(here.iterdir()) == []
    else:
        assert (code, said) == ([0], [])
        assert (here / name / "model.pt").is_file()
    assert "Traceback" not in log.read_text()


MISTYPED: dict[str, tuple[dict[str, Any], str]] = {
    "an option": ({"epohcs": 3}, "Did you mean --epochs?"),
    "no datalist": ({"data": "nowhere"}, "There is no datalist nowhere"),
    "an unknown task": ({"tasks": "rotation,mimi"}, "There is no pretext task 'mimi'; did you mean mim?"),
    "an unknown recipe": ({"recipe": "dong2025"}, "There is no recipe dong2025"),
    "an unknown backbone": ({"architecture": "resnet19"}, "--architecture is 'resnet19'"),
    "images of another size": ({"image_size": [20, 20]}, "have 64 × 64 pixels"),
    "a task that cannot be": ({"tasks": {"jigsaw": {"grid": 1}}}, "jigsaw: grid must be at least 2"),
    "no other image": ({"tasks": "simclr", "batch_size": 1}, "simclr needs at least 2 images in a mini-batch"),
}


@pytest.mark.parametrize("mistake", MISTYPED)
def test_a_mistake_on_the_command_line_is_answered_in_one_sentence(mistake: str, chest: Path, tmp_path: Path) -> None:
    values, message = MISTYPED[mistake]
    log, run = tmp_path / "log.txt", training("cxr", chest, tmp_path / "run", "pretrain", **values)
    assert end_of([start(command, log, run)], log) == [1]
    (said,) = [line for line in log.read_text().splitlines() if line.startswith("medssl: ")]
    assert message in said
    assert "Traceback" not in log.read_text()


# The data do not let it begin.


def test_a_training_that_cannot_end_with_anything_does_not_begin(chest: Path, head: Path, tmp_path: Path) -> None:
    whole = Datalist.read(chest)
    labels, items = whole.labels, whole.items("training")
    unknown = [{**item, "label": [None] * len(labels)} for item in items]
    lists = {
        "no image in training": other_datalist(chest, "none", labels, training=[]),
        "1 image in training": other_datalist(chest, "one", labels, training=items[:1]),
        "no image in validation": other_datalist(chest, "no_validation", labels, validation=[]),
        "No label of any training image": written(
            chest, "unknown", labels, {"training": unknown, "validation": whole.items("validation")}
        ),
        "has no labels": written(chest, "unlabelled", [], {}),
    }
    for sentence, datalist in lists.items():
        assert sentence in refusal(training("cxr", datalist, tmp_path / "run")), sentence
    assert "image_size is [32, 32, 32], and must be 2" in refusal(training("ct", chest, tmp_path / "run"))
    assert "at least two" in refusal(training("cxr", lists["has no labels"], tmp_path / "run", "pretrain"))
    assert not files(tmp_path)


def test_magnetic_resonance_is_not_windowed_in_hounsfield_units(head: Path, tmp_path: Path) -> None:
    shutil.copytree(head.parent, tmp_path / "mr")
    path = tmp_path / "mr" / "store" / "store.json"
    settings = json.loads(path.read_text())
    settings = {**settings, "modality": "MR", "view": {**settings["view"], "modality": "MR", "window": None}}
    path.write_text(json.dumps(settings))
    for part in ("pretrain", "finetune"):
        sentence = refusal(training("ct", tmp_path / "mr", tmp_path / "run", part))
        assert "are MR, and a window of HU (-50 × 150) means nothing there" in sentence
    training("ct", tmp_path / "mr", tmp_path / "run", window="auto").run()
    model = json.loads((tmp_path / "run" / "model.json").read_text())
    assert "window" not in model
    assert model["modality"] == "MR"


def test_a_validation_without_both_outcomes_leaves_the_last_model(
    chest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    positive = [item for item in Datalist.read(chest).items("validation") if item["label"][0] == 1]
    assert positive
    for item in positive:
        item["label"] = [1, None]
    datalist = written(
        chest,
        "one_outcome",
        Datalist.read(chest).labels,
        {"training": Datalist.read(chest).items("training"), "validation": positive},
    )
    training("cxr", datalist, tmp_path, epochs=3).run()
    assert "the model of the last epoch is kept" in capsys.readouterr().out
    last = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["network"]
    kept = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(kept[key], last[key]) for key in kept)


# What a model was trained with rules.


def probabilities(run: Path, split: str = "test") -> dict[str, dict[str, float]]:
    found = read_predictions(run / f"predictions_{split}.csv")
    return {
        Path(image).name: dict(zip(found.names, scores, strict=True))
        for image, scores in zip(found.images, found.scores.tolist(), strict=True)
    }


def test_a_model_judges_another_datalist_in_its_own_order(chest: Path, trained: Path, tmp_path: Path) -> None:
    run, (first, second) = shutil.copytree(trained, tmp_path / "run"), Datalist.read(chest).labels
    evaluation(chest, run).run()
    own, figures = probabilities(run), json.loads((run / "metrics.json").read_text())["per_class"]
    reverse = other_datalist(chest, "reverse", [second, first])
    evaluation(reverse, run).run()
    assert probabilities(run) == own
    assert json.loads((run / "metrics.json").read_text())["per_class"] == figures

    # Of a hospital that annotated one finding of these and another one, and has images for tests only.
    partly = other_datalist(chest, "partly", ["Fracture", second], training=[], validation=[])
    evaluation(partly, run).run()
    assert probabilities(run) == own
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["per_class"] == {first: None, second: figures[second]}
    assert "baselines" not in metrics


def test_a_new_model_does_not_keep_the_figures_of_the_one_before(chest: Path, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    evaluation(chest, run).run()
    assert set(json.loads((run / "metrics.json").read_text())["splits"]) == {"validation", "test"}
    (run / "metrics.json").rename(tmp_path / "kept")
    (run / "metrics.json").write_text("{")
    assert "metrics.json is damaged" in refusal(evaluation(chest, run))
    (tmp_path / "kept").rename(run / "metrics.json")
    training("cxr", chest, run, seed=1).run()
    assert set(json.loads((run / "metrics.json").read_text())["splits"]) == {"validation"}


def test_a_model_does_not_judge_what_it_was_not_made_for(
    chest: Path, head: Path, trained: Path, trained_on_volumes: Path, tmp_path: Path
) -> None:
    splits = {split: Datalist.read(chest).items(split) for split in ("training", "test")}
    for items in splits.values():
        for item in items:
            item["label"] = [1, 0] if item["label"][0] == 1 else [0, 1]
    others = {
        "exclude each other": written(chest, "exclusive", Datalist.read(chest).labels, splits, exclusive=True),
        "knows none of them": other_datalist(chest, "others", ["Fracture", "Nodule"]),
        "is of volumes": head,
        "no image in test": other_datalist(chest, "no_test", Datalist.read(chest).labels, test=[]),
    }
    before = files(trained)
    for sentence, datalist in others.items():
        assert sentence in refusal(evaluation(datalist, trained))
    for values, sentence in (
        ({"split": "nonsense"}, "no labelled split 'nonsense'"),
        ({"split": "unlabeled"}, "no labelled split 'unlabeled'"),
        ({"image_size": [32, 32]}, "Nothing in this bundle uses the option --image_size"),
        ({"labels": Datalist.read(chest).labels[::-1]}, "Nothing in this bundle uses the option --labels"),
        ({"model": trained_on_volumes / "model.pt"}, "is of 2D images"),
        ({"output_dir": tmp_path / "nothing"}, "There is no"),
    ):
        assert sentence in refusal(evaluation(chest, trained, **values))
    assert files(trained) == before
    assert list(tmp_path.iterdir()) == []

    table = head.parents[1] / "phantoms" / "labels.csv"
    source = Source(images=head.parents[1] / "phantoms" / "images", csv=table)
    other = prepare([source], tmp_path / "other", spatial_dims=3, spacing=(6, 5, 7)).datalist
    sentence = refusal(evaluation(other, trained_on_volumes))
    assert "6 × 5 × 7 mm" in sentence
    assert "6 × -1 × 7 mm" in sentence


def test_a_run_goes_on_only_as_the_same_run(chest: Path, trained: Path) -> None:
    labels, before = Datalist.read(chest).labels, files(trained)
    more = Datalist.read(chest).items("training")
    for values, sentence in (
        ({"data": other_datalist(chest, "reverse", labels[::-1])}, "of a run with labels"),
        ({"data": other_datalist(chest, "fewer", labels, training=more[1:])}, "of a run with data"),
        ({"architecture": "resnet18"}, "of a run with architecture resnet10_quarter"),
    ):
        run = training("cxr", chest, trained, resume=True).with_options(**values)
        assert sentence in refusal(run)
    assert files(trained) == before


def test_a_backbone_is_taken_from_the_folder_of_its_run_if_it_fits(
    chest: Path, head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training("cxr", chest, tmp_path / "flat", "pretrain", probe_every=0).run()
    training("ct", head, tmp_path / "deep", "pretrain", probe_every=0).run()
    begun = {}
    for name in ("flat", "flat/backbone.pt"):
        training("cxr", chest, tmp_path / "run", pretrained=tmp_path / name).run()
        begun[name] = (tmp_path / "run" / "model.pt").read_bytes()
    assert begun["flat"] == begun["flat/backbone.pt"]
    for values, sentence in (
        ({"pretrained": tmp_path / "deep"}, "spatial_dims 3, and this one has 2"),
        ({"pretrained": tmp_path / "flat", "architecture": "resnet18"}, "architecture resnet10_quarter"),
        ({"pretrained": tmp_path / "run"}, "There is no weights file"),
    ):
        assert sentence in refusal(training("cxr", chest, tmp_path / "refused", **values))
    capsys.readouterr()
    training("ct", head, tmp_path / "other", pretrained=tmp_path / "deep", window=[-100.0, 900.0]).run()
    assert "window -50 × 150 instead of -100 × 900" in capsys.readouterr().out


def test_the_command_line_of_another_program_is_not_ours(
    chest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["server", "run", "--output_dir", "2024", "stray"])
    training("cxr", chest, tmp_path / "run", device="cpu").run()
    assert (tmp_path / "run" / "model.pt").is_file()
