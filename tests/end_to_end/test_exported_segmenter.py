"""An exported segmentation writes the voxels that its run's own inference writes, where medssl is not installed."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from test_exported_bundle import alone, python_without_medssl  # noqa: F401 -- a fixture

from medssl.files import write_json, write_text
from medssl.networks import build_segmenter
from medssl.release import export_run, verify_bundle
from medssl.report import write_report
from medssl.studies import BundleRun

CLASSES = ["skull | outer", "brain"]


def finished_run(folder: Path, dims: int, mask_loss: str = "dice_bce", window: bool = True) -> Path:
    """What a training for segmentation leaves, with random weights whose outputs lie on both sides of the threshold."""
    torch.manual_seed(3)
    description = {
        "architecture": "resnet10_quarter",
        "spatial_dims": dims,
        "in_channels": 1,
        "image_size": [32] * dims,
        **({"spacing": [2.0, 2.0, 2.0], "modality": "CT" if window else "MR"} if dims == 3 else {}),
        **({"window": [0.0, 100.0]} if dims == 3 and window else {}),
        "classes": CLASSES,
        "contains": {},
        "mask_loss": mask_loss,
        "deep_supervision": 2,
    }
    network = build_segmenter("resnet10_quarter", dims, 1, 2, 2)
    with torch.no_grad():
        network.head[0].weight.mul_(20)
        network.head[0].bias.zero_()
        said = network.eval()(2 * torch.rand(1, 1, *[32] * dims) - 1 if window else torch.randn(1, 1, *[32] * dims))
        network.head[0].bias -= said.flatten(2).median(dim=2).values[0]
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "model.pt")
    write_json(folder / "model.json", description)
    write_text(folder / "config.yaml", yaml.safe_dump({"mask_loss": mask_loss, "bundle": "segment"}))
    return folder


def images(folder: Path, dims: int) -> None:
    random = np.random.default_rng(0)
    (folder / "inner").mkdir(parents=True)
    (folder / "notes.txt").write_text("none")
    if dims == 2:
        for name, shape in (("a.png", (50, 41)), ("inner/b.png", (32, 60))):
            Image.fromarray(random.integers(0, 255, shape, dtype=np.uint8)).save(folder / name)
        (folder / "damaged.png").write_bytes(b"none")
        return
    affine = np.array([[0, -1.5, 0.2, 3], [1.4, 0, 0, 2], [0, 0.1, -3.0, 1], [0, 0, 0, 1]])
    for name, shape in (("a.nii.gz", (40, 38, 21)), ("inner/b.nii", (17, 30, 12))):
        values = random.integers(-50, 150, shape).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, affine), folder / name)
    (folder / "damaged.nii.gz").write_bytes(b"none")


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["image"]: row for row in csv.DictReader(stream)}


def files(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(".nii.gz"):
            image = nibabel.load(path)
            found[path.relative_to(folder).as_posix()] = np.asarray(image.dataobj)
        elif path.suffix == ".png":
            found[path.relative_to(folder).as_posix()] = np.asarray(Image.open(path))
    return found


@pytest.mark.parametrize(
    ("dims", "mask_loss", "window"),
    [
        pytest.param(2, "dice_bce", False, marks=pytest.mark.slow),
        pytest.param(3, "dice_bce", True, marks=pytest.mark.slow),
        (3, "marginal_exclusion", False),
    ],
)
def test_inference_without_medssl_writes_the_voxels_of_the_run(
    dims: int,
    mask_loss: str,
    window: bool,
    python_without_medssl: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    run, data = finished_run(tmp_path / "run", dims, mask_loss, window), tmp_path / "images"
    images(data, dims)
    BundleRun("segment", {"dataset_dir": data, "output_dir": run, "workers": 0}, "inference").run()
    own = files(run / "masks")
    one = mask_loss == "marginal_exclusion"
    assert len(own) == (2 if one else 4)
    assert all(len(np.unique(values)) > 1 for values in own.values())  # or any two would agree
    if dims == 3:
        name = "a.nii.gz" if one else "a/brain.nii.gz"
        written, given = nibabel.load(run / "masks" / name), nibabel.load(data / "a.nii.gz")
        assert written.shape == given.shape
        np.testing.assert_allclose(written.affine, given.affine, atol=1e-5)

    # Every input has its row.
    told = rows(run / "volumes.csv")
    suffix = {2: ".png", 3: ".nii.gz"}[dims]
    assert set(told) == {f"a{suffix}", f"inner/b{'.png' if dims == 2 else '.nii'}", f"damaged{suffix}", "notes.txt"}
    assert told[f"damaged{suffix}"]["reason"] == "unreadable"
    assert told["notes.txt"]["reason"] == "no image"
    assert told[f"damaged{suffix}"]["mask"] == ""
    assert told[f"a{suffix}"]["mask"] == (f"masks/a{suffix}" if one else "masks/a")
    unit = "pixels" if dims == 2 else "ml"
    mask = own[f"a{suffix}"] == 2 if one else own[f"a/brain{suffix}"] > 0
    size = mask.sum() * (1 if dims == 2 else abs(np.linalg.det(nibabel.load(data / "a.nii.gz").affine[:3, :3])) / 1000)
    assert float(told[f"a{suffix}"][f"brain {unit}"]) == pytest.approx(size, rel=1e-5)

    bundle = export_run(run, tmp_path / "bundle").folder
    shutil.unpack_archive(bundle.with_suffix(".zip"), tmp_path / "elsewhere")
    command = [python_without_medssl, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
    command += ["--dataset_dir", data, "--output_dir", tmp_path / "results", "--workers", "0"]
    done = subprocess.run(
        command, cwd=tmp_path / "elsewhere" / "bundle", env=alone(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    exported = files(tmp_path / "results" / "masks")
    assert exported.keys() == own.keys()
    for name, values in own.items():
        np.testing.assert_array_equal(exported[name], values)
    assert rows(tmp_path / "results" / "volumes.csv") == told

    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    output = metadata["network_data_format"]["outputs"]["pred"]
    assert (output["format"], output["num_channels"]) == ("segmentation", 2)
    assert output["channel_def"] == {"0": CLASSES[0], "1": CLASSES[1]}
    assert "unknown, not background" in (bundle / "docs" / "README.md").read_text()
    verified = verify_bundle(bundle)
    assert verified.ok, verified.findings
    assert any("traced" in note for note in verified.notes)


def test_the_report_has_a_table_of_classes_trivial_results_and_pictures(tmp_path: Path) -> None:
    from medssl.evaluation import segmentation_figures
    from medssl.evaluation.masks.rows import MaskRow

    run, random = finished_run(tmp_path / "run", 3), np.random.default_rng(0)
    listed = [
        MaskRow(f"secret{n}", f"patient{n}", "ab"[n % 2], name, *random.random(2), 3.0, 2.0, 1.5, *[float("nan")] * 3)
        for n in range(8)
        for name in (CLASSES if n % 2 else CLASSES[:1])
    ]
    found = segmentation_figures(listed, CLASSES, resamples=30)
    found["baselines"] = {"intensity": {"mDice": [0.9, 0.8, 0.95], "per_class": dict.fromkeys(CLASSES, 0.9)}}
    write_json(run / "metrics.json", {"split": "test", **found, "splits": {"test": found}})
    Image.new("L", (8, 8)).save(run / "overlays_test.png")
    write_report([run], tmp_path / "page")
    text = (tmp_path / "page" / "report.md").read_text()
    assert f"Mean Dice {found['mDice']:.3f}" in text
    assert "on 8 images of test (8 patients)" in text
    assert "a band of grey values" in text
    assert "Take care" in text
    assert "Dice on test within each source" in text
    assert "| skull \\| outer | 8 | 8 | 0 | 0 |" in text
    assert "| brain | 4 | 4 | 0 | 0 |" in text
    assert "HD95, mm" in text
    assert "AUROC" not in text
    assert "secret" not in text
    assert len(list((tmp_path / "page").glob("*overlays.png"))) == 1
    # The same in the model card.
    bundle = export_run(run, tmp_path / "bundle", archive=False).folder
    assert f"Mean Dice {found['mDice']:.3f}" in (bundle / "docs" / "README.md").read_text()
    metrics = json.loads((bundle / "configs" / "metadata.json").read_text())["eval_metrics"]
    assert metrics["mDice"] == round(found["mDice"], 4)


def test_a_run_that_is_not_evaluated_says_how(tmp_path: Path) -> None:
    write_report([finished_run(tmp_path / "run", 2)], tmp_path / "page")
    text = (tmp_path / "page" / "report.md").read_text()
    assert "bundles/segment/configs/evaluate.yaml" in text
