"""Features computed once: what the last layer sees, for every architecture, leaving the network as it was."""

import copy

import pytest
import torch
from families import every_family
from monai.data import DataLoader, Dataset
from torch import nn

from medssl.networks import (
    build_backbone,
    build_classifier,
    classifier_features,
    compute_features,
    output_layer,
)


@every_family
def test_the_output_layer_on_the_features_is_the_classifier(name: str, spatial_dims: int) -> None:
    network = build_classifier(name, spatial_dims, in_channels=1, num_classes=5).eval()
    backbone = build_backbone(name, spatial_dims).eval()
    backbone.network.load_state_dict(network.state_dict(), strict=False)
    images = torch.randn(2, 1, *[33] * spatial_dims)
    with torch.no_grad():
        features = classifier_features(network, images)
        assert features.shape == (2, backbone.out_channels)
        assert torch.equal(output_layer(network)(features), network(images))
        torch.testing.assert_close(features, backbone.pool(backbone(images)), rtol=1e-5, atol=1e-6)
    assert output_layer(network).out_features == 5
    assert not output_layer(network)._forward_pre_hooks


def test_a_network_without_a_linear_layer_is_no_classifier() -> None:
    with pytest.raises(ValueError, match="Conv2d has no linear layer"):
        output_layer(nn.Conv2d(1, 1, 1))


def test_features_come_in_the_order_of_the_loader_and_leave_the_network_as_it_was() -> None:
    backbone = build_backbone("resnet18", 2)
    before = copy.deepcopy(backbone.state_dict())
    images = torch.randn(7, 1, 32, 32)
    loader = DataLoader(Dataset([{"image": image} for image in images]), batch_size=3)
    features = compute_features(backbone, lambda batch: backbone.pool(backbone(batch)), loader)
    assert not features.requires_grad
    assert backbone.training
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    backbone.eval()
    with torch.no_grad():
        alone = torch.cat([backbone.pool(backbone(image[None])) for image in images])
    torch.testing.assert_close(features, alone, rtol=1e-4, atol=1e-5)
