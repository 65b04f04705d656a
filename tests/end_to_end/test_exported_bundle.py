"""An exported bundle gives what its run gives, where MONAI is installed and medssl is not."""

import csv
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from ct_series import series_of_three_kinds
from monai.bundle import ConfigWorkflow

from medssl.data import write_datalist
from medssl.evaluation import Predictions, partial_auroc, read_predictions
from medssl.phantoms import write_phantoms
from medssl.release import export_run
from medssl.release.checks.bundle import own_scripts
from medssl.studies import BundleRun

SHARED = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
SIZES = {"cxr": [64, 64], "ct": [32, 32, 32]}


@pytest.fixture(scope="session")
def python_without_medssl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second environment that sees the packages of this one, but not medssl.

    An editable install is found through a ``.pth`` file in the first environment's folder. Python reads such files in
    an environment's own folder only; the one in this environment's names the first one's folder.
    """
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    purelib = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    folder = Path(subprocess.run(purelib, capture_output=True, text=True, check=True).stdout.strip())
    (folder / "main.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for module, code in (("torch", 0), ("medssl", 1)):
        find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{module}') is None)"
        assert subprocess.run([python, "-c", find], check=False, env=alone(), cwd=environment).returncode == code
    return python


def alone() -> dict[str, str]:
    """The variables of a process that finds nothing through this one."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def finished_run(kind: str, datalist: Path, output: Path) -> Path:
    """A fine-tuning of one epoch."""
    volumes = {"image_size": SIZES["ct"], "window": [-50.0, 150.0]} if kind == "ct" else {}
    shared = {"data": datalist, "output_dir": output, "workers": 0, "architecture": "resnet10_quarter"}
    BundleRun("finetune", {**shared, **volumes, "batch_size": 8, "learning_rate": 0.001, "epochs": 1}).run()
    return output


def radiographs(folder: Path) -> dict[str, str]:
    """PNG and DICOM files, MONOCHROME1 and a display window among them; and the reasons of others."""
    write_phantoms(folder / "png", "chest", 2, size=70, progress=False)
    write_phantoms(folder / "dicom", "chest", 5, size=70, image_format="dicom", progress=False)
    if SHARED.is_dir():
        shutil.copytree(SHARED / "cxr_dicom", folder / "real")
    for name in ("damaged.png", "damaged.dcm", "table.txt", "none.png"):
        (folder / name).write_bytes(b"none" if name != "none.png" else b"")
    tables = dict.fromkeys(("table.txt", "png/labels.csv", "dicom/labels.csv"), "no image")
    return {"damaged.png": "unreadable", "damaged.dcm": "unreadable", "none.png": "empty file", **tables}


def volumes(folder: Path) -> dict[str, str]:
    """NIfTI files and folders of DICOM slices, one of a tilted gantry; and the reasons of others."""
    write_phantoms(folder / "nifti", "head", 2, size=(40, 32, 20), progress=False)
    tilted = folder / "tilted"
    tilted.mkdir()
    for slice_ in (SHARED / "ct_dicom" / "head_tilted").glob("I1?0.dcm"):
        shutil.copy(slice_, tilted)
    series_of_three_kinds(folder / "series", apart=True)
    (folder / "damaged.nii.gz").write_bytes(b"none")
    (folder / "radiograph.png").write_bytes(b"none")
    damaged = {"series/cut/cut09.dcm": "damaged", "damaged.nii.gz": "unreadable"}
    others = dict.fromkeys(("radiograph.png", "nifti/labels.csv"), "no image")
    return {"series/uneven": "uneven slices", **damaged, **others}


