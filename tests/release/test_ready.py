"""A loaded network says of images what the inference of its run says, be it from the run, a bundle or a hub."""

import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import monai.bundle.scripts as monai_scripts
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import medssl
from medssl.evaluation import Calibration
from medssl.evaluation.temperature import ClassCalibration
from medssl.files import write_json
from medssl.networks import build_backbone, build_classifier, build_segmenter, load_backbone, save_backbone
from medssl.release import export_run, verify_bundle
from medssl.studies import BundleRun

LABELS = ["Effusion", "Mass"]


def write_images(folder: Path, count: int = 3) -> list[Path]:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(random.integers(0, 255, (40, 50), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated fine-tuning."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    torch.save(build_classifier("resnet10_quarter", 2, 1, 2).state_dict(), folder / "model.pt")
    described = {"architecture": "resnet10_quarter", "spatial_dims": 2, "in_channels": 1, "image_size": [32, 32]}
    write_json(
        folder / "model.json",
        {
            **described,
            "labels": LABELS,
            "exclusive": False,
            "init": {"file": "secret", "family": "of others", "source": ""},
        },
    )
    write_json(folder / "metrics.json", {})
    scaled = ClassCalibration(2.5, -0.75, 0.625, 40, 50, is_scaled=True)
    Calibration(False, dict(zip(LABELS, [scaled, ClassCalibration()], strict=True))).write(folder)
    return folder


def test_a_run_a_bundle_and_a_model_of_a_hub_say_the_same(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_images(tmp_path / "images")
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")
    BundleRun("finetune", {"dataset_dir": tmp_path / "images", "workers": 0, "output_dir": run}, "inference").run()
    wanted = pd.read_csv(run / "predictions.csv", keep_default_na=False, na_values={name: [""] for name in LABELS})
    model = medssl.load(run)
    assert (model.names, model.thresholds, model.segments) == (LABELS, {"Effusion": 0.625}, False)
    pd.testing.assert_frame_equal(model(tmp_path / "images"), wanted)

    exported = export_run(run, tmp_path / "bundles" / "findings", hub=True, authors="B. Author")
    assert exported.archive is None
    assert not (exported.folder / "large_files.yml").exists()
    assert "secret" not in (exported.folder / "models" / "model.json").read_text()
    result = verify_bundle(exported.folder)
    assert result.ok, result
    assert yaml.safe_load((exported.folder / "README.md").read_text().split("---")[1])["library_name"] == "monai"
    pd.testing.assert_frame_equal(medssl.load(exported.folder)(tmp_path / "images"), wanted)

    class Api:
        """Takes what MONAI pushes."""

        def __init__(self, **_: Any) -> None: ...

        def create_repo(self, **_: Any) -> None: ...

        def upload_folder(self, repo_id: str, folder_path: str) -> str:
            return str(shutil.copytree(folder_path, tmp_path / "hub" / repo_id))

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        for file in allow_patterns:
            (tmp_path / "cache" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tmp_path / "hub" / name / file, tmp_path / "cache" / file)
        return str(tmp_path / "cache")

    hub: Any = ModuleType("huggingface_hub")
    hub.HfApi, hub.snapshot_download = Api, fetch
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setattr(monai_scripts, "huggingface_hub", hub)
    monai_scripts.push_to_hf_hub("somebody/findings", "findings", str(tmp_path / "bundles"))
    assert (tmp_path / "hub" / "somebody" / "findings" / "README.md").read_text().count("library_name: monai") == 1
    monkeypatch.chdir(tmp_path)
    table = medssl.load("somebody/findings")([paths[2], Path("images/broken.png"), paths[0]])
    assert table["image"].tolist() == [str(paths[2]), "images/broken.png", str(paths[0])]
    assert table["reason"].tolist() == ["", "unreadable", ""]
    np.testing.assert_array_equal(table[LABELS].iloc[[0, 2]], wanted.set_index("image").loc[["2.png", "0.png"], LABELS])


def test_a_pre_training_gives_features(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 2)
    save_backbone(
        build_backbone("resnet10_quarter", 2, 3), tmp_path / "run" / "backbone.pt", 3, image_size=[32, 32], images=2
    )
    write_json(tmp_path / "run" / "metrics.json", {"metrics": {}})
    bundle = export_run(tmp_path / "run", tmp_path / "bundle", archive=False).folder
    own = medssl.load(tmp_path / "run")
    table = own(tmp_path / "images")
    backbone = load_backbone(tmp_path / "run").eval()
    seen = torch.stack(
        [own.view.files()(item)["image"] for item in medssl.readers.examine_folder(tmp_path / "images", 2).items()]
    )
    with torch.no_grad():
        wanted = backbone.pool(backbone(seen))
    np.testing.assert_allclose(table[own.names].to_numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)
    pd.testing.assert_frame_equal(medssl.load(bundle)(tmp_path / "images"), table)


def test_a_segmentation_writes_masks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder, scans = tmp_path / "run", tmp_path / "scans"
    for path in (folder, scans):
        path.mkdir()
    description = {
        "architecture": "resnet10_quarter", "spatial_dims": 3, "in_channels": 1, "image_size": [32, 32, 32],
        "spacing": [2, 2, 2], "classes": ["lungs", "left"], "contains": {"lungs": ["left"]}, "mask_loss": "dice_bce",
        "deep_supervision": 1, "modality": "MR",
    }  # fmt: skip
    torch.save(build_segmenter("resnet10_quarter", 3, 1, 2, 1).state_dict(), folder / "model.pt")
    write_json(folder / "model.json", description)
    write_json(folder / "metrics.json", {"mDice": None})
    voxels = np.random.default_rng(0).normal(size=(20, 24, 18)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-2.0, 2, 3, 1])), scans / "a.nii.gz")
    BundleRun("segment", {"dataset_dir": scans, "workers": 0, "output_dir": folder}, "inference").run()
    wanted = pd.read_csv(folder / "volumes.csv", keep_default_na=False)
    bundle = export_run(folder, tmp_path / "bundle", archive=False).folder
    for source in (folder, bundle):
        table = medssl.load(source)(scans, masks=tmp_path / "masks")
        pd.testing.assert_frame_equal(table.drop(columns="mask"), wanted.drop(columns="mask"))
        for file in (folder / "masks").rglob("*.nii.gz"):
            found = tmp_path / "masks" / file.relative_to(folder / "masks")
            np.testing.assert_array_equal(nibabel.load(found).get_fdata(), nibabel.load(file).get_fdata())
        shutil.rmtree(tmp_path / "masks")
    with pytest.raises(ValueError, match="masks=FOLDER"):
        medssl.load(folder)(scans)


def test_what_is_no_model_is_said(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for source, match in {"nowhere": "no folder nowhere", "some/body": "install huggingface_hub"}.items():
        with pytest.raises(ValueError, match=match):
            medssl.load(source)
    with pytest.raises(ValueError, match="no run"):
        medssl.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        medssl.load(run)(["nothing.png"])

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("401 Client Error\nlong story")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=refuse))
    with pytest.raises(ValueError, match=r"\(401 Client Error\)"):
        medssl.load("some/body")
