"""The contract of every backbone, in 2D and 3D; a new row of ``ARCHITECTURES`` is tested without a new line here."""

import copy

import pytest
import torch
from families import every_family, is_installed
from monai.bundle import ConfigParser
from torch import nn

from medssl.networks import (
    ARCHITECTURES,
    VGG,
    Backbone,
    build_backbone,
    build_classifier,
    fast_layout,
    first_convolution,
    network_description,
    without_values,
)
from medssl.networks.pyramids import _resnet_stem

every_backbone = pytest.mark.parametrize(
    ("name", "spatial_dims"), [(name, dims) for name, each in ARCHITECTURES.items() for dims in each.spatial_dims]
)


@every_backbone
def test_maps_have_the_channels_and_sides_that_are_said(name: str, spatial_dims: int) -> None:
    if not is_installed(name):
        pytest.skip(f"{name} needs an extra")
    backbone = without_values(lambda: build_backbone(name, spatial_dims).eval())  # shapes alone take little time
    device = next(backbone.parameters()).device
    assert isinstance(backbone, Backbone)
    assert (backbone.name, backbone.spatial_dims, backbone.in_channels) == (name, spatial_dims, 1)
    assert (backbone.channels[-1], backbone.strides[-1]) == (backbone.out_channels, backbone.stride)
    assert list(backbone.strides) == sorted(set(backbone.strides))
    for plane in [(64, 32), (45, 70), (33, 96)]:
        sides = plane if spatial_dims == 2 else (backbone.smallest_side + 4, *plane)  # few slices of many pixels
        maps = backbone.pyramid(torch.zeros(2, 1, *sides, device=device))
        assert [each.shape[1] for each in maps] == list(backbone.channels)
        for each, stride in zip(maps, backbone.strides, strict=True):
            for side, left in zip(sides, each.shape[2:], strict=True):
                assert side // stride <= left <= -(-side // stride)


@every_family
def test_features_are_the_mean_of_the_last_map(name: str, spatial_dims: int) -> None:
    backbone = build_backbone(name, spatial_dims, in_channels=1).eval()
    images = torch.randn(2, 1, *(64, 33, 35)[:spatial_dims])
    with torch.no_grad():
        maps, feature_map = backbone.pyramid(images), backbone(images)
        features = backbone.pool(feature_map)
    assert torch.equal(maps[-1], feature_map)
    assert features.shape == (2, backbone.out_channels)
    torch.testing.assert_close(features, feature_map.double().mean(dim=tuple(range(2, feature_map.ndim))).float())
    assert not torch.allclose(features[0], features[1], atol=0)  # they depend on the image
    if not ARCHITECTURES[name].encoder:
        assert feature_map.min() >= 0  # the map is what comes after the last activation


@every_family
def test_the_fast_layout_is_one_that_the_weights_can_have_and_changes_no_feature(name: str, spatial_dims: int) -> None:
    layout = fast_layout(name, spatial_dims)
    assert (layout != torch.contiguous_format) is (spatial_dims in ARCHITECTURES[name].channels_last)
    if layout == torch.contiguous_format:
        return
    backbone = build_backbone(name, spatial_dims).double().eval()
    images = torch.randn(2, 1, *[36] * spatial_dims, dtype=torch.float64)
    with torch.no_grad():
        before = backbone(images)
        after = backbone.to(memory_format=layout)(images)
    torch.testing.assert_close(after, before)
    assert first_convolution(backbone.network)[1].weight.is_contiguous(memory_format=layout)


def test_the_layout_of_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="no backbone 'resnet'"):
        fast_layout("resnet", 2)


@every_family
def test_the_smallest_side_is_truly_the_smallest(name: str, spatial_dims: int) -> None:
    backbone = build_backbone(name, spatial_dims).eval()
    smallest = backbone.smallest_side
    with torch.no_grad():
        feature_map = backbone(torch.randn(1, 1, *[smallest] * spatial_dims))
        assert feature_map.numel() == backbone.out_channels  # a single place is left
        if smallest > 1:
            with pytest.raises((RuntimeError, ValueError)):
                backbone(torch.randn(1, 1, *[smallest - 1] * spatial_dims))


@every_family
def test_missing_channels_are_copies_of_the_image(name: str, spatial_dims: int) -> None:
    backbone = build_backbone(name, spatial_dims, in_channels=6).eval()
    images = torch.randn(2, 2, *[32] * spatial_dims)
    with torch.no_grad():
        copied = backbone(images)
        assert torch.equal(copied, backbone(torch.cat([images, images, images], dim=1)))
        assert not torch.allclose(copied, backbone(torch.cat([images, images, -images], dim=1)), atol=0)