@pytest.mark.parametrize("kind", [pytest.param("cxr", marks=pytest.mark.slow), "ct"])
def test_inference_without_medssl_gives_the_probabilities_of_the_run(
    kind: str, chest: Path, head: Path, python_without_medssl: Path, tmp_path: Path
) -> None:
    datalist, images, bundle = chest if kind == "cxr" else head, tmp_path / "images", tmp_path / "bundle"
    run = finished_run(kind, datalist, tmp_path / "run")
    reasons = (radiographs if kind == "cxr" else volumes)(images)
    BundleRun("finetune", {"dataset_dir": images, "output_dir": run, "workers": 0}, "inference").run()
    export_run(run, bundle)

    # What is moved to another machine is the archive.
    shutil.unpack_archive(bundle.with_suffix(".zip"), tmp_path / "elsewhere")
    command = [python_without_medssl, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
    command += ["--dataset_dir", images, "--output_dir", tmp_path / "results", "--workers", "0"]
    moved = tmp_path / "elsewhere" / "bundle"
    done = subprocess.run(command, cwd=moved, env=alone(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    own, exported = (read_predictions(folder / "predictions.csv") for folder in (run, tmp_path / "results"))
    assert exported.images == own.images
    assert exported.names == own.names
    assert exported.scores == pytest.approx(own.scores, abs=1e-5)
    assert own.scores.std(axis=0).min() > 1e-4  # or any two would agree
    assert len({Path(image).suffix for image in own.images}) == 2 or not SHARED.is_dir()
    told = [rows(folder / "predictions.csv") for folder in (run, tmp_path / "results")]
    assert told[0] == told[1]
    assert {image: reason for image, reason, _ in told[0] if reason} == reasons
    assert all(note for _, reason, note in told[0] if reason)
    notes = {image: note for image, reason, note in told[0] if not reason}
    assert "interpolated" in notes["series/cut"] if kind == "ct" else "MONOCHROME1 was inverted" in notes.values()
    closing = f"{len(own.images)} studies predicted, {len(reasons)} rows with the reason why not: "
    assert closing + str(tmp_path / "results" / "predictions.csv") in done.stdout

    # The same images, some of them labelled; in this process, for imports take seconds. A series that a datalist names
    # and that lacks a slice is refused.
    own = without(own, "series/cut")
    datalist, labels = labelled(own, images, tmp_path / "labelled.json")
    options = {"datalist": str(datalist), "output_dir": str(tmp_path / "results"), "workers": 0}
    with own_scripts(moved):
        configs = [str(moved / "configs" / f"{name}.yaml") for name in ("inference", "evaluate")]
        workflow = ConfigWorkflow(configs, bundle_root=str(moved), workflow_type="infer", **options)
        workflow.initialize()
        assert workflow.check_properties() == []
        workflow.run()
    evaluated = read_predictions(tmp_path / "results" / "predictions_test.csv")
    assert evaluated.scores == pytest.approx(own.scores, abs=1e-5)
    np.testing.assert_array_equal(evaluated.labels, labels)
    figures = json.loads((tmp_path / "results" / "metrics_test.json").read_text())
    expected = [None if np.isnan(value) else value for value in partial_auroc(own.scores, labels)]
    assert figures["per_class"] == dict(zip(own.names, expected, strict=True))
    assert None not in expected[:2]


def rows(path: Path) -> list[tuple[str, str, str]]:
    """Image, reason and note of every row."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [(row["image"], row["reason"], row["note"]) for row in csv.DictReader(stream)]


def without(own: Predictions, image: str) -> Predictions:
    """All but one image."""
    kept = [number for number, name in enumerate(own.images) if name != image]
    images = [own.images[number] for number in kept]
    return Predictions(images, images, own.names, own.scores[kept], own.labels[kept])


def labelled(own: Predictions, images: Path, path: Path) -> tuple[Path, np.ndarray]:
    """A datalist of a folder's images that knows two of the classes in another order, and what is known [N, K]."""
    labels = np.full_like(own.scores, np.nan)
    labels[:, 0] = np.resize([1, 0], len(labels))
    labels[:, 1] = np.resize([0, 1, np.nan], len(labels))
    items = [
        {"image": os.path.relpath(images / name, path.parent), "patient": name, "label": [second, first]}
        for name, first, second in zip(own.images, *labels[:, :2].T.tolist(), strict=True)
    ]
    write_datalist(path, own.names[1::-1], {"test": items})
    return path, labels
