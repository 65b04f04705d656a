"""The report, on run folders filled by the functions that fill real ones."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from torch.utils.tensorboard import SummaryWriter

from medssl.data import write_datalist
from medssl.evaluation import Predictions, compare_runs, figures, write_predictions, youden_thresholds
from medssl.evaluation.temperature import Calibration, ClassCalibration
from medssl.files import write_json, write_text
from medssl.report import write_report
from medssl.report.page import Text, markdown_parts
from medssl.report.plots import draw_curves, png
from medssl.report.split_figures import SplitFigures
from medssl.report.story import pretraining_results, results
from medssl.report.subgroups import subgroup_tables
from medssl.runs import Run
from medssl.transforms import write_stored

LABELS = ["Effusion", "Mass", "Pleural|$thickening$ <b>", "Hernia"]
SPLITS = {"training": 90, "validation": 60, "test": 120}


def split_labels(split: str) -> np.ndarray:
    """About half of the labels unknown; of the last class no positive image is known."""
    random = np.random.default_rng(list(SPLITS).index(split))
    labels = random.integers(0, 2, (SPLITS[split], len(LABELS))).astype(float)
    labels[:, 3] = 0
    labels[random.random(labels.shape) < 0.5] = np.nan
    return labels


def predictions(split: str, skill: float, seed: int) -> Predictions:
    """Two images a patient; a higher skill tells positive from negative images better."""
    labels = split_labels(split)
    truth = np.nan_to_num(labels, nan=0.5)
    scores = 1 / (1 + np.exp(-skill * (truth - 0.5) - np.random.default_rng(seed).normal(size=labels.shape)))
    images = [f"store/IMAGE_{split}_{number}.b2nd" for number in range(len(labels))]
    return Predictions(
        images, [f"PATIENT_{split}_{number // 2}" for number in range(len(labels))], LABELS, scores, labels
    )


@pytest.fixture(scope="module")
def datalist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("SECRET_PLACE") / "three_hospitals.json"
    items = {
        split: [
            {"image": image, "patient": patient, "label": list(label)}
            for image, patient, label in zip(each.images, each.patients, each.labels, strict=True)
        ]
        for split in SPLITS
        for each in [predictions(split, 0, 0)]
    }
    write_datalist(path, LABELS, items)
    return path


def config(folder: Path, **values: Any) -> None:
    """Of the config that a run keeps what a report looks at."""
    content = {"output_dir": str(folder), "learning_rate": 0.01, "batch_size": 64, "amp": False, **values}
    content |= {"optimizer": {"_target_": "torch.optim.Adam", "lr": "@learning_rate"}}
    write_text(folder / "config.yaml", yaml.safe_dump(content, sort_keys=False))


def finetuned(
    folder: Path,
    datalist: Path,
    skill: float = 2.0,
    seed: int = 0,
    baseline: float = 0.5,
    upto: str = "test",
    **values: Any,
) -> Path:
    """A run that was evaluated (``upto`` test), trained only (validation), or just began (nothing)."""
    start = {"pretrained": "", **values}
    config(folder, data=str(datalist), architecture="resnet10_quarter", epochs=20, seed=seed, **start)
    if upto == "nothing":
        return folder
    write_json(folder / "model.json", {"architecture": "resnet10_quarter", "spatial_dims": 2})
    validation = predictions("validation", skill, seed + 10)
    thresholds = youden_thresholds(validation.scores, validation.labels)
    splits = {"validation": figures(validation, thresholds, resamples=0)}
    write_predictions(folder / "predictions_validation.csv", validation)
    if upto == "test":
        test = predictions("test", skill, seed)
        splits["test"] = figures(test, thresholds, resamples=200)
        trivial = {"mAUROC": [baseline, baseline - 0.1, baseline + 0.1], "per_class": dict.fromkeys(LABELS, baseline)}
        trivial["per_class"] |= {"Mass": None, "Hernia": None}
        splits["test"]["baselines"] = {"pixels": trivial, "untrained": {**trivial, "mAUROC": [0.4, 0.3, 0.5]}}
        write_predictions(folder / "predictions_test.csv", test)
    write_json(folder / "metrics.json", {"split": upto, **splits[upto], "splits": splits})
    return folder


def add_pictures(folder: Path) -> None:
    """The log of the training and the Grad-CAM panels."""
    with SummaryWriter(str(folder)) as writer:
        for epoch in range(1, 21):
            writer.add_scalar("loss", 1 / epoch, epoch)
            writer.add_scalar("val_mAUROC", 1 - 0.5 / epoch, epoch)
    (folder / "gradcam_test.png").write_bytes(png(draw_curves({"panels": {"": ([1, 2], [0, 1])}})))


def pretrained(folder: Path, epochs: int = 10) -> Path:
    config(folder, tasks={"rotation": {}})
    values = {
        "loss": 1.1, "rotation/loss": 1.1, "rotation/accuracy": 0.61, "rotation/chance": 0.25,
        "feature_spread": 0.42, "effective_rank": 37.5, "probe/linear_mAUROC": 0.66, "probe/knn_mAUROC": 0.59,
    }  # fmt: skip
    if epochs:
        write_json(folder / "metrics.json", {"images": 210, "epoch": epochs, "metrics": values})
        write_json(folder / "backbone.json", {"backbone": "resnet10_quarter", "tasks": ["rotation"]})
    with SummaryWriter(str(folder)) as writer:
        for epoch in range(1, epochs + 1):
            for name, value in values.items():
                writer.add_scalar(name, value * epoch / epochs, epoch)
    return folder


class Page(HTMLParser):
    """What a browser finds in a page: tables, pictures, text; and that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: dict[str, list[dict[str, str | None]]] = {}
        self.words = ""
        self.warnings: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.setdefault(tag, []).append(dict(attributes))
        if tag not in ("meta", "img"):
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif dict(attributes).get("class") == "warning":
            self.warnings.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data.replace("\n", " ")
        elif self._open and self._open[-1] == "p" and self.tags["p"][-1].get("class") == "warning":
            self.warnings[-1] += data

    def table(self, column: str) -> dict[str, dict[str, str]]:
        """The first table with such a column: first cell of each row → column → cell."""
        header, *rows = next(table for table in self.tables if column in table[0])
        return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def report(runs: list[Path], output: Path) -> tuple[Page, str]:
    page = write_report(runs, output)
    return Page(page.read_text(encoding="utf-8")), (output / "report.md").read_text(encoding="utf-8")


