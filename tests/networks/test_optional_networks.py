"""Backbones of other libraries, which are extras: contract, own names, a plain word where they are missing."""

import re
from importlib import util
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from medssl.networks import (
    architecture,
    build_backbone,
    build_classifier,
    build_segmenter,
    find_architecture,
    fold_input_copies,
    is_architecture,
    load_backbone,
    network_description,
    save_backbone,
    segmenter_description,
    timm_architecture,
)

TIMM = ("resnet18", "convnext_atto", "vit_tiny_patch16_224", "regnetx_002")


@pytest.mark.parametrize("model", TIMM)
def test_a_network_of_timm_is_a_backbone_under_its_own_names(model: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    name = f"timm:{model}"
    backbone = build_backbone(name, 2, in_channels=3)
    images = torch.randn(2, 1, 70, 64)
    maps = backbone.pyramid(images)
    assert [each.shape[1] for each in maps] == list(backbone.channels)
    for each, stride in zip(maps, backbone.strides, strict=True):
        assert all(
            side // stride <= left <= -(-side // stride) for side, left in zip((70, 64), each.shape[2:], strict=True)
        )
    maps[-1].square().sum().backward()
    assert [key for key, weight in backbone.named_parameters() if weight.requires_grad and weight.grad is None] == []

    folded = build_backbone(name, 2).eval()
    folded.network.load_state_dict(fold_input_copies(backbone.eval().network, 3))
    torch.testing.assert_close(folded(images), backbone(images), rtol=1e-4, atol=1e-4)
    save_backbone(folded, tmp_path / "backbone.pt", image_size=[70, 64])
    assert torch.equal(load_backbone(tmp_path / "backbone.pt").eval()(images), folded(images))
    begun = build_backbone(name, 2, in_channels=3, init=tmp_path).eval()
    torch.testing.assert_close(begun(images), folded(images), rtol=1e-4, atol=1e-4)
    theirs = timm.create_model(model, in_chans=1).eval()
    kept = theirs.load_state_dict(torch.load(tmp_path / "backbone.pt", weights_only=True), strict=False)
    assert kept.unexpected_keys == []
    assert all(re.match(r"head\.|fc\.|norm\.", key) for key in kept.missing_keys)
    square = torch.randn(1, 1, 224, 224)
    levels = find_architecture(name).defaults["levels"]
    with torch.no_grad():
        expected = theirs.forward_intermediates(square, indices=levels, intermediates_only=True)
        for found, known in zip(folded.pyramid(square), expected, strict=True):
            torch.testing.assert_close(found, known, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["timm:convnext_atto", "timm:vit_tiny_patch16_224", "resenc_l"])
def test_classifier_and_segmenter_are_built_from_a_config(name: str) -> None:
    pytest.importorskip("timm" if name.startswith("timm") else "dynamic_network_architectures")
    images = torch.randn(2, 1, 70, 64)
    for described, built in [
        (network_description(name, 2, 1, 3), build_classifier(name, 2, 1, 3)),
        (segmenter_description(name, 2, 1, 3), build_segmenter(name, 2, 1, 3)),
    ]:
        network = ConfigParser({"network": described}).get_parsed_content("network").eval()
        network.load_state_dict(built.state_dict())
        with torch.no_grad():
            assert torch.equal(network(images), built.eval()(images))


@pytest.mark.parametrize(
    ("model", "spatial_dims", "message"),
    [
        ("nothing", 2, "timm has no network 'nothing': timm.list_models"),
        ("resnet18", 3, "timm:resnet18 is for 2D images"),
    ],
)
def test_what_timm_does_not_have_is_said(model: str, spatial_dims: int, message: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match=message):
        build_backbone(f"timm:{model}", spatial_dims)


def test_a_network_of_timm_without_maps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")  # whose release decides which networks have none
    monkeypatch.setattr(timm_architecture, "timm_network", lambda model, channels: torch.nn.Identity())
    with pytest.raises(ValueError, match="dla34 does not give its maps on the way"):
        build_backbone("timm:dla34", 2)


def test_resenc_l_has_two_names_for_its_stem_which_stay_one_weight(tmp_path: Path) -> None:
    pytest.importorskip("dynamic_network_architectures")
    backbone = build_backbone("resenc_l", 2).eval()
    save_backbone(backbone, tmp_path / "backbone.pt", image_size=[64, 64])
    begun = build_backbone("resenc_l", 2, in_channels=3, init=tmp_path).eval()
    images = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(begun(images), backbone(images), rtol=1e-4, atol=1e-4)
        begun.network.load_state_dict(begun.network.state_dict())
    assert begun.network.stem.convs[0].conv.weight is begun.network.stem.convs[0].all_modules[0].weight


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_resenc_l_is_the_encoder_of_nnunet_on_sides_that_it_takes(spatial_dims: int) -> None:
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    three_d = spatial_dims == 3
    # nnU-Net's preset ResEnc L (Isensee et al. 2024), as its plans name it.
    whole = unet.ResidualEncoderUNet(
        1,
        6,
        (32, 64, 128, 256, 320, 320),
        torch.nn.Conv3d if three_d else torch.nn.Conv2d,
        3,
        (1, 2, 2, 2, 2, 2),
        (1, 3, 4, 6, 6, 6),
        num_classes=2,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d if three_d else torch.nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()
    backbone = build_backbone("resenc_l", spatial_dims).eval()
    whole.encoder.load_state_dict(backbone.network.state_dict())  # strict
    images = torch.randn(1, 1, *(64, 32, 32)[:spatial_dims])
    with torch.no_grad():
        for found, known in zip(backbone.pyramid(images), whole.encoder(images), strict=True):
            assert torch.equal(found, known)
        # Others are filled up with zeros, and what lies outside is cut off.
        small = images[(..., *map(slice, (20, 9, 17)[:spatial_dims]))]
        filled = torch.zeros(1, 1, *(32, 32, 32)[: spatial_dims - 1], 64)
        filled[(..., *map(slice, small.shape[2:]))] = small
        for found, known in zip(backbone.pyramid(small), whole.encoder(filled), strict=True):
            assert torch.equal(found, known[(..., *map(slice, found.shape[2:]))])
        assert found[0, 0].numel() == 1


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture, "find_spec", lambda package: None)
    find_architecture("resenc_l")  # which is known all the same
    with pytest.raises(
        ValueError, match=r"resenc_l needs dynamic-network-architectures: pip install 'medssl\[nnunet\]'"
    ):
        build_backbone("resenc_l", 2)
    with pytest.raises(ValueError, match=r"timm:unheard_of needs timm: pip install 'medssl\[timm\]'"):
        build_backbone("timm:unheard_of", 2)
    assert util.find_spec("torch") is not None
    assert is_architecture("timm:unheard_of")
    assert not is_architecture("unheard_of")
