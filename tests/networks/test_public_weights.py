"""Networks begin with weights of others: the same features from the same image, or a sentence that says what is wrong.

The others' networks are written here of MONAI's layers, under the names of their state dicts; where torchvision or timm
is installed, theirs are held to them, too.
"""

import logging
import re
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import DenseNet121, ResNet, resnet10, resnet18, resnet34, resnet50
from torch import Tensor, nn

from medssl.errors import MissingFileError, UserError
from medssl.networks import (
    build_backbone,
    build_classifier,
    describe_init,
    first_convolution,
    fold_input_copies,
    load_state_dict,
    save_backbone,
)

State = dict[str, Tensor]
RESNETS: dict[str, Callable[..., ResNet]] = {
    "resnet10": resnet10,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
}


def used(network: nn.Module, channels: int, spatial_dims: int = 2, scale: float = 1.0) -> nn.Module:
    """As after some training: statistics, gains and biases that are no longer those of a new network."""
    with torch.no_grad():
        network.train()(scale * torch.randn(2, channels, *[40] * spatial_dims))
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return network.eval()


def resnet(name: str, spatial_dims: int, channels: int, **arguments: Any) -> ResNet:
    """As torchvision's (2D) and MedicalNet's (3D) with every second stride: no biases in the shortcuts."""
    arguments = {"bias_downsample": False, "conv1_t_stride": 2, "num_classes": 7, **arguments}
    network = RESNETS[name](spatial_dims=spatial_dims, n_input_channels=channels, **arguments)
    used(network, channels, spatial_dims)
    return network


def densenet(channels: int, outputs: int, scale: float = 1.0) -> tuple[DenseNet121, State]:
    """The network, and its weights under torchvision's names."""
    network = DenseNet121(2, channels, outputs)
    used(network, channels, scale=scale)
    names = {"class_layers.out": "classifier", ".layers.": "."}
    state = dict(network.state_dict())
    for ours, theirs in names.items():
        state = {key.replace(ours, theirs): value for key, value in state.items()}
    return network, state