@pytest.mark.parametrize(("in_channels", "channels"), [(1, 2), (1, 3), (3, 2), (6, 4)])
def test_channels_that_do_not_fit_are_refused(in_channels: int, channels: int) -> None:
    backbone = build_backbone("resnet18", 2, in_channels)
    with pytest.raises(ValueError, match=f"takes {in_channels} channels; images with {channels} do not fit"):
        backbone(torch.randn(1, channels, 32, 32))


@every_family
def test_every_weight_of_a_backbone_gets_a_gradient(name: str, spatial_dims: int) -> None:
    # DistributedDataParallel refuses weights that take no part, such as those of a head that was left in.
    backbone = build_backbone(name, spatial_dims)
    backbone.pool(backbone(torch.randn(2, 1, *[33] * spatial_dims))).square().sum().backward()
    assert [key for key, weight in backbone.named_parameters() if weight.requires_grad and weight.grad is None] == []
    assert first_convolution(backbone)[1].weight.grad.abs().sum() > 0


@every_family
def test_the_backbone_is_the_classifier_without_its_head(name: str, spatial_dims: int) -> None:
    classifier = build_classifier(name, spatial_dims, in_channels=1, num_classes=5)
    backbone = build_backbone(name, spatial_dims)
    head = ARCHITECTURES[name].head
    shapes = {key: value.shape for key, value in classifier.state_dict().items() if not key.startswith(f"{head}.")}
    assert {key: value.shape for key, value in backbone.network.state_dict().items()} == shapes
    with torch.no_grad():
        assert classifier.eval()(torch.randn(2, 1, *[33] * spatial_dims)).shape == (2, 5)


@every_family
def test_the_description_builds_the_same_network_from_a_config(name: str, spatial_dims: int) -> None:
    description = network_description(name, spatial_dims, in_channels=2, out_channels=7)
    parser = ConfigParser({"network_def": description})
    built = parser.get_parsed_content("network_def")
    direct = build_classifier(name, spatial_dims, 2, 7)
    assert type(built) is type(direct)
    built.load_state_dict(direct.state_dict())  # strict
    images = torch.randn(1, 2, *[33] * spatial_dims)
    with torch.no_grad():
        assert torch.equal(built.eval()(images), direct.eval()(images))


def test_unknown_names_and_dimensions_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"no backbone 'resnet19'; choose one of densenet121, .*resnet18, .*resnet10_quarter, vgg11"
    ):
        build_backbone("resnet19", 2)
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 1"):
        build_backbone("resnet18", 1)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_vgg11_is_column_a_of_the_paper(spatial_dims: int) -> None:
    network = VGG("vgg11", spatial_dims, in_channels=1, out_channels=3)
    layers = list(network.features)
    kinds = (nn.Conv2d, nn.Conv3d), (nn.MaxPool2d, nn.MaxPool3d)
    rows = [
        layer.out_channels if isinstance(layer, kinds[0]) else "pool"
        for layer in layers
        if isinstance(layer, sum(kinds, ()))
    ]
    # Simonyan & Zisserman 2015, Table 1, column A: eight convolutions in five stages.
    assert rows == [64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"]
    convolutions = [layer for layer in layers if isinstance(layer, kinds[0])]
    assert {layer.kernel_size for layer in convolutions} == {(3,) * spatial_dims}
    assert [layer.in_channels for layer in convolutions] == [1, 64, 128, 256, 256, 512, 512, 512]
    for place, layer in enumerate(layers):
        if isinstance(layer, kinds[0]):
            assert isinstance(layers[place + 1], (nn.BatchNorm2d, nn.BatchNorm3d))
            assert isinstance(layers[place + 2], nn.ReLU)


@pytest.mark.parametrize("side", [4, 5, 6, 7, 8])
def test_the_stem_on_small_cubes_has_the_gradient_of_double_precision(side: int) -> None:
    stem = build_backbone("resnet18", 3).network.conv1
    exact = copy.deepcopy(stem).double()
    images = torch.randn(4, 1, side, 12, 9)
    features = _resnet_stem(stem, images)
    torch.testing.assert_close(features.double(), exact(images.double()), rtol=1e-4, atol=1e-5)
    weight = torch.randn_like(features)
    (features * weight).sum().backward()
    (exact(images.double()) * weight).sum().backward()
    torch.testing.assert_close(stem.weight.grad.double(), exact.weight.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_mednext_sees_a_small_image_on_zeros(spatial_dims: int) -> None:
    backbone = build_backbone("mednext", spatial_dims).eval()
    small = torch.randn(1, 1, *(16, 9, 12)[:spatial_dims])
    filled = torch.zeros(1, 1, *small.shape[2:-1], 17)
    filled[..., : small.shape[-1]] = small
    with torch.no_grad():
        for found, known in zip(backbone.pyramid(small), backbone.pyramid(filled), strict=True):
            assert torch.equal(found, known[..., : found.shape[-1]])
    assert found[0, 0].numel() == 1
