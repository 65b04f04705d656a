"""Weights in and out: readable by MONAI alone, folded without loss, refused with a plain reason."""

import json
import logging
from pathlib import Path

import pytest
import torch
from families import FAMILIES, QUICK
from monai.bundle import ConfigParser
from monai.networks.nets import DenseNet121, resnet18
from monai.networks.utils import copy_model_state
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import (
    ARCHITECTURES,
    Backbone,
    build_backbone,
    build_classifier,
    find_architecture,
    first_convolution,
    fold_input_copies,
    load_backbone,
    load_backbone_weights,
    load_model_weights,
    model_description,
    read_description,
    save_backbone,
    weights_file,
)


def used(backbone: Backbone) -> Backbone:
    """As after some training: running statistics that are no longer those of a new network."""
    with torch.no_grad():
        for _ in range(2):
            backbone.train()(1 + 2 * torch.randn(3, backbone.in_channels, *[33] * backbone.spatial_dims))
    return backbone.eval()


def monai_network(name: str, spatial_dims: int, channels: int = 1) -> tuple[nn.Module, nn.Module]:
    """MONAI's own network, made without medssl, and its last layer, which gets the pooled features."""
    if name == "densenet121":
        network = DenseNet121(spatial_dims=spatial_dims, in_channels=channels, out_channels=4)
        return network, network.class_layers.out
    network = resnet18(spatial_dims=spatial_dims, n_input_channels=channels, num_classes=4, conv1_t_stride=2)
    return network, network.fc


