"""What an export writes, and what it refuses to write over; random weights serve."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from families import FAMILIES, QUICK, skip_unless_for, slow_but
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out
from PIL import Image
from torch import nn

from medssl.data import write_datalist
from medssl.evaluation import Calibration, Predictions, figures, read_predictions
from medssl.evaluation.temperature import ClassCalibration
from medssl.files import write_json, write_text
from medssl.networks import ARCHITECTURES, build_backbone, build_classifier, load_backbone, save_backbone
from medssl.phantoms import write_phantoms
from medssl.readers import examine_folder
from medssl.release import Exported, export_run
from medssl.release.checks.bundle import own_scripts, quiet
from medssl.release.travelling import travelling_modules
from medssl.studies import BundleRun
from medssl.transforms import View

LABELS = ["Effusion | left", "Mass #2"]
SECRETS = ("anna", "miller", "5e0c17af")


def finished_run(folder: Path, architecture: str = "resnet10_quarter", evaluated: bool = True, **changes: Any) -> Path:
    """What a fine-tuning on 32 × 32 pixels leaves behind."""
    description = {
        "architecture": architecture,
        "spatial_dims": 2,
        "in_channels": 1,
        "image_size": [32, 32],
        "intensity": "as in the training",
        "labels": LABELS,
        "exclusive": False,
        **changes,
    }
    network = build_classifier(architecture, description["spatial_dims"], 1, len(description["labels"]))
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "model.pt")
    write_json(folder / "model.json", description)
    items = [{"image": f"anna/{n}.png", "patient": f"5e0c17af{n}", "label": [n % 2, None]} for n in range(6)]
    write_datalist(folder / "miller" / "datalist.json", LABELS, {"training": items})
    write_text(folder / "config.yaml", yaml.safe_dump({"datalist": str(folder / "miller" / "datalist.json")}))
    splits = {"validation": validated()} | ({"test": validated()} if evaluated else {})
    write_json(folder / "metrics.json", {"split": list(splits)[-1], **validated(), "splits": splits})
    return folder


def validated() -> dict[str, Any]:
    """Figures of four patients: one class is told perfectly, of the other no positive is known."""
    scores = np.array([[0.9, 0.2], [0.8, 0.1], [0.2, 0.7], [0.1, 0.3]])
    labels = np.array([[1, 0], [1, np.nan], [0, np.nan], [0, 0]])
    found = figures(Predictions([*"1234"], [*"abcd"], LABELS, scores, labels), [0.5, None], resamples=20)
    return {**found, "baselines": {"pixels": {"mAUROC": [1.0, 1.0, 1.0], "per_class": {LABELS[0]: 1.0}}}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    (folder / "terms.txt").write_text("CC0, see https://example.org\n")
    return export_run(
        finished_run(folder / "anna" / "run"),
        folder / "bundle",
        name="Two findings",
        authors="B. Author",
        versions={"torch": "2.9.0"},
        data_license=folder / "terms.txt",
    )


def test_the_metadata_tell_what_goes_in_and_out_and_the_figures(exported: Exported) -> None:
    metadata = json.loads((exported.folder / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert metadata["pytorch_version"] == "2.9.0"
    assert {"pydicom", "pillow", "pytorch-ignite", "fire"} <= set(metadata["required_packages_version"])
    assert not {"medssl", "nibabel", "torch"} & set(metadata["required_packages_version"])
    data = metadata["network_data_format"]
    assert data["inputs"]["image"]["spatial_shape"] == [32, 32]
    assert data["outputs"]["pred"]["channel_def"] == {"0": LABELS[0], "1": LABELS[1]}
    assert metadata["eval_metrics"]["mAUROC"] == metadata["eval_metrics"][f"AUROC {LABELS[0]}"] == 1.0
    assert f"AUROC {LABELS[1]}" not in metadata["eval_metrics"]  # undefined is no number


def test_the_readme_has_figures_counts_and_limits(exported: Exported) -> None:
    text = (exported.folder / "docs" / "README.md").read_text()
    assert text.startswith("# Two findings\n\n## Authors\nB. Author\n")
    assert "mAUROC 1.000 (1.000–1.000) over 1 of 2 classes, on 4 images of test (4 patients)" in text
    assert "| Effusion \\| left | 3 | 3 | 0 | 2 | 2 | 0 | 2 | 2 | 0 |" in text  # training, validation, test
    assert "| Mass #2 | 0 | 0 | 6 | 0 | 2 | 2 | 0 | 2 | 2 |" in text
    assert "only one outcome is known: Mass #2" in text
    assert "does not exceed the 1.000 of what is trivial (logistic regression on few pixels)" in text
    assert "{{" not in text
    assert (exported.folder / "docs" / "data_license.txt").read_text() == "CC0, see https://example.org\n"
    assert exported.to_do == []


@pytest.mark.parametrize(
    ("modality", "dims", "word"),
    [
        ("", 2, "images"),
        ("US", 2, "ultrasound images"),
        ("DX", 2, "radiographs"),
        ("", 3, "volumes"),
        ("CT", 3, "CT volumes"),
    ],
)
def test_images_are_called_what_their_files_said_they_are(modality: str, dims: int, word: str, tmp_path: Path) -> None:
    volume = {"image_size": [32, 32, 32], "spacing": [1.0, 1.0, 2.0], "window": [-50.0, 150.0]} if dims == 3 else {}
    run = finished_run(tmp_path / "run", spatial_dims=dims, modality=modality, **volume)
    bundle = export_run(run, tmp_path / "bundle", archive=False).folder
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["name"] == f"Classification of {word}"
    assert metadata["network_data_format"]["inputs"]["image"].get("modality", "") == modality
    texts = [metadata["description"], metadata["image_classes"], (bundle / "docs" / "README.md").read_text()]
    assert all(word[:-1] in text for text in texts)
    if modality == "US":
        assert not re.search(r"chest|radiograph|X-ray|\bCR\b", " ".join(texts))


def test_no_path_and_no_patient_gets_out(exported: Exported) -> None:
    assert exported.archive is not None
    with zipfile.ZipFile(exported.archive) as archive:
        assert sorted(archive.namelist()) == sorted(f"bundle/{file}" for file in exported.files)
        for name in archive.namelist():
            content = archive.read(name).lower()
            assert not [secret for secret in (*SECRETS, str(exported.folder.parent)) if secret.encode() in content], (
                name
            )


def test_scripts_are_copies_that_import_nothing_of_ours_from_elsewhere(exported: Exported) -> None:
    import medssl.readers.radiograph as radiograph

    scripts = exported.folder / "scripts"
    original = Path(radiograph.__file__).read_text().replace("from medssl.errors import", "from .errors import")
    assert (scripts / "radiograph.py").read_text() == original
    assert not [path for path in scripts.iterdir() if re.search(r"^\s*(import|from) medssl", path.read_text(), re.M)]
    assert not (scripts / "volume.py").exists()
    with own_scripts(exported.folder):
        for path in scripts.glob("*.py"):
            assert Path(str(import_module(f"scripts.{path.stem}").__file__)) == path


def test_scripts_find_their_decoders_beside_a_folder_of_a_modules_name(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "dl").mkdir()
    words = [sys.executable, "-c", "import scripts.radiograph, pydicom.pixels.decoders.gdcm"]
    environment = {**os.environ, "PYTHONPATH": str(exported.folder)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_modules_of_one_name_cannot_travel_together() -> None:
    with pytest.raises(ValueError, match="would be one file in scripts"):
        travelling_modules(["medssl.readers.radiograph", "medssl.phantoms.radiograph"])


def parsed(bundle: Path, **values: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    parser.update({"bundle_root": str(bundle), **values})
    return parser


def network_of(bundle: Path) -> nn.Module:
    """What the config names, with the weights of the bundle; every one of them fits."""
    network: nn.Module = parsed(bundle).get_parsed_content("network_def")
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True), strict=True)
    return network.eval()


def check_shapes(bundle: Path) -> None:
    """MONAI's own check that the network takes and gives what the metadata say."""
    config, metadata = (str(bundle / "configs" / name) for name in ("inference.yaml", "metadata.json"))
    verify_net_in_out("network_def", meta_file=metadata, config_file=config, bundle_root=str(bundle))