def markdown_tables(text: str) -> list[list[list[str]]]:
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    cells = [[re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in table.splitlines()] for table in tables]
    plain = [[[re.sub(r"\\(.)", r"\1", cell) for cell in row] for row in table] for table in cells]
    assert all(set("".join(table[1])) == {"-"} | set("".join(table[1])) & {":"} for table in plain)
    return [[table[0], *table[2:]] for table in plain]


def written(triple: list[float]) -> str:
    return "{:.3f} ({:.3f}–{:.3f})".format(*triple)


def test_a_page_tells_what_metrics_json_holds_and_nobody_s_name(
    datalist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "SECRET" / "backbone.json", {"tasks": ["sc_assl", "rvrm"]})
    run = finetuned(
        tmp_path / "runs" / "pretrained",
        datalist,
        pretrained=str(tmp_path / "SECRET" / ".." / "SECRET" / "backbone.pt"),
    )
    add_pictures(run)
    page, markdown = report([run], tmp_path / "page")
    found = json.loads((run / "metrics.json").read_text())

    rows = page.table("AUROC")
    for name in LABELS[:3]:
        for column, key in {"AUROC": "auroc", "Average precision": "average_precision", "ECE": "ece"}.items():
            assert rows[name][column] == written(found["classes"][name][key])
        assert rows[name]["Sensitivity"] == written(found["classes"][name]["sensitivity"])
    assert rows["Hernia"]["AUROC"] == "undefined: one outcome only"
    assert rows["Hernia"]["Sensitivity"] == "no threshold"
    assert (rows["Mass"]["AUROC of pixels"], rows["Effusion"]["AUROC of pixels"]) == ("undefined", "0.500")
    assert rows["mAUROC"]["AUROC"] == written([found["mAUROC"], *found["mAUROC_interval"]])
    assert rows["mAUROC"]["AUROC of untrained"] == "0.400 (0.300–0.500)"
    assert "over 3 of 4 classes, on 120 images of test (60 patients)" in page.words
    assert (
        "The logistic regression on few pixels knows one outcome of Mass only, which its mean leaves out." in page.words
    )

    counts = page.table("training positive")
    for split in SPLITS:
        labels = split_labels(split)
        for column, name in zip(labels.T, LABELS, strict=True):
            states = [(column == 1).sum(), (column == 0).sum(), np.isnan(column).sum()]
            cells = [counts[name][f"{split} {state}"] for state in ("positive", "negative", "unknown")]
            assert cells == [str(count) for count in states]
        assert counts["images"][f"{split} positive"] == str(SPLITS[split])
        assert counts["patients"][f"{split} positive"] == str(SPLITS[split] // 2)

    facts = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    assert facts["weights at the start"] == "SECRET/backbone.pt pre-trained on sc_assl, rvrm"
    assert (facts["network"], facts["data"]) == ("resnet10_quarter, 2D", "three_hospitals.json")
    assert (facts["epochs, at most"], facts["optimizer"]) == ("20", "torch.optim.Adam")

    # One file, without network, that names neither patients nor images nor folders of the machine.
    assert set(page.tags) & {"link", "iframe", "a", "b"} == set()
    assert page.tags["script"] == [{}]  # which stands in the page
    embedded = [
        base64.b64decode(str(image["src"]).removeprefix("data:image/png;base64,")) for image in page.tags["img"]
    ]
    files = re.findall(r"\]\((\S+\.png)\)", markdown)
    assert [(tmp_path / "page" / file).read_bytes() for file in files] == embedded
    assert sum(image.startswith(b"\x89PNG") for image in embedded) == 5  # AUROC, training, ROC, reliability, Grad-CAM
    for text in (page.words, markdown):
        assert not re.search(rf"PATIENT|IMAGE_|SECRET_PLACE|{tmp_path}", text)
    # Markdown cannot do without a header, even an empty one.
    assert [table[not any(table[0]) :] for table in markdown_tables(markdown)] == page.tables


def test_a_warning_stands_where_a_trivial_baseline_does_as_well(datalist: Path, tmp_path: Path) -> None:
    run = finetuned(tmp_path / "run", datalist)
    low = json.loads((run / "metrics.json").read_text())["mAUROC_interval"][0]
    # Between the lower end of the run's interval and its value a baseline is as good, too.
    for baseline, warned in ((low - 0.001, False), (low + 0.001, True)):
        finetuned(tmp_path / "run", datalist, baseline=baseline)
        (run / "predictions_test.csv").unlink()
        page, markdown = report([run], tmp_path / "page")
        sentence = f"{baseline:.3f} of what is trivial (logistic regression on few pixels) by more than its interval: a"
        assert len(page.warnings) == warned
        assert (sentence in " ".join(page.warnings)) == (sentence in markdown) == warned


def test_exclusive_classes_and_a_run_without_any_defined_class(datalist: Path, tmp_path: Path) -> None:
    run = finetuned(tmp_path / "run", datalist)
    found = json.loads((run / "metrics.json").read_text())["splits"]["test"]
    nothing = dict.fromkeys(("auroc", "average_precision", "sensitivity", "specificity", "ece", "threshold"))
    found |= {"accuracy": [0.8, 0.7, 0.9], "balanced_accuracy": [0.75, None, None], "mAUROC": None}
    found |= {"mAUROC_interval": None, "undefined": LABELS, "per_class": dict.fromkeys(LABELS)}
    found["classes"] = dict.fromkeys(LABELS, nothing)
    write_json(run / "metrics.json", {"split": "test", "splits": {"test": found}})
    (run / "predictions_test.csv").unlink()
    page, _ = report([run], tmp_path / "page")
    assert "mAUROC undefined over 0 of 4 classes" in page.words
    assert "Accuracy: 0.800 (0.700–0.900). Balanced accuracy: 0.750." in page.words
    assert page.table("AUROC")["Effusion"]["AUROC"] == "undefined: one outcome only"
    assert page.warnings == []


def test_runs_are_compared_with_the_first(datalist: Path, tmp_path: Path) -> None:
    first = finetuned(tmp_path / "a" / "run", datalist, skill=0.5)
    second = finetuned(tmp_path / "b" / "run", datalist, skill=3.0, seed=5)
    validated = finetuned(tmp_path / "validated", datalist, upto="validation")
    other = finetuned(tmp_path / "other", datalist)
    shorter = predictions("test", 2.0, 0)
    rows = slice(0, 100)
    write_predictions(
        other / "predictions_test.csv",
        Predictions(shorter.images[rows], shorter.patients[rows], LABELS, shorter.scores[rows], shorter.labels[rows]),
    )
    page, markdown = report([first, second, validated, other], tmp_path / "page")

    compared = compare_runs(predictions("test", 0.5, 0), predictions("test", 3.0, 5))
    rows_of = page.table("Difference")
    for name, each in {"mAUROC": compared["mAUROC"], "Mass": compared["per_class"]["Mass"]}.items():
        value, low, high = each["difference"]
        assert rows_of[name]["Difference"] == f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
        assert rows_of[name]["run (1)"] == f"{each['first']:.3f}"
        assert rows_of[name]["p"] == f"{each['p']:.3f}"
    assert rows_of["Hernia"]["Difference"] == "undefined: one outcome only"
    assert sum("Difference" in table[0] for table in page.tables) == 1
    assert (
        "validated is not compared with run (1): the one is evaluated on validation, the other on test." in page.words
    )
    assert "other is not compared with run (1): their test splits, of 100 and 120 images, differ" in page.words
    overview = page.table("Weights at the start")
    assert overview["run (2)"]["mAUROC"].startswith(f"{compared['mAUROC']['second']:.3f} (")
    assert list(overview) == ["run (1)", "run (2)", "validated", "other"]
    assert overview["validated"]["Split"] == "validation"
    assert "run_1_auroc.png" in markdown
    assert "run_2_auroc.png" in markdown


def test_a_pre_training_has_a_section_of_its_own(tmp_path: Path) -> None:
    page, _ = report([pretrained(tmp_path / "rotation")], tmp_path / "page")
    assert page.table("chance")["rotation"] == {
        "Task": "rotation",
        "loss": "1.100",
        "accuracy": "0.610",
        "chance": "0.250",
    }
    backbone = page.table("Figure")
    assert backbone["mAUROC of the linear probe on validation"]["value"] == "0.660"
    assert backbone["feature spread (1: features differ, 0: collapsed)"]["value"] == "0.420"
    assert len(page.tags["img"]) == 1
    page, _ = report([pretrained(tmp_path / "begun", epochs=0)], tmp_path / "page")
    assert "no epoch has ended" in page.words
    assert "--config_file begun/config.yaml" in page.words


def test_what_a_run_has_not_done_yet_is_said_with_the_command_that_does_it(
    datalist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page, _ = report([finetuned(tmp_path / "begun", tmp_path / "moved.json", upto="nothing")], tmp_path / "page")
    for sentence in ("no figures at all", "no training curves", "training and validation and test are missing"):
        assert sentence in page.words
    assert "--config_file begun/config.yaml --output_dir begun --resume True" in page.words
    trained = finetuned(tmp_path / "trained", datalist, upto="validation")
    add_pictures(trained)
    (trained / "gradcam_test.png").unlink()
    page, _ = report([trained], tmp_path / "page")
    assert "not evaluated on the test split yet" in page.words
    assert f"bundles/finetune/configs/evaluate.yaml --data {datalist.name} --output_dir trained" in page.words
    assert "its figures flatter the run" in page.words
    assert len(page.tags["img"]) == 4  # all but Grad-CAM
    run = finetuned(tmp_path / "bare", datalist)
    for file in ("predictions_test.csv", "config.yaml"):
        (run / file).unlink()
    page, _ = report([run], tmp_path / "page")
    for sentence in ("no training curves", "need predictions_test.csv", "no Grad-CAM panels", "has no config.yaml"):
        assert sentence in page.words


def test_what_is_no_run_is_refused_in_a_sentence(datalist: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to report on"):
        write_report([], tmp_path / "page")
    with pytest.raises(ValueError, match=r"is no run: it has neither config\.yaml nor metrics\.json"):
        write_report([tmp_path], tmp_path / "page")
    run = finetuned(tmp_path / "run", datalist)
    (run / "metrics.json").write_text('{"split": "te')
    with pytest.raises(ValueError, match=r"metrics\.json cannot be read: it is damaged"):
        write_report([run], tmp_path / "page")
    write_json(run / "metrics.json", {"split": "test", "splits": {"test": {"mAUROC": 0.7}}})
    with pytest.raises(ValueError, match="evaluate the run again"):
        write_report([run], tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_a_run_of_the_first_edition_is_told_too(datalist: Path, tmp_path: Path) -> None:
    run = finetuned(tmp_path / "run", datalist, network_def={"_target_": "net", "spatial_dims": 2})
    text = (run / "config.yaml").read_text().replace(f"data: {datalist}", f"bundle_root: {datalist.parent}")
    write_text(run / "config.yaml", text + f"datalist: $@bundle_root + '/{datalist.name}'\nimage_size: [64, 64]\n")
    page, _ = report([run], tmp_path / "page")
    facts = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    assert (facts["data"], facts["epochs, at most"]) == ("three_hospitals.json", "20")
    assert page.table("training positive")["images"]["training positive"] == str(SPLITS["training"])


def test_calibration_and_sources_are_told_and_sources_are_named_on_the_page_only(
    datalist: Path, tmp_path: Path
) -> None:
    run = finetuned(tmp_path / "run", datalist)
    test = predictions("test", 2.0, 0)
    test = replace(test, sources=["NORTH", "SOUTH"] * (len(test.images) // 2))
    found = json.loads((run / "metrics.json").read_text())
    told = figures(test, [0.5] * len(LABELS), resamples=20, uncalibrated=test.scores**2)
    found["splits"]["test"] = {**told, "uncalibrated": ["Hernia"]}
    write_json(run / "metrics.json", found)
    Calibration(False, dict.fromkeys(LABELS, ClassCalibration(temperature=0.5, bias=0.1))).write(run)
    page, text = report([run], tmp_path / "page")
    for key in ("ece", "ece_uncalibrated"):
        assert f"{np.mean([told['classes'][name][key][0] for name in LABELS]):.3f}" in page.words
    assert "before calibration" in page.tags["img"][2]["alt"]
    row = page.table("AUROC")["Mass"]
    assert row["ECE before calibration"] == written(told["classes"]["Mass"]["ece_uncalibrated"])
    assert row["AUROC within sources"] == written(told["classes"]["Mass"]["auroc_within_sources"])
    assert page.table("Source")["NORTH"]["Mass"] == f"{told['sources']['NORTH']['per_class']['Mass']:.3f}"
    assert "mAUROC within sources" in text
    assert "calibrate Hernia" in text
    card = markdown_parts(results(SplitFigures.read(Run.read(run))))
    assert "AUROC within sources" in card
    assert "NORTH" not in card


def test_groups_of_patients_are_told_apart_where_the_datalist_says_them(datalist: Path, tmp_path: Path) -> None:
    described = json.loads(datalist.read_text())
    for number, item in enumerate(described["test"]):
        item |= {"source": ("NORTH", "SOUTH")[number // 2 % 2], "view": "PA", "age": (17.9, 18, 59, 90)[number % 4]}
        item |= {"sex": "F"} if number < 60 else {}
    write_json(tmp_path / "data.json", described)
    run = finetuned(tmp_path / "run", tmp_path / "data.json")
    page, _ = report([run], tmp_path / "page")
    test = predictions("test", 2.0, 0)

    north = page.table("NORTH")
    rows = np.arange(120) // 2 % 2 == 0
    own = Predictions(
        [image for image, here in zip(test.images, rows, strict=True) if here],
        [patient for patient, here in zip(test.patients, rows, strict=True) if here],
        LABELS, test.scores[rows], test.labels[rows],
    )  # fmt: skip
    alone = figures(own, [None] * len(LABELS))
    assert north["Mass"]["NORTH"] == written(alone["classes"]["Mass"]["auroc"])
    assert north["mAUROC"]["NORTH"] == written([alone["mAUROC"], *alone["mAUROC_interval"]])
    assert (north["images"]["NORTH"], north["patients"]["SOUTH"], north["Hernia"]["NORTH"]) == ("60", "30", "too few")
    assert list(page.table("under 18")["images"].values())[1:] == ["30", "30", "30", "30"]
    assert list(page.table("under 18")["images"]) == ["Class", "under 18", "18–39", "40–59", "80 and over"]
    assert page.table("F")["images"] == {"Class": "images", "F": "60", "not stated": "60"}
    assert not any("PA" in table[0] for table in page.tables)  # nothing to hold against each other
    card = markdown_parts(subgroup_tables(SplitFigures.read(Run.read(run)), leaves=True))
    assert "by sex" in card
    assert "NORTH" not in card


def test_the_worst_mistakes_are_shown_by_the_hash_of_their_image(datalist: Path, tmp_path: Path) -> None:
    described, names = json.loads(datalist.read_text()), {}
    (tmp_path / "store").mkdir()
    for number, item in enumerate(described["test"]):
        names[item["image"]] = item["image"] = f"store/{number:032x}.b2nd"
        write_stored(tmp_path / item["image"], np.full((8, 8), number, np.float32))
    write_json(tmp_path / "data.json", described)
    run = finetuned(tmp_path / "run", tmp_path / "data.json")
    test = predictions("test", 2.0, 0)
    write_predictions(run / "predictions_test.csv", replace(test, images=[names[image] for image in test.images]))
    page, _ = report([run], tmp_path / "page")
    assert (tmp_path / "page" / "run_mistakes.png").is_file()
    first = page.table("File in the store")["1"]
    error = np.nan_to_num(np.abs(test.scores - test.labels))
    row, column = np.unravel_index(error.argmax(), error.shape)
    assert first == {
        "Picture": "1",
        "Class": LABELS[column],
        "Known to be": ("absent", "present")[int(test.labels[row, column])],
        "File in the store": "store/00000000…",
        "Probability": f"{test.scores[row, column]:.3f}",
    }
    (tmp_path / "data.json").unlink()
    page, _ = report([run], tmp_path / "without")
    assert page.table("File in the store")["1"] == first
    assert not (tmp_path / "without" / "run_mistakes.png").exists()


def test_curves_over_n_and_features_are_shown_where_they_were_made(tmp_path: Path) -> None:
    curve = tmp_path / "curve"
    rows = [
        ["within NORTH", "probe", arm, n, 3, 0.6 + n / 1000, 0.5, 0.7] for arm in ("RandIni", "ssl") for n in (50, 200)
    ]
    rows[-1][-3:] = [0.9, None, None]
    points = pd.DataFrame(rows, columns=["place", "method", "arm", "images", "draws", "mAUROC", "low", "high"])
    write_text(curve / "curve.csv", points.to_csv(index=False))
    picture = png(draw_curves({"panels": {"": ([1, 2], [0, 1])}}))
    (curve / "curve.png").write_bytes(picture)
    run = pretrained(tmp_path / "ssl")
    sources = {"NORTH": {"images": 9, "auroc": 0.91}, "SOUTH": {"images": 8, "auroc": 0.91}}
    write_json(run / "features" / "embedding.json", {"source_auroc": 0.91, "sources": sources})
    (run / "features" / "features.png").write_bytes(picture)
    page, _ = report([run, curve], tmp_path / "page")
    _, randini, pretraining = next(table for table in page.tables if "50 images" in table[0])
    assert randini[:3] == ["RandIni", "probe", "0.650 (0.500–0.700)"]
    assert pretraining[3] == "0.900"  # one draw has no interval
    assert "can be read from the features, AUROC 0.91" in page.words
    assert len(page.tags["img"]) == 3  # training, features, curves
    write_text(curve / "curve.csv", "a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"curve\.csv is damaged"):
        write_report([curve], tmp_path / "page")


def test_a_new_figure_of_the_classes_shows_by_itself(datalist: Path, tmp_path: Path) -> None:
    run = finetuned(tmp_path / "run", datalist)
    found = json.loads((run / "metrics.json").read_text())
    for each in found["splits"]["test"]["classes"].values():
        each["f1_score"] = [0.5, 0.4, 0.6]
    write_json(run / "metrics.json", found)
    page, _ = report([run], tmp_path / "page")
    assert page.table("AUROC")["Mass"]["F1 score"] == "0.500 (0.400–0.600)"
    assert SplitFigures.read(Run.read(run)).triples()["F1 score Mass"] == [0.5, 0.4, 0.6]


def test_what_a_pretraining_was_warned_of_stands_first(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(
        json.dumps({"metrics": {"rotation/accuracy": 0.99}, "warnings": ["rotation is solved."]})
    )
    (tmp_path / "config.yaml").write_text("tasks: rotation\n")
    first, *_ = pretraining_results(Run.read(tmp_path))
    assert isinstance(first, Text)
    assert (first.text, first.is_warning) == ("rotation is solved.", True)
