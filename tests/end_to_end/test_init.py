"""Runs that begin with public weights, as a user starts them, and what is said of it afterwards."""

from hashlib import sha256
from pathlib import Path

import pytest
import torch
from monai.networks.nets import resnet10

from medssl.errors import user_error
from medssl.networks import build_backbone, read_description
from medssl.release import export_run
from medssl.report import write_report
from medssl.studies import BundleRun

LICENCE = "a test, CC0"


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As torchvision would name the weights of such a network: three channels, no biases in the shortcuts."""
    path = tmp_path_factory.mktemp("public") / "resnet10-abc.pth"
    network = resnet10(
        spatial_dims=2, n_input_channels=3, conv1_t_stride=2, widen_factor=0.25, bias_downsample=False, num_classes=7
    )
    torch.save(network.state_dict(), path)
    return path


def run(bundle: str, data: Path, output: Path, **values: object) -> Path:
    shared = {"data": data, "output_dir": output, "workers": 0, "batch_size": 8, "architecture": "resnet10_quarter"}
    BundleRun(bundle, {**shared, "epochs": 1, "learning_rate": 0.001, **values}).run()
    return output


@pytest.mark.parametrize("tasks", ["rotation", "rvrm"])
def test_a_pretraining_begins_with_public_weights_and_says_so(
    tasks: str, chest: Path, public: Path, tmp_path: Path
) -> None:
    folder = run(
        "pretrain", chest, tmp_path / "run", tasks=tasks, init=public, init_source=LICENCE, keep_every=1, probe_every=0
    )
    begun = torch.load(folder / "backbones" / "epoch_0000.pt", weights_only=True)
    expected = build_backbone("resnet10_quarter", 2, init=public).network.state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(begun[key], value, rtol=1e-5, atol=1e-7)
    digest = sha256(public.read_bytes()).hexdigest()
    described = read_description(folder / "backbone.pt")["init"]
    assert described == {
        "file": "resnet10-abc.pth",
        "family": "torchvision's or timm's ResNet",
        "sha256": digest,
        "source": LICENCE,
    }
    told = f"resnet10-abc.pth (torchvision's or timm's ResNet, SHA-256 {digest[:12]}; {LICENCE})"
    export_run(folder, tmp_path / "bundle", archive=False)
    assert f"It began with the weights {told}." in (tmp_path / "bundle" / "docs" / "README.md").read_text()
    assert LICENCE in write_report([folder], tmp_path / "report").read_text()


def test_a_finetuning_begins_with_public_weights_or_with_a_backbone_that_did(
    chest: Path, public: Path, tmp_path: Path
) -> None:
    first = run("finetune", chest, tmp_path / "first", init=public, init_source=LICENCE)
    backbone = run("pretrain", chest, tmp_path / "backbone", init=public, init_source=LICENCE, probe_every=0)
    second = run("finetune", chest, tmp_path / "second", pretrained=backbone)
    assert read_description(first / "model.pt")["init"]["source"] == LICENCE
    for number, folder in enumerate((first, second)):
        export_run(folder, tmp_path / f"bundle{number}", archive=False)
        assert LICENCE in (tmp_path / f"bundle{number}" / "docs" / "README.md").read_text()
        assert LICENCE in write_report([folder], tmp_path / "report").read_text()
    with pytest.raises(RuntimeError) as caught:
        run("finetune", chest, tmp_path / "third", init=public, pretrained=backbone)
    assert "--init and --pretrained both" in str(user_error(caught.value))


@pytest.mark.parametrize("bundle", ["pretrain", "finetune"])
def test_weights_of_another_network_end_the_run_before_it_begins(
    bundle: str, chest: Path, public: Path, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError) as caught:
        run(bundle, chest, tmp_path / "run", init=public, architecture="resnet18")
    assert "does not fit this ResNet" in str(user_error(caught.value))
    assert not list((tmp_path / "run").glob("*"))
