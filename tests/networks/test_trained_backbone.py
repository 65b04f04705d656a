"""The feature extractor of a pre-training, a classifier and a segmenter is the one that they were trained with."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medssl.networks import build_backbone, build_classifier, build_segmenter, classifier_features, save_backbone
from medssl.networks.trained_backbone import trained_backbone

NAME = "resnet10_quarter"


def save_model(folder: Path, network: nn.Module, **more: Any) -> Path:
    folder.mkdir()
    torch.save(network.state_dict(), folder / "model.pt")
    said = {"architecture": NAME, "spatial_dims": 2, "in_channels": 1, "image_size": [32, 32], **more}
    (folder / "model.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("architecture", [NAME, "densenet121", "vgg11"])
def test_features_of_a_classifier_are_those_that_its_output_layer_sees(architecture: str, tmp_path: Path) -> None:
    classifier = build_classifier(architecture, 2, 1, 3).eval()
    run = save_model(tmp_path / "run", classifier, architecture=architecture, labels=[*"abc"], exclusive=False)
    backbone, description = trained_backbone(run)
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        features = backbone.eval().pool(backbone(images))
        torch.testing.assert_close(features, classifier_features(classifier, images))
    assert description["labels"] == [*"abc"]


def test_features_of_a_segmenter_are_those_of_its_backbone(tmp_path: Path) -> None:
    segmenter = build_segmenter(NAME, 2, 1, 2).eval()
    run = save_model(tmp_path / "run", segmenter, classes=["a", "b"], contains={}, mask_loss="dice")
    backbone, _ = trained_backbone(run / "model.pt")
    for name, weight in segmenter.backbone.state_dict().items():
        assert torch.equal(weight, backbone.network.state_dict()[name])


def test_of_a_run_the_model_goes_before_the_backbone(tmp_path: Path) -> None:
    run = save_model(tmp_path / "run", build_classifier(NAME, 2, 1, 1), labels=["a"], exclusive=False)
    pretrained = build_backbone(NAME, 2)
    save_backbone(pretrained, run / "backbone.pt", image_size=[32, 32])
    assert "labels" in trained_backbone(run)[1]
    (run / "model.pt").unlink()
    backbone, _ = trained_backbone(run)
    assert torch.equal(backbone.network.conv1.weight, pretrained.network.conv1.weight)


def test_what_holds_no_weights_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="check its path"):
        trained_backbone(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"neither model\.pt nor backbone\.pt"):
        trained_backbone(tmp_path)
    run = save_model(tmp_path / "run", build_classifier(NAME, 2, 1, 1), labels=["a"], exclusive=False)
    torch.save(build_backbone("vgg11", 2).network.state_dict(), run / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt lacks .* weights of the resnet10_quarter"):
        trained_backbone(run)