@pytest.mark.parametrize("architecture", slow_but((*QUICK, "vgg11"), FAMILIES))
@pytest.mark.parametrize("dims", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_classifier_is_found_and_its_weights_fit(architecture: str, dims: int, tmp_path: Path) -> None:
    skip_unless_for(dims, architecture)
    volume = {"image_size": [32, 32, 32], "spacing": [1.0, 1.0, 2.0], "window": [-50.0, 150.0]} if dims == 3 else {}
    run = finished_run(tmp_path / "run", architecture, spatial_dims=dims, **volume)
    bundle = export_run(
        run, tmp_path / "bundle", torchscript=architecture in ("vgg11", "vit_tiny"), archive=False
    ).folder
    images = torch.randn(2, 1, *[32] * dims)
    own = build_classifier(architecture, dims, 1, 2)
    own.load_state_dict(torch.load(run / "model.pt", weights_only=True))
    needed = json.loads((bundle / "configs" / "metadata.json").read_text())["required_packages_version"]
    assert set(ARCHITECTURES[architecture].packages) <= set(needed)
    with own_scripts(bundle), quiet(), torch.no_grad():
        torch.testing.assert_close(network_of(bundle)(images), own.eval()(images))
        check_shapes(bundle)
        if (path := bundle / "models" / "model.ts").is_file():
            torch.testing.assert_close(torch.jit.load(path)(images), own(images))
            with zipfile.ZipFile(path) as archive:  # where torch keeps the lines of code, with the paths of the machine
                assert not [name for name in archive.namelist() if str(sys.prefix).encode() in archive.read(name)]


@pytest.mark.parametrize("architecture", ["resnet10_quarter", "vgg11", "densenet121", "vit_tiny", "mednext"])
def test_a_backbone_gives_its_pooled_features(architecture: str, tmp_path: Path) -> None:
    # As rvrm leaves it: three copies of an image on the channel axis, folded when it is saved.
    save_backbone(
        build_backbone(architecture, 2, in_channels=3),
        tmp_path / "run" / "backbone.pt",
        copies=3,
        image_size=[32, 32],
        tasks=["rvrm"],
        images=20,
    )
    write_json(tmp_path / "run" / "metrics.json", {"metrics": {}})
    exported = export_run(tmp_path / "run", tmp_path / "bundle", archive=False)
    assert "configs/evaluate.yaml" not in exported.files
    backbone = load_backbone(tmp_path / "run" / "backbone.pt").eval()
    images = torch.randn(2, 1, 32, 32)
    with own_scripts(exported.folder), quiet(), torch.no_grad():
        torch.testing.assert_close(network_of(exported.folder)(images), backbone.pool(backbone(images)))
        check_shapes(exported.folder)
    assert "20 images without labels" in (exported.folder / "docs" / "README.md").read_text()


def test_exclusive_classes_sum_to_one_as_in_the_run(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", exclusive=True, evaluated=False, labels=["None", "One", "Both"])
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.fromarray(generator.integers(0, 255, (40, 50), dtype=np.uint8)).save(
            tmp_path / "images" / f"{number}.png"
        )
    options = {"dataset_dir": tmp_path / "images", "workers": 0}
    BundleRun("finetune", {**options, "output_dir": run}, "inference").run()
    bundle = export_run(run, tmp_path / "bundle", archive=False).folder
    done = run_inference(bundle, dataset_dir=str(tmp_path / "images"), output_dir=str(tmp_path / "results"))
    assert done.check_properties() == []
    own, exported = (read_predictions(folder / "predictions.csv") for folder in (run, tmp_path / "results"))
    assert exported.names == own.names == ["None", "One", "Both"]
    assert exported.scores == pytest.approx(own.scores, abs=1e-5)
    assert exported.scores.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_boxes_of_a_volume_and_its_mirror_image_count_in_the_bundle_as_in_the_run(tmp_path: Path) -> None:
    volume = {"image_size": [16, 16, 16], "spacing": [-1.0, -1.0, -1.0], "window": [0.0, 80.0]}
    run = finished_run(tmp_path / "run", spatial_dims=3, boxes="several", pooling="max", **volume)
    write_phantoms(tmp_path / "phantoms", "head", 2, size=(20, 16, 33), progress=False)
    images = tmp_path / "phantoms" / "images"
    bundle = export_run(run, tmp_path / "bundle", archive=False).folder
    seen = {}
    for options in ({"boxes": "middle"}, {}, {"mirror": True}):
        values = {"dataset_dir": str(images), "workers": 0, "batch_size": 4, **options}  # of six boxes
        BundleRun("finetune", {**values, "output_dir": run}, "inference").run()
        run_inference(bundle, **values, output_dir=str(tmp_path / "results"))
        own, exported = (read_predictions(folder / "predictions.csv") for folder in (run, tmp_path / "results"))
        assert exported.scores == pytest.approx(own.scores, abs=1e-5)
        seen[str(options)] = own.scores
    assert all(np.abs(one - other).max() > 1e-4 for one, other in pairwise(seen.values()))
    assert "as few boxes of that size as cover them" in (bundle / "docs" / "README.md").read_text()


def test_temperatures_and_thresholds_travel_and_the_bundle_gives_what_the_run_gives(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (40, 50), dtype=np.uint8)).save(
            images / f"{number}.png"
        )
    inference = BundleRun("finetune", {"dataset_dir": images, "workers": 0, "output_dir": run}, "inference")
    inference.run()
    before = read_predictions(run / "predictions.csv").scores
    left = ClassCalibration(2.5, -0.75, 0.625, 40, 50, is_scaled=True)
    calibration = Calibration(False, dict(zip(LABELS, [left, ClassCalibration(positive=3, negative=2)], strict=True)))
    calibration.write(run)
    inference.run()
    own = read_predictions(run / "predictions.csv").scores
    logit = np.log(before / (1 - before))
    expected = 1 / (1 + np.exp(-(logit / [2.5, 1] + [-0.75, 0])))
    np.testing.assert_allclose(own, expected, atol=1e-5)

    bundle = export_run(run, tmp_path / "bundle", torchscript=True, archive=False).folder
    run_inference(bundle, dataset_dir=str(images), output_dir=str(tmp_path / "results"))
    np.testing.assert_allclose(read_predictions(tmp_path / "results" / "predictions.csv").scores, own, atol=1e-6)
    pixels = torch.randn(2, 1, 32, 32)
    with own_scripts(bundle), quiet(), torch.no_grad():
        script = torch.jit.load(bundle / "models" / "model.ts")
        torch.testing.assert_close(script(pixels), network_of(bundle)(pixels))
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["decision_thresholds"] == {LABELS[0]: 0.625}
    text = (bundle / "docs" / "README.md").read_text()
    assert "| Effusion \\| left | 0.6250 | 40 | 50 |" in text
    assert "known there for Mass #2" in text
    assert torch.load(run / "model.pt", weights_only=True).keys() == network_of(bundle).state_dict().keys()


@pytest.mark.parametrize("grey_values", [{"modality": "MR"}, {"modality": "CT", "window": [-50.0, 150.0]}])
def test_an_exported_network_sees_a_volume_as_the_run_did(grey_values: dict[str, Any], tmp_path: Path) -> None:
    seen = {"spatial_dims": 3, "image_size": [24, 40, 32], "spacing": [2.0, -1.0, 1.5], **grey_values}
    run, images = finished_run(tmp_path / "run", **seen), tmp_path / "images"
    bundle = export_run(run, tmp_path / "bundle", archive=False).folder
    write_phantoms(images, "head", 1, size=(40, 32, 20), progress=False)
    own = View.from_dict(seen).files()(next(iter(examine_folder(images, spatial_dims=3).items())))
    with own_scripts(bundle), quiet():
        exported = parsed(bundle, dataset_dir=str(images)).get_parsed_content("dataset")[0]
    torch.testing.assert_close(exported["image"], own["image"])
    assert (exported["reason"], own["reason"]) == ("", "")


def run_inference(bundle: Path, **values: Any) -> ConfigWorkflow:
    """Run the inference in this process."""
    config = str(bundle / "configs" / "inference.yaml")
    with own_scripts(bundle), quiet():
        workflow = ConfigWorkflow(config, workflow_type="infer", **{"bundle_root": str(bundle), "workers": 0, **values})
        workflow.initialize()
        workflow.run()
        return workflow


MISTAKES = {
    "There is no folder nowhere": {"dataset_dir": "nowhere"},
    "docs can be predicted (3 × no image): eval/predictions.csv says why": {"dataset_dir": "docs"},
    "can be predicted (1 × unreadable)": {"dataset_dir": "images"},
    "images can be predicted (1 × unreadable)": {"dataset_dir": "images", "workers": 1},
    "There are no weights docs/models/model.pt: run from the bundle's folder": {"bundle_root": "docs"},
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_mistake_in_the_bundle_is_answered_in_one_sentence(
    sentence: str, exported: Exported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exported.folder)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # to have it back afterwards
    level = logging.getLogger("ignite").level
    write_text(exported.folder / "images" / "damaged.png", "no image")
    with pytest.raises((RuntimeError, FileNotFoundError)) as caught:  # MONAI wraps the error of ours
        run_inference(exported.folder, **{"bundle_root": ".", **MISTAKES[sentence]})
    capsys.readouterr()
    sys.excepthook(caught.type, caught.value, caught.tb)  # as Python does at the end
    logging.getLogger("ignite").setLevel(level)
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 2


def test_a_new_version_replaces_the_old_export_and_nothing_else(tmp_path: Path) -> None:
    run, bundle = finished_run(tmp_path / "run", evaluated=False), tmp_path / "bundle"
    first = export_run(run, bundle, torchscript=True)
    assert first.archive is not None
    (bundle / "eval").mkdir()
    (bundle / "eval" / "predictions.csv").write_text("image\n")
    second = export_run(run, bundle, version="0.2.0", changes="better", archive=False)
    assert set(first.files) - set(second.files) == {"models/model.ts"}
    assert not (bundle / "models" / "model.ts").exists()
    assert (bundle / "eval" / "predictions.csv").exists()
    assert not first.archive.exists()
    assert not list(tmp_path.glob(".*"))
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["changelog"] == {"0.2.0": "better", "0.1.0": "first version"}
    assert metadata["version"] == "0.2.0"
    assert metadata["eval_metrics"] == {}
    assert "**There are no test figures.**" in (bundle / "docs" / "README.md").read_text()
    assert any("no test figures" in sentence for sentence in second.to_do)


def test_a_large_file_is_listed_with_its_hash_and_a_placeholder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medssl.release.bundle_files.LARGEST_FILE", 1_000_000)
    exported = export_run(finished_run(tmp_path / "run"), tmp_path / "bundle", archive=False)
    listed = yaml.safe_load((exported.folder / "large_files.yml").read_text())["large_files"]
    assert [entry["path"] for entry in listed] == ["models/model.pt"]
    assert "fill-in" in listed[0]["url"]
    assert any("placeholder" in sentence for sentence in exported.to_do)


def unfinished(folder: Path) -> dict[str, Any]:
    (folder / "run" / "model.pt").unlink()
    return {}


def no_run(folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder / "run")
    return {}


def damaged(folder: Path) -> dict[str, Any]:
    (folder / "run" / "model.pt").write_bytes(b"half a file")
    return {}


def undescribed(folder: Path) -> dict[str, Any]:
    (folder / "run" / "model.json").unlink()
    return {}


def occupied(folder: Path) -> dict[str, Any]:
    write_text(folder / "bundle" / "thesis.txt", "years of work")
    return {}


def occupied_archive(folder: Path) -> dict[str, Any]:
    write_text(folder / "bundle.zip", "something else")
    return {}


def file_in_the_way(folder: Path) -> dict[str, Any]:
    export_run(folder / "run", folder / "bundle", archive=False)
    write_text(folder / "bundle" / "models" / "model.ts", "mine")
    return {"torchscript": True}


REFUSED = {
    unfinished: "has no weights yet",
    no_run: "is no run",
    damaged: "cannot be read as weights",
    undescribed: "does not say architecture",
    occupied: "holds something that is no export",
    occupied_archive: "is in the way of the archive",
    file_in_the_way: "which no export wrote",
    lambda folder: {"versions": {"tensorflow": "2"}}: "does not need 'tensorflow'",
    lambda folder: {"data_license": folder / "none.txt"}: "There is no data licence",
}


@pytest.mark.parametrize("prepare", REFUSED, ids=list(REFUSED.values()))
def test_what_cannot_be_exported_is_refused_in_a_sentence_and_nothing_is_touched(prepare: Any, tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    options = prepare(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises((ValueError, FileNotFoundError), match=REFUSED[prepare]):
        export_run(tmp_path / "run", tmp_path / "bundle", **options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_onnx_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medssl.release.conversions.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="ONNX needs onnx and onnxscript"):
        export_run(finished_run(tmp_path / "run"), tmp_path / "bundle", onnx=True)