class BiasedVGG(nn.Module):
    """torchvision's vgg11_bn, without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, wanted, pooled in (
            (3, 64, True), (64, 128, True), (128, 256, False), (256, 256, True),
            (256, 512, False), (512, 512, True), (512, 512, False), (512, 512, True),
        ):  # fmt: skip
            layers += [nn.Conv2d(given, wanted, 3, padding=1), nn.BatchNorm2d(wanted), nn.ReLU()]
            layers += [nn.MaxPool2d(2, 2)] if pooled else []
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)


def pooled(network: nn.Module, images: Tensor) -> Tensor:
    """What the last linear layer of a network sees, or its maps averaged where it has none."""
    seen: list[Tensor] = []
    last = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if last:
        last[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        out = network.eval()(images)
    return seen[0] if seen else out.flatten(2).mean(dim=2) if out.ndim > 2 else out


def check_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def check_begins_alike(name: str, spatial_dims: int, path: Path, images: Tensor, expected: Tensor) -> None:
    """A backbone, a classifier and a backbone that sees three copies, which folds to the first, have these features."""
    with torch.no_grad():
        backbone = build_backbone(name, spatial_dims, init=path).eval()
        check_same(backbone.pool(backbone(images)), expected)
        check_same(pooled(build_classifier(name, spatial_dims, 1, 3, init=path), images), expected)
        tripled = build_backbone(name, spatial_dims, 3, init=path).eval()
        check_same(tripled.pool(tripled(torch.cat([images] * 3, dim=1))), expected)
    weight = first_convolution(tripled.network)[1].weight
    assert torch.equal(weight[:, :1], weight[:, 2:])
    folded = fold_input_copies(tripled.network, 3)
    assert all(torch.allclose(value, folded[key], rtol=1e-6) for key, value in backbone.network.state_dict().items())


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_a_resnet_of_imagenet_sees_grey_as_three_equal_channels(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = resnet(name, 2, 3)
    torch.save(network.state_dict(), tmp_path / "resnet.pth")
    images = torch.randn(2, 1, 64, 64)
    with caplog.at_level(logging.INFO, logger="medssl"):
        check_begins_alike(name, 2, tmp_path / "resnet.pth", images, pooled(network, images.repeat(1, 3, 1, 1)))
    total = len(network.state_dict())
    assert f"torchvision's or timm's ResNet): {total - 2} of {total} weights, left out: fc (2); the 3" in caplog.text


@pytest.mark.parametrize("old", [False, True])
def test_a_densenet_of_imagenet_sees_grey_as_three_equal_channels(old: bool, tmp_path: Path) -> None:
    network, state = densenet(3, 7)
    if old:  # as torchvision's own file of 2017
        state = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value for key, value in state.items()}
        state = {key: value for key, value in state.items() if "num_batches" not in key}
        assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "densenet.pth")
    images = torch.randn(2, 1, 64, 64)
    expected = pooled(network, images.repeat(1, 3, 1, 1))
    check_begins_alike("densenet121", 2, tmp_path / "densenet.pth", images, expected)


def test_the_biases_of_vgg_go_into_the_normalisation(tmp_path: Path) -> None:
    network = used(BiasedVGG(), 3)
    torch.save({**network.state_dict(), "classifier.0.weight": torch.ones(2, 2)}, tmp_path / "vgg11_bn.pth")
    images = torch.randn(2, 1, 64, 64)
    expected = pooled(network, images.repeat(1, 3, 1, 1))
    check_begins_alike("vgg11", 2, tmp_path / "vgg11_bn.pth", images, expected)


@pytest.mark.parametrize(("name", "shortcut"), [("resnet10", "B"), ("resnet18", "A")])
def test_medicalnet_comes_from_a_checkpoint_of_several_gpus(
    name: str, shortcut: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = resnet(name, 3, 1, shortcut_type=shortcut, feed_forward=False)
    state = {f"module.{key}": value for key, value in network.state_dict().items() if "num_batches" not in key}
    assert any("downsample" in key for key in state) is (shortcut == "B")
    state |= {"module.conv_seg.0.weight": torch.ones(4, 4, 2, 2, 2), "module.conv_seg.0.bias": torch.ones(4)}
    torch.save({"ecpoch": 3, "state_dict": state, "optimizer": {"state": {}}}, tmp_path / "resnet_23dataset.pth")
    images = torch.randn(2, 1, 40, 40, 40)
    with caplog.at_level(logging.INFO, logger="medssl"):
        check_begins_alike(name, 3, tmp_path / "resnet_23dataset.pth", images, pooled(network, images))
    assert "(MedicalNet's ResNet)" in caplog.text
    assert "left out: conv_seg (2)" in caplog.text
    assert ("type A" in caplog.text) is (shortcut == "A")


def test_a_shortcut_that_became_a_convolution_learns(tmp_path: Path) -> None:
    network = resnet("resnet18", 3, 1, shortcut_type="A", feed_forward=False)
    torch.save(network.state_dict(), tmp_path / "resnet.pth")
    backbone = build_backbone("resnet18", 3, init=tmp_path / "resnet.pth").train()
    backbone.pool(backbone(torch.randn(2, 1, 33, 33, 33))).square().sum().backward()
    assert backbone.network.layer2[0].downsample[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("thresholds", [False, True])
def test_torchxrayvision_sees_its_own_grey_values(
    thresholds: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network, state = densenet(1, 18, scale=500.0)
    if thresholds:
        state["op_threshs"] = torch.zeros(18)
    torch.save(state, tmp_path / "xrv.pt")
    images = torch.randn(2, 1, 64, 64)  # as our networks see them: mean 0, standard deviation 1
    radiographs = 0.5 + 0.226 * images  # of 0 … 1
    with caplog.at_level(logging.INFO, logger="medssl"):
        check_begins_alike("densenet121", 2, tmp_path / "xrv.pt", images, pooled(network, 1024 * (2 * radiographs - 1)))
    assert "(torchxrayvision's DenseNet)" in caplog.text
    assert "standard deviation 1 for theirs of 463" in caplog.text
    stem = first_convolution(build_backbone("densenet121", 2, init=tmp_path / "xrv.pt").network)[1]
    assert torch.equal(stem.weight, state["features.conv0.weight"])  # and not 463 times as large


def test_a_resnet_of_torchxrayvision_comes_within_its_wrapper(tmp_path: Path) -> None:
    network = resnet("resnet50", 2, 1, num_classes=18)
    state = {f"model.{key}": value for key, value in network.state_dict().items()} | {"op_threshs": torch.ones(18)}
    torch.save(state, tmp_path / "xrv.pt")
    assert describe_init(tmp_path / "xrv.pt", "resnet50", 2)["init"]["family"] == "torchxrayvision's ResNet"


@pytest.mark.parametrize(("name", "spatial_dims", "channels"), [("resnet18", 3, 1), ("resnet18", 2, 2)])
def test_monais_own_weights(name: str, spatial_dims: int, channels: int, tmp_path: Path) -> None:
    network = resnet(name, spatial_dims, channels, bias_downsample=True)
    torch.save({"epoch": 2, "model": network.state_dict()}, tmp_path / "model.pt")
    images = torch.randn(2, 1, *[40] * spatial_dims)
    expected = pooled(network, torch.cat([images] * channels, dim=1))
    check_begins_alike(name, spatial_dims, tmp_path / "model.pt", images, expected)
    assert describe_init(tmp_path / "model.pt", name, spatial_dims)["init"]["family"] == "MONAI's ResNet"


@pytest.mark.parametrize(("name", "spatial_dims"), [("resnet10_quarter", 3), ("densenet121", 2), ("vgg11", 2)])
@pytest.mark.parametrize("kind", ["backbone", "model", "folder"])
def test_our_own_weights(name: str, spatial_dims: int, kind: str, tmp_path: Path) -> None:
    images = torch.randn(2, 1, *[40] * spatial_dims)
    if kind == "model":
        network = used(build_classifier(name, spatial_dims, 1, 5), 1, spatial_dims)
        torch.save(network.state_dict(), tmp_path / "model.pt")
        (tmp_path / "model.json").write_text(f'{{"architecture": "{name}"}}')
        expected = pooled(network, images)
    else:
        backbone = build_backbone(name, spatial_dims)
        used(backbone, 1, spatial_dims)
        save_backbone(backbone, tmp_path / "backbone.pt", init={"file": "resnet.pth"})
        expected = pooled(backbone, images)
    path = tmp_path if kind == "folder" else tmp_path / f"{kind}.pt"
    check_begins_alike(name, spatial_dims, path, images, expected)
    described = describe_init(path, name, spatial_dims)["init"]
    assert described["family"] == "medssl's"
    assert described.get("init") == (None if kind == "model" else {"file": "resnet.pth"})  # whence those began


def test_the_head_is_the_random_one_of_the_same_seed(tmp_path: Path) -> None:
    torch.save(resnet("resnet18", 2, 3).state_dict(), tmp_path / "resnet.pth")
    torch.manual_seed(3)
    plain = build_classifier("resnet18", 2, 1, 7)
    torch.manual_seed(3)
    begun = build_classifier("resnet18", 2, 1, 7, init=tmp_path / "resnet.pth")
    assert torch.equal(plain.fc.weight, begun.fc.weight)
    assert not torch.equal(plain.conv1.weight, begun.conv1.weight)


def test_the_description_says_whence_and_draws_no_random_number(tmp_path: Path) -> None:
    torch.save(resnet("resnet18", 2, 3).state_dict(), tmp_path / "resnet18-abc.pth")
    before = torch.get_rng_state()
    described = describe_init(tmp_path / "resnet18-abc.pth", "resnet18", 2, "torchvision 0.28, BSD-3-Clause")
    assert torch.equal(before, torch.get_rng_state())
    assert described == {
        "init": {
            "file": "resnet18-abc.pth",
            "family": "torchvision's or timm's ResNet",
            "sha256": sha256((tmp_path / "resnet18-abc.pth").read_bytes()).hexdigest(),
            "source": "torchvision 0.28, BSD-3-Clause",
        }
    }
    assert describe_init("", "resnet18", 2) == {}
    with pytest.raises(UserError, match="give --init, too"):
        describe_init("", "resnet18", 2, "somewhere")


@pytest.mark.parametrize(
    ("given", "wanted", "spatial_dims", "message"),
    [
        ("resnet50", "resnet18", 2, "does not fit this ResNet: .* have no place .* holds a resnet50 for 2D images"),
        ("resnet34", "resnet18", 2, r"such as layer1\.2\..* holds a resnet34 for 2D images"),  # whose names it has all
        ("resnet18", "resnet34", 2, "are not in it. It holds a resnet18"),
        ("resnet18", "resnet18", 3, "holds a resnet18 for 2D images"),
        ("resnet18", "densenet121", 2, "does not fit this DenseNet121"),
        ("resnet18", "resnet10_quarter", 2, "holds a resnet18"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(
    given: str, wanted: str, spatial_dims: int, message: str, tmp_path: Path
) -> None:
    torch.save(resnet(given, 2, 3).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UserError, match=message):
        describe_init(tmp_path / "weights.pth", wanted, spatial_dims)
    with pytest.raises(UserError, match=message):
        build_backbone(wanted, spatial_dims, init=tmp_path / "weights.pth")


def test_what_is_no_state_dict_of_a_known_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with pytest.raises(MissingFileError, match="no weights to begin with"):
        build_backbone("resnet18", 2, init=path)
    with pytest.raises(MissingFileError, match="a run's folder"):
        build_backbone("resnet18", 2, init=tmp_path)
    for content in ({}, {"blocks.0.weight": torch.ones(3, 3)}, {"conv1.0.weight": torch.ones(3, 3, 3, 3)}):
        torch.save(content, path)
        with pytest.raises(UserError, match="no network that is known here"):
            build_backbone("resnet18", 2, init=path)
    for content in ({"conv1.weight": "text"}, [torch.ones(2)]):
        torch.save(content, path)
        with pytest.raises(UserError, match="no plain state dict"):
            build_backbone("resnet18", 2, init=path)
    torch.save(nn.Conv2d(1, 1, 1), path)  # a whole network, as torchxrayvision's files are: code, which is not run
    with pytest.raises(UserError, match=r"save its state_dict\(\) where it comes from"):
        build_backbone("resnet18", 2, init=path)


def test_half_of_a_network_is_not_enough(tmp_path: Path) -> None:
    state = resnet("resnet18", 2, 3).state_dict()
    torch.save({key: value for key, value in state.items() if "layer3.1" not in key}, tmp_path / "half.pth")
    with pytest.raises(UserError, match=r"12 of the network's \d+ are not in it"):
        build_backbone("resnet18", 2, init=tmp_path / "half.pth")


def test_safetensors_are_read_where_the_package_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resnet.safetensors"
    path.write_bytes(b"not yet")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "safetensors.torch", None)
        with pytest.raises(UserError, match="pip install safetensors"):
            load_state_dict(path)
    safetensors = pytest.importorskip("safetensors.torch")
    with pytest.raises(UserError, match="it is damaged"):
        load_state_dict(path)
    network = resnet("resnet18", 2, 3)
    safetensors.save_file(network.state_dict(), path)
    images = torch.randn(2, 1, 64, 64)
    check_begins_alike("resnet18", 2, path, images, pooled(network, images.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "densenet121"])
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_the_libraries_own_networks(library: str, name: str, tmp_path: Path) -> None:
    module = pytest.importorskip("timm" if library == "timm" else "torchvision.models")
    network = used(module.create_model(name) if library == "timm" else getattr(module, name)(), 3)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    images = torch.randn(2, 1, 64, 64)
    check_begins_alike(name, 2, tmp_path / "weights.pth", images, pooled(network, images.repeat(1, 3, 1, 1)))
