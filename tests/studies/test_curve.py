"""Learning curves: how subsets are drawn, when a law is extrapolated, and the whole study on phantoms."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score

from medssl.commands import main
from medssl.data import Datalist, Source
from medssl.data.prepare import prepare
from medssl.networks import build_backbone, save_backbone
from medssl.phantoms import write_phantoms
from medssl.studies.curve import PIXELS, WITHIN, Curve, run_curve
from medssl.studies.curve_figures import FINE_TUNED, PROBE, Place, Results, cell_of
from medssl.studies.curve_table import curve_lines, draw_curve, markdown, points
from medssl.studies.labelled_subsets import draw_order
from medssl.studies.learning_curve import PowerLaw, extrapolate, fit_power_law, mean_interval
from medssl.studies.pretraining_gain import RANDINI
from medssl.transforms import View

SIZES = [20, 40, 100, 200, 400]


def labelled(images: int, patients: int, rare: int = 3) -> tuple[list[str], np.ndarray]:
    """Patients of images, and labels of a common and a rare class, some of them unknown."""
    random = np.random.default_rng(0)
    labels = np.zeros((images, 2))
    labels[:, 0] = random.random(images) < 0.3
    labels[random.choice(images, rare, replace=False), 1] = 1
    labels[random.random((images, 2)) < 0.2] = np.nan
    labels[random.choice(images, rare, replace=False), 1] = 1
    return [f"p{number}" for number in random.integers(patients, size=images)], labels


@pytest.mark.parametrize("seed", range(5))
def test_a_draw_takes_patient_after_patient_and_holds_every_class(seed: int) -> None:
    patients, labels = labelled(400, 150)
    order = draw_order(patients, labels, smallest=20, seed=seed)
    assert sorted(order) == list(range(400))
    drawn = [patients[row] for row in order]
    starts = [name for before, name in zip(["", *drawn], drawn, strict=False) if before != name]
    assert len(starts) == len(set(starts))  # whoever was left does not come again
    for value in (0, 1):
        assert (labels[order[:20]] == value).any(axis=0).all()
    assert list(order) == list(draw_order(patients, labels, smallest=20, seed=seed))
    assert list(order) != list(draw_order(patients, labels, smallest=20, seed=seed + 1))


def test_a_draw_favours_nobody_where_no_class_is_lacking() -> None:
    patients, labels = [f"p{number}" for number in range(60)], np.tile([[1.0], [0.0]], (30, 1))
    first = [draw_order(patients, labels, 20, seed)[:20] for seed in range(400)]
    counts = np.bincount(np.concatenate(first), minlength=60)
    assert abs(counts - 400 / 3).max() < 5 * np.sqrt(400 * (1 / 3) * (2 / 3))


def test_a_draw_too_small_for_all_classes_holds_the_rarest() -> None:
    labels = np.zeros((50, 4))
    for column, rows in enumerate(([7], [8, 9], range(10, 20), range(20, 40))):
        labels[rows, column] = 1
    order = draw_order([f"p{number}" for number in range(50)], labels, smallest=2)
    assert order[0] == 7
    assert order[1] in (8, 9)


def test_a_class_of_a_patient_with_many_images_does_not_hold_up_the_draw() -> None:
    labels = np.zeros((30, 1))
    labels[4] = 1
    order = draw_order(["one"] * 25 + [f"p{number}" for number in range(5)], labels, smallest=3)
    assert len(set(order)) == 30
    with pytest.raises(ValueError, match="at least one image"):
        draw_order(["one"], labels[:1], smallest=0)


def test_a_known_law_is_found_again() -> None:
    law = PowerLaw(0.9, 1.2, 0.5)
    found = fit_power_law(SIZES, [float(law.at(size)) for size in SIZES])
    assert (found.a, found.b, found.c) == pytest.approx((0.9, 1.2, 0.5), rel=1e-3)
    assert found.images_for(0.85) == pytest.approx((1.2 / 0.05) ** 2, rel=1e-2)
    assert found.at(found.images_for(0.8)) == pytest.approx(0.8)
    assert found.images_for(0.95) == np.inf


def noisy(law: PowerLaw, draws: int = 5, noise: float = 0.004) -> np.ndarray:
    random = np.random.default_rng(0)
    levels = random.normal(scale=0.02, size=(draws, 1))  # some draws are better than others, at every size
    return law.at(np.array(SIZES, dtype=float)) + levels + random.normal(scale=noise, size=(draws, len(SIZES)))


def test_a_noisy_law_is_extrapolated_with_its_interval() -> None:
    law = PowerLaw(0.9, 1.2, 0.5)
    found = extrapolate(SIZES, noisy(law))
    assert found.law is not None
    assert not found.refusal
    value, low, high = found.expected(800)
    assert low <= value <= high
    assert low - 0.01 < law.at(800) < high + 0.01
    images, fewest, most = found.needed(0.8)
    assert fewest <= images <= most
    assert images == pytest.approx(144, rel=0.5)


REFUSALS: dict[str, tuple[list[int], np.ndarray, str]] = {
    "three sizes": (SIZES[:3], noisy(PowerLaw(0.9, 1.2, 0.5))[:, :3], "at least 4"),
    "no rise": (SIZES, noisy(PowerLaw(0.7, 0.0, 0.5), noise=0.02), "too little to tell a rise"),
    "a fall": (SIZES, 1.4 - noisy(PowerLaw(0.9, 1.2, 0.5)), "changes by -"),
    "a step": (SIZES, np.array([0.6, 0.6, 0.6, 0.8, 0.8]) + noisy(PowerLaw(0, 0, 1)), "another form"),
    "a gap": (SIZES, np.full((2, 5), np.nan), "undefined"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_follows_no_law_is_not_extrapolated(case: str) -> None:
    sizes, values, words = REFUSALS[case]
    found = extrapolate(sizes, values)
    assert found.law is None
    assert words in found.refusal


def test_one_draw_has_a_law_and_no_interval() -> None:
    found = extrapolate(SIZES, noisy(PowerLaw(0.9, 1.2, 0.5), draws=1, noise=0))
    assert found.law is not None
    assert np.isnan(found.needed(0.8)[1:]).all()
    assert np.isnan(mean_interval(np.array([0.5]))[1:]).all()


def test_the_interval_of_a_mean_is_that_of_the_t_test() -> None:
    values = np.random.default_rng(0).random(6)
    expected = ttest_1samp(values, 0).confidence_interval()
    assert mean_interval(values) == pytest.approx((values.mean(), expected.low, expected.high))


def place_of(images: int, sources: str = "ab") -> Place:
    random = np.random.default_rng(1)
    labels = (random.random((images, 2)) < 0.4).astype(float)
    labels[random.random((images, 2)) < 0.2] = np.nan
    source = random.choice(list(sources), images)
    labels[source == "b", 1] = np.nan  # the second class is known in one source only
    items = [
        {"file": f"{row}", "patient": f"p{row // 2}", "source": source[row], "label": labels[row]}
        for row in range(images)
    ]
    return Place("within a + b", "a + b", False, items, ["Mass", "Edema"])


def test_the_auroc_of_a_point_is_that_inside_each_source() -> None:
    place = place_of(120)
    random = np.random.default_rng(2)
    labels = np.array([item["label"] for item in place.items])
    source = np.array([item["source"] for item in place.items])
    scores = [random.random((120, 2)) + 10 * (source == "a")[:, None] for _ in range(3)]  # knows its hospital well
    cell = cell_of(place, PROBE, "x", 20, scores)

    def auroc(number: int, name: str, each: np.ndarray) -> float:
        rows = (source == name) & ~np.isnan(labels[:, number])
        return float(roc_auc_score(labels[rows, number], each[rows, number]))

    expected = [[auroc(0, "a", each), auroc(0, "b", each), auroc(1, "a", each)] for each in scores]
    assert cell.values == pytest.approx(np.mean(expected, axis=1))
    assert cell.per_class[:, 0] == pytest.approx(np.mean(expected, axis=1, where=[True, True, False]))
    assert cell.per_class[:, 1] == pytest.approx([each[2] for each in expected])
    low, high = cell.over_patients
    assert low < cell.values.mean() < high
    gain = cell.gain(cell)
    assert set(gain.values()) == {0.0}


def test_a_class_that_training_cannot_tell_of_does_not_count() -> None:
    place = place_of(120).of_classes(np.array([False, True]))
    cell = cell_of(place, PROBE, "x", 20, [np.random.default_rng(0).random((120, 2))])
    assert np.isnan(cell.per_class[:, 0]).all()
    assert cell.values == pytest.approx(cell.per_class[:, 1])
    assert not place.of_classes(np.array([False, False])).is_defined


def test_the_table_and_its_sentences_say_what_the_points_say() -> None:
    place, random = place_of(120), np.random.default_rng(0)
    labels = np.nan_to_num(np.array([item["label"] for item in place.items]))
    cells = [
        cell_of(place, method, arm, size, [random.normal(size=(120, 2)) + skill * np.log(size) * labels] * 2)
        for size in SIZES
        for method, arm, skill in (
            (FINE_TUNED, RANDINI, 0.1),
            (FINE_TUNED, "a|b", 0.2),
            (PROBE, RANDINI, 0.1),
            (PROBE, "a|b", 0.3),
        )
    ]
    results = Results(cells, draws=2)
    table = points(results)
    assert len(table) == 4 * len(SIZES)
    row = table.query("arm == 'a|b' and method == 'fine-tuned' and images == 400").iloc[0]
    randini = table.query("arm == 'RandIni' and method == 'fine-tuned' and images == 400").iloc[0]
    assert row["gain"] == pytest.approx(row["mAUROC"] - randini["mAUROC"])
    assert table.query("arm == 'RandIni'")["gain"].isna().all()
    text = markdown(results, [0.9])
    assert f"{row['mAUROC']:.3f} ({row['low']:.3f} to" in text
    assert "a\\|b − RandIni, fine-tuned" in text
    assert any("the probe is the better model" in line for line in curve_lines(results))
    assert all(
        len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1
        for block in text.split("\n\n")
        if block.startswith("|")
    )
    assert len(draw_curve(results).axes) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two hospitals with 60 radiographs of 32 × 32 each, prepared, and weights that stand for a pre-training's."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("hospitals")
    sources = []
    for seed, name in enumerate(("north", "south")):
        table = write_phantoms(folder / name, "chest", 60, size=32, seed=seed, progress=False)
        sources.append(Source(images=folder / name / "images", csv=table, name=name))
    prepare(sources, folder / "data", size=(32, 32), fractions=(0.5, 0.25, 0.25), labels=["Effusion", "Infiltration"])
    torch.manual_seed(7)
    described = View(2, (32, 32)).to_dict()
    save_backbone(build_backbone("resnet10_quarter", 2, 1), folder / "pre" / "backbone.pt", **described)
    yield folder
    shutil.rmtree(folder)


def study_of(folder: Path, output: str, **changes: Any) -> Curve:
    values: dict[str, Any] = {
        "pretrained": [folder / "pre"],
        "sizes": [6, 12],
        "draws": 2,
        "test_sources": ["south"],
        "options": {"epochs": 1, "learning_rate": 0.001},
        **changes,
    }
    return Curve(folder / output, folder / "data", **values)


def test_subsets_are_datalists_of_their_own_nested_and_by_patient(folder: Path) -> None:
    study = study_of(folder, "subsets")
    (setting,) = study.settings
    whole = Datalist.read(folder / "data")
    for draw in range(2):
        runs = [study.finetuning(setting, RANDINI, size, draw) for size in (6, 12)]
        small, large = (Datalist.read(run.options["data"]) for run in runs)
        names = [[item["file"] for item in each.items("training")] for each in (small, large)]  # which must exist
        assert names[1][:6] == names[0]
        assert len(names[1]) == 12
        patients = {split: {item["patient"] for item in large.items(split)} for split in ("training", "test")}
        assert not patients["training"] & patients["test"]
        assert {item["source"] for item in large.items("training")} == {"north"}
        assert {item["source"] for item in large.items("test")} == {"north", "south"}
        originals = {item["file"]: item["label"] for item in whole.items("training")}
        assert all(np.array_equal(item["label"], originals[item["file"]], True) for item in large.items("training"))
        assert len(large.items("validation")) >= 10
    assert names[0] != [item["file"] for item in study.subset(setting, 6, 0)]


@pytest.mark.slow
def test_the_study_end_to_end_and_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", folder / "data", "--pretrained", folder / "pre", "--sizes", 6, 12, "--draws", 2]
    words += ["--test-source", "south", "--output", folder / "curve", "--epochs", 1]
    words += ["--options", "learning_rate=1e-3", "--target", 0.9]
    command = ["curve", *map(str, words)]
    output = folder / "curve"
    begun: list[str] = []

    def stop_at_the_fourth(what: str, run: object) -> None:
        if len(begun) == 3:
            raise KeyboardInterrupt
        begun.append(what)

    with pytest.raises(KeyboardInterrupt):  # before the evaluation of the second training
        study_of(folder, "curve").run(stop_at_the_fourth)
    assert main(command) == 0
    screen = capsys.readouterr().out
    assert "at south" in screen
    assert screen.count("bundles/finetune/configs/train.yaml") == 2 * 2 * 2 - 1
    table = pd.read_csv(output / "curve.csv")
    assert len(table) == 2 * 2 * (2 + 3)  # places, sizes, two fine-tuned arms and three probes
    assert set(table["arm"]) == {RANDINI, "pre", PIXELS}
    # One point by hand: predictions of both draws, held against the labels of the south.
    datalist = Datalist.read(folder / "data")
    truth = {item["file"]: item for item in datalist.items("test") if item["source"] == "south"}
    values = []
    for draw in range(2):
        said = pd.read_csv(output / "finetune" / "without_south" / "pre" / f"n6_draw{draw}" / "predictions_test.csv")
        said.index = [str((output / "data" / name).resolve()) for name in said["image"]]
        labels = np.array([item["label"] for item in truth.values()])
        defined = [k for k in range(2) if len(set(labels[:, k])) == 2]
        scores = said.loc[list(truth), datalist.labels].to_numpy()
        values.append(np.mean([roc_auc_score(labels[:, k], scores[:, k]) for k in defined]))
    row = table.query("place == 'at south' and arm == 'pre' and method == 'fine-tuned' and images == 6").iloc[0]
    assert row["mAUROC"] == pytest.approx(np.mean(values), abs=1e-6)
    assert "at least 4 numbers of images" in (output / "curve.md").read_text()
    assert (output / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert not list(output.rglob("last.pt"))

    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.suffix in (".pt", ".json", ".csv")}
    assert main(command) == 0
    assert "bundles/finetune/configs/train.yaml" not in capsys.readouterr().out
    assert all(
        path.stat().st_mtime_ns == time for path, time in before.items() if output not in (path.parent, path.parents[2])
    )
    assert pd.read_csv(output / "curve.csv").equals(table)

    more = study_of(folder, "curve", sizes=[6, 12, 15], draws=1)  # larger sizes may join
    assert [run.options["data"].name for run in (more.finetuning(more.settings[0], RANDINI, n, 0) for n in (6, 15))]
    began: list[str] = []
    more.run(lambda what, run: began.append(what))
    assert len(began) == 2 * 2  # a fine-tuning and an evaluation of both arms
    with pytest.raises(ValueError, match="another smallest size"):
        replace(more, sizes=[5, 12]).run(lambda what, run: pytest.fail(what))
    with pytest.raises(ValueError, match="another options"):
        replace(more, options={"epochs": 2}).run(lambda what, run: pytest.fail(what))


def test_every_source_in_turn_or_all_together(folder: Path) -> None:
    study = study_of(folder, "turns", test_sources=None)
    assert [place.name for setting in study.settings for place in setting.places] == [
        "within south", "at north", "within north", "at south",
    ]  # fmt: skip
    together = replace(study, test_sources=[WITHIN]).settings
    assert [place.name for setting in together for place in setting.places] == ["within north + south"]


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown source": ({"test_sources": ["west"]}, "no labelled source 'west': there are north, south"),
    "a mistyped option": ({"options": {"epohcs": 3}}, "epochs"),
    "no draw": ({"draws": 0}, "at least one draw"),
    "one image": ({"sizes": [1]}, "sizes from 2"),
    "the same name twice": ({"pretrained": [Path("a/x"), Path("b/x")]}, "Two arms are called x"),
    "no weights": ({"pretrained": [Path("nowhere")]}, "nowhere"),
    "another network": ({"options": {"architecture": "resnet18"}}, "architecture resnet10_quarter"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_before_anything_is_trained(mistake: str, folder: Path) -> None:
    changes, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        study_of(folder, mistake, **changes).run(lambda what, run: pytest.fail(what))
    assert not (folder / mistake).exists()


def test_a_target_is_an_auroc(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"between 0\.5 and 1"):
        run_curve(folder / "data", folder / "target", target=[80])


def test_a_source_whose_labels_nobody_else_knows_is_left_out(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "data" / "datalist.json").read_text())
    for split in ("training", "validation", "test"):
        for item in content[split]:
            item["label"] = [item["label"][0], None] if item["source"] == "north" else [None, item["label"][1]]
            item["image"] = str(folder / "data" / item["image"])
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    shutil.copytree(folder / "data" / "store", tmp_path / "store")
    study = replace(study_of(folder, "apart", test_sources=None), data=tmp_path)
    assert [setting.folder for setting in study.settings] == ["all_sources"]
    with pytest.raises(ValueError, match="nothing to test on for south"):
        _ = replace(study, test_sources=["south"]).settings