def pooled_features(network: nn.Module, last_layer: nn.Module, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    handle = last_layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network.eval()(images)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", ["densenet121", "resnet18"])
def test_a_saved_backbone_loads_into_monai_alone_and_gives_the_same_features(
    name: str, spatial_dims: int, tmp_path: Path
) -> None:
    backbone = used(build_backbone(name, spatial_dims))
    path = tmp_path / "backbone.pt"
    save_backbone(backbone, path)
    assert b"medssl" not in path.read_bytes()
    state = torch.load(path, weights_only=True)
    network, last_layer = monai_network(name, spatial_dims)
    assert set(state) < set(network.state_dict())
    _, updated, kept = copy_model_state(network, state)
    assert len(updated) == len(state)
    assert all(key.startswith(f"{ARCHITECTURES[name].head}.") for key in kept)
    images = torch.randn(2, 1, *[40] * spatial_dims)
    with torch.no_grad():
        expected = backbone.pool(backbone(images))
    torch.testing.assert_close(pooled_features(network, last_layer, images), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_description_beside_a_backbone_builds_the_library_s_own_network_for_it(name: str, tmp_path: Path) -> None:
    backbone = used(build_backbone(name, 2))
    save_backbone(backbone, tmp_path / "backbone.pt")
    described = read_description(tmp_path / "backbone.pt")["network"]
    network = ConfigParser({"network": described}).get_parsed_content("network").eval()
    architecture = find_architecture(name)
    kept = network.load_state_dict(torch.load(tmp_path / "backbone.pt", weights_only=True), strict=False)
    assert kept.unexpected_keys == []
    assert {key.partition(".")[0] for key in kept.missing_keys} <= {architecture.head, *architecture.without}
    images = torch.randn(2, 1, 40, 36)
    with torch.no_grad():
        for found, expected in zip(architecture.pyramid(network, images), backbone.pyramid(images), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", ["densenet121", "resnet18"])
def test_a_folded_backbone_loads_into_monai_with_the_channels_of_one_image(
    name: str, spatial_dims: int, tmp_path: Path
) -> None:
    backbone = used(build_backbone(name, spatial_dims, in_channels=3))
    save_backbone(backbone, tmp_path / "backbone.pt", copies=3, tasks=["rvrm"], image_size=[40] * spatial_dims)
    network, last_layer = monai_network(name, spatial_dims)
    copy_model_state(network, torch.load(tmp_path / "backbone.pt", weights_only=True))
    images = torch.randn(2, 1, *[40] * spatial_dims)
    with torch.no_grad():
        expected = backbone.pool(backbone(images))  # which sees the image three times
    features = pooled_features(network, last_layer, images)
    assert (features - expected).abs().max() < 1e-5 * expected.abs().max()
    description = read_description(tmp_path / "backbone.pt")
    assert description["backbone"] == name
    assert description["tasks"] == ["rvrm"]
    assert 1 in (description["network"].get("in_channels"), description["network"].get("n_input_channels"))


@pytest.mark.parametrize(
    ("name", "spatial_dims", "channels", "copies"),
    [*((name, 2, 1, 3) for name in FAMILIES), *((name, 3, 1, 3) for name in QUICK), ("resnet18", 2, 2, 2)],
)
def test_folding_changes_no_output_on_equal_copies(name: str, spatial_dims: int, channels: int, copies: int) -> None:
    backbone = used(build_backbone(name, spatial_dims, channels * copies))
    folded = build_backbone(name, spatial_dims, channels).eval()
    before = {key: value.clone() for key, value in backbone.network.state_dict().items()}
    folded.network.load_state_dict(fold_input_copies(backbone.network, copies))
    images = torch.randn(2, channels, *[33] * spatial_dims)
    with torch.no_grad():
        expected = backbone(torch.cat([images] * copies, dim=1))
        assert (folded(images) - expected).abs().max() < 1e-5 * expected.abs().max()
    after = backbone.network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)  # the trained network itself stays


def test_folding_sums_the_copies_of_each_channel() -> None:
    network = nn.Conv2d(4, 1, 1)
    network.weight.data = torch.tensor([1.0, 2.0, 10.0, 20.0]).view(1, 4, 1, 1)
    # The copies stand one after the other: (a, b, a, b).
    assert fold_input_copies(nn.Sequential(network), 2)["0.weight"].flatten().tolist() == [11.0, 22.0]
    with pytest.raises(ValueError, match="4 input channels of 0 are not 3 copies"):
        fold_input_copies(nn.Sequential(network), 3)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_first_convolution_is_the_one_that_the_image_meets(name: str) -> None:
    _, convolution = first_convolution(build_classifier(name, 2, in_channels=5, num_classes=2))
    assert convolution.in_channels == 5
    with pytest.raises(ValueError, match="Linear has no convolution"):
        first_convolution(nn.Linear(2, 2))


def test_loading_fills_the_backbone_keeps_the_head_and_says_how_much(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = used(build_backbone("resnet18", 2))
    save_backbone(backbone, tmp_path / "backbone.pt")
    classifier = build_classifier("resnet18", 2, 1, num_classes=3)
    head = classifier.fc.weight.clone()
    with caplog.at_level(logging.INFO, logger="medssl"):
        assert load_backbone_weights(classifier, tmp_path / "backbone.pt") is classifier
    state, saved = classifier.state_dict(), backbone.network.state_dict()
    assert all(torch.equal(state[key], saved[key]) for key in saved)
    assert torch.equal(classifier.fc.weight, head)
    assert f"{len(saved)} weights of the network, 2 left as initialised" in caplog.text


@pytest.fixture
def resnet_file(tmp_path: Path) -> Path:
    save_backbone(build_backbone("resnet18", 2), tmp_path / "backbone.pt")
    return tmp_path / "backbone.pt"


@pytest.mark.parametrize(
    ("name", "spatial_dims", "channels"),
    [("densenet121", 2, 1), ("vgg11", 2, 1), ("resnet18", 3, 1), ("resnet18", 2, 3)],
)
def test_weights_of_another_network_are_refused_and_change_nothing(
    resnet_file: Path, name: str, spatial_dims: int, channels: int
) -> None:
    network = build_classifier(name, spatial_dims, channels, 2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"backbone\.pt does not fit this .*backbone\.json"):
        load_backbone_weights(network, resnet_file)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


class Harmful:
    """What ``weights_only`` keeps out."""

    def __reduce__(self) -> tuple[type[Exception], tuple[str]]:
        return RuntimeError, ("code of the file was run",)


def test_files_that_hold_no_weights_are_refused_by_name(resnet_file: Path) -> None:
    network = build_classifier("resnet18", 2, 1, 2)
    folder = resnet_file.parent
    with pytest.raises(FileNotFoundError, match=r"no weights file .*missing\.pt"):
        load_backbone_weights(network, folder / "missing.pt")
    whole = resnet_file.read_bytes()
    for name, content in {"half.pt": whole[: len(whole) // 2], "text.pt": b"not weights", "empty.pt": b""}.items():
        (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} cannot be read as weights .*it is damaged"):
            load_backbone_weights(network, folder / name)
    torch.save(Harmful(), folder / "harmful.pt")
    with pytest.raises(ValueError, match=r"harmful\.pt cannot be read as weights"):
        load_backbone_weights(network, folder / "harmful.pt")
    torch.save({}, folder / "nothing.pt")
    with pytest.raises(ValueError, match=r"nothing\.pt does not fit this ResNet: 0 of its 0 weights"):
        load_backbone_weights(network, folder / "nothing.pt")
    for content in ([torch.ones(1)], {"epoch": 3, "network": {"a": torch.ones(1)}}):
        torch.save(content, folder / "other.pt")
        with pytest.raises(ValueError, match=r"other\.pt is no plain state dict"):
            load_backbone_weights(network, folder / "other.pt")


def test_a_whole_model_must_have_every_weight(resnet_file: Path) -> None:
    trained, network = build_classifier("resnet18", 2, 1, 2), build_classifier("resnet18", 2, 1, 2)
    path = resnet_file.parent / "model.pt"
    torch.save(trained.state_dict(), path)
    assert load_model_weights(network, path) is network
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in trained.state_dict().items())
    with pytest.raises(ValueError, match=r"backbone\.pt lacks 2 weights of the network, the first is fc\.weight"):
        load_model_weights(network, resnet_file)


@pytest.mark.parametrize(
    ("name", "spatial_dims", "copies"), [("resnet18", 2, 3), ("resnet18", 3, 1), ("densenet121", 2, 1), ("vgg11", 2, 1)]
)
def test_a_saved_backbone_is_built_again_from_its_description(
    name: str, spatial_dims: int, copies: int, tmp_path: Path
) -> None:
    backbone = build_backbone(name, spatial_dims, in_channels=2 * copies).eval()
    save_backbone(backbone, tmp_path / "backbone.pt", copies)
    loaded = load_backbone(tmp_path / "backbone.pt").eval()
    images = torch.randn(2, 2, *[33] * spatial_dims)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), backbone(images), rtol=1e-4, atol=1e-5)
    for description in ({}, {"backbone": "resnet19"}, {"backbone": "resnet18", "network": {"spatial_dims": 2}}):
        (tmp_path / "backbone.json").write_text(json.dumps(description))
        with pytest.raises(ValueError, match=r"backbone\.json describes no backbone"):
            load_backbone(tmp_path / "backbone.pt")


def test_the_description_stands_beside_the_weights(resnet_file: Path) -> None:
    assert read_description(resnet_file) == json.loads(resnet_file.with_suffix(".json").read_text())
    assert sorted(path.name for path in resnet_file.parent.iterdir()) == ["backbone.json", "backbone.pt"]
    resnet_file.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*backbone\.json.*keep both together"):
        read_description(resnet_file)


def test_the_folder_of_a_run_stands_for_its_backbone(resnet_file: Path) -> None:
    assert weights_file(resnet_file.parent) == weights_file(resnet_file) == resnet_file
    network = build_classifier("resnet18", 2, 1, 2)
    load_backbone_weights(network, resnet_file.parent)
    state = torch.load(resnet_file, weights_only=True)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in state.items())
    (resnet_file.parent / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no weights file .*empty/backbone\.pt"):
        weights_file(resnet_file.parent / "empty")


def test_a_description_of_no_classifier_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    whole = {"architecture": "resnet18", "spatial_dims": 3, "in_channels": 1, "image_size": [8, 8, 8]}
    whole |= {"labels": ["Mass"], "exclusive": False}
    path = tmp_path / "model.json"
    for content, said in (
        (json.dumps({"backbone": "resnet18"}), "labels, exclusive missing"),
        (json.dumps(whole), "for 3D images, and these are 2D"),
        ("[]", "describes no weights"),
        (json.dumps(whole)[:-9], "no valid JSON"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=said):
            model_description(tmp_path / "model.pt", 2)
    path.write_text(json.dumps(whole))
    assert model_description(tmp_path / "model.pt") == model_description(tmp_path / "model.pt", 3) == whole
