"""The weights of a backbone elsewhere: the same features in MONAI's and torchvision's networks, and how many fitted."""

import logging
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import pytest
import torch
from monai.networks.nets import DenseNet121, FlexibleUNet, SegResNetDS, SwinUNETR
from torch import Tensor, nn

from medssl.networks import (
    Backbone,
    build_backbone,
    flexible_unet,
    load_matching_weights,
    repeat_input_channels,
    timm_vit_weights,
    torchvision_weights,
)
from medssl.networks.public_families import monai_vit


def used(name: str, spatial_dims: int, in_channels: int = 1) -> Backbone:
    """A backbone with running statistics and biases that are no longer those of a new network."""
    backbone = build_backbone(name, spatial_dims, in_channels)
    with torch.no_grad():
        backbone.train()(1 + 2 * torch.randn(3, in_channels, *[33] * spatial_dims))
        for parameter in backbone.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return backbone.eval()


@pytest.mark.parametrize(
    ("name", "spatial_dims"),
    [("resnet18", 2), ("resnet18", 3), ("resnet10", 2), ("resnet34", 2), ("resnet50", 2), ("efficientnet_b0", 2)],
)
def test_a_flexible_unet_encodes_as_the_backbone_does(
    name: str, spatial_dims: int, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = used(name, spatial_dims)
    state = backbone.network.state_dict()
    network = flexible_unet(spatial_dims, 1, 2, name, decoder_channels=(32, 16, 8, 8, 4)).eval()
    with caplog.at_level(logging.INFO, logger="medssl"):
        assert load_matching_weights(network, state, prefix="encoder.") == len(state)
    assert f"Loaded {len(state)} of {len(state)} weights; " in caplog.text
    images = torch.randn(1, 1, *[64] * spatial_dims)
    with torch.no_grad():
        if name != "efficientnet_b0":  # of which FlexibleUNet takes the map before the last
            torch.testing.assert_close(network.encoder(images)[-1], backbone(images), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(network.encoder(images)[1], backbone.pyramid(images)[1], rtol=1e-5, atol=1e-5)
        assert network(images).shape == (1, 2, *images.shape[2:])


def test_what_flexible_unet_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="resnet50 and efficientnet_b0, not 'vgg11'"):
        flexible_unet(2, 1, 2, "vgg11")


def swin_unetr() -> nn.Module:
    return SwinUNETR(in_channels=1, out_channels=2, feature_size=48, spatial_dims=3)


def segresnet_ds() -> nn.Module:
    return SegResNetDS(3, init_filters=32, in_channels=1, out_channels=2, blocks_down=(1, 2, 2, 4, 4))


@pytest.mark.parametrize(
    ("name", "build", "prefix"), [("swin", swin_unetr, "swinViT."), ("segresnet", segresnet_ds, "encoder.")]
)
def test_swin_unetr_and_segresnet_encode_as_the_backbone_does(name: str, build: Callable[[], Any], prefix: str) -> None:
    backbone, network = used(name, 3), build().eval()
    state = backbone.network.state_dict()
    assert load_matching_weights(network, state, prefix) == len(state)
    images = torch.randn(1, 1, 64, 32, 32)
    with torch.no_grad():
        found = getattr(network, prefix.removesuffix("."))(images)[-1]
        torch.testing.assert_close(found, backbone.pyramid(images)[-1], rtol=1e-5, atol=1e-5)
        assert torch.isfinite(network(images)).all()


def test_a_vit_goes_to_timm_and_comes_back() -> None:
    state = used("vit_tiny", 2).network.state_dict()
    named = timm_vit_weights(state)
    back = monai_vit(named)
    used_keys = [key for key in state if "norm_cross_attn" not in key]
    assert {key for key in back if "norm_cross_attn" not in key} == set(used_keys)
    assert all(torch.equal(back[key], state[key]) for key in used_keys)
    for name, spatial_dims in (("vit_tiny", 3), ("resnet10_quarter", 2)):
        with pytest.raises(ValueError, match="no weights of a 2D vit_tiny"):
            timm_vit_weights(build_backbone(name, spatial_dims).network.state_dict())


def test_timms_vit_gives_the_same_features() -> None:
    timm = pytest.importorskip("timm")
    backbone = used("vit_tiny", 2)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    state = repeat_input_channels(timm_vit_weights(backbone.network.state_dict()), 3)
    network.load_state_dict(state)
    images = torch.randn(2, 1, 224, 224)
    with torch.no_grad():
        expected = backbone.pool(backbone(images))
        found = network.forward_features(images.repeat(1, 3, 1, 1))[:, 1:].mean(dim=1)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()  # another epsilon


def test_monais_own_encoder_takes_the_weights_in_part_only_and_loading_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = build_backbone("resnet18", 2).network.state_dict()
    network = FlexibleUNet(1, 2, "resnet18", spatial_dims=2)
    with caplog.at_level(logging.INFO, logger="medssl"):
        assert load_matching_weights(network, state, prefix="encoder.") == len(state) - 21
    assert "(layer2.0.downsample.0.weight and 20 more have no place" in caplog.text


def test_loading_fails_when_nothing_fits_and_says_what_is_there() -> None:
    state = build_backbone("resnet18", 2).network.state_dict()
    network = flexible_unet(2, 1, 2)
    before = network.state_dict()["encoder.conv1.weight"].clone()
    message = r"takes none of the 123 weights: they have conv1\.weight \[64, 1, 7, 7\], and it has encoder\.conv1\.w"
    with pytest.raises(ValueError, match=message):
        load_matching_weights(network, state)
    assert torch.equal(network.state_dict()["encoder.conv1.weight"], before)
    with pytest.raises(ValueError, match=r"there is no conv1\.weight in it"):
        load_matching_weights(DenseNet121(2, 1, 2), {key: state[key] for key in list(state)[:1]})
    with pytest.raises(
        ValueError, match=r"they have conv1\.weight \[64, 1, 7, 7\], and it has conv1\.weight \[64, 3, 7, 7\]"
    ):
        load_matching_weights(build_backbone("resnet18", 2, 3).network, {"conv1.weight": state["conv1.weight"]})
    with pytest.raises(ValueError, match="none of the 0 weights, for there are none"):
        load_matching_weights(network, {})


@pytest.mark.parametrize(
    ("name", "spatial_dims", "channels", "copies"),
    [("densenet121", 2, 1, 3), ("resnet18", 2, 1, 3), ("resnet18", 3, 2, 2), ("vgg11", 2, 1, 4)],
)
def test_an_image_seen_several_times_has_the_same_features(
    name: str, spatial_dims: int, channels: int, copies: int
) -> None:
    backbone = used(name, spatial_dims, channels)
    wider = build_backbone(name, spatial_dims, channels * copies).eval()
    state = repeat_input_channels(backbone.network.state_dict(), copies)
    wider.network.load_state_dict(state)
    images = torch.randn(2, channels, *[33] * spatial_dims)
    with torch.no_grad():
        expected = backbone(images)
        found = wider(torch.cat([images] * copies, dim=1))
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_weights_without_a_convolution_have_no_input_channels() -> None:
    with pytest.raises(ValueError, match="no convolution whose input channels"):
        repeat_input_channels({"weight": torch.ones(2, 2)}, 3)


def norm(name: str) -> set[str]:
    return {f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}


def densenet121_of_torchvision() -> set[str]:
    """The names of ``torchvision.models.densenet121`` (0.28), without its classifier."""
    names = {"features.conv0.weight"} | norm("features.norm0") | norm("features.norm5")
    for block, layers in enumerate((6, 12, 24, 16), start=1):
        for layer, part in product(range(1, layers + 1), (1, 2)):
            place = f"features.denseblock{block}.denselayer{layer}"
            names |= {f"{place}.conv{part}.weight"} | norm(f"{place}.norm{part}")
    for place in (f"features.transition{number}" for number in (1, 2, 3)):
        names |= {f"{place}.conv.weight"} | norm(f"{place}.norm")
    return names


def resnet18_of_torchvision() -> set[str]:
    """The names of ``torchvision.models.resnet18`` (0.28), without its last layer."""
    names = {"conv1.weight"} | norm("bn1")
    for layer, block, part in product((1, 2, 3, 4), (0, 1), (1, 2)):
        place = f"layer{layer}.{block}"
        names |= {f"{place}.conv{part}.weight"} | norm(f"{place}.bn{part}")
    for place in (f"layer{layer}.0.downsample" for layer in (2, 3, 4)):
        names |= {f"{place}.0.weight"} | norm(f"{place}.1")
    return names


NAMES = {"densenet121": densenet121_of_torchvision, "resnet18": resnet18_of_torchvision}


@pytest.mark.parametrize("name", list(NAMES))
def test_the_names_are_those_of_torchvision(name: str) -> None:
    assert set(torchvision_weights(used(name, 2).network.state_dict())) == NAMES[name]()


@pytest.mark.parametrize("name", list(NAMES))
def test_torchvisions_network_gives_the_same_features(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    backbone = used(name, 2)
    network = getattr(models, name)().eval()
    state = repeat_input_channels(torchvision_weights(backbone.network.state_dict()), 3)
    assert load_matching_weights(network, state) == len(network.state_dict()) - 2
    head = "classifier" if name == "densenet121" else "fc"
    setattr(network, head, torch.nn.Identity())
    images = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = backbone.pool(backbone(images))
        found = network(images.repeat(1, 3, 1, 1))
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_bias_before_a_batch_normalisation_goes_into_its_running_mean() -> None:
    state: Mapping[str, Tensor] = used("resnet18", 2).network.state_dict()
    renamed = torchvision_weights(state)
    for layer in (2, 3, 4):
        place = f"layer{layer}.0.downsample"
        moved = state[f"{place}.1.running_mean"] - state[f"{place}.0.bias"]
        assert torch.equal(renamed[f"{place}.1.running_mean"], moved)
        assert not torch.equal(moved, state[f"{place}.1.running_mean"])


@pytest.mark.parametrize(
    ("name", "spatial_dims", "message"), [("resnet18", 3, "2D images"), ("vgg11", 2, "neither MONAI's DenseNet")]
)
def test_what_torchvision_does_not_have_is_refused(name: str, spatial_dims: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        torchvision_weights(build_backbone(name, spatial_dims).network.state_dict())
