"""Blocks of a backbone: computed again they give the same step and keep less, and each lies where the layers say."""

import copy
from collections.abc import Callable

import pytest
import torch
from families import FAMILIES
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from medssl.networks import (
    ARCHITECTURES,
    build_backbone,
    build_classifier,
    build_segmenter,
    checkpoint_activations,
    layers_above,
    named_blocks,
)
from medssl.pretext import build_pretext_model
from medssl.training import MixedPrecision


def step(network: nn.Module, loss: Callable[[], Tensor]) -> tuple[float, int]:
    """Loss and kept bytes of a step, whose gradients stay in the network."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    network.train().zero_grad()
    torch.manual_seed(3)  # of what is dropped at random
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        value = loss()
        bytes_kept = sum(kept.values())  # what is computed again on the way back counts no more
    value.backward()
    return value.item(), bytes_kept


def check_the_same_step(network: nn.Module, architecture: str, loss: Callable[[nn.Module], Tensor]) -> None:
    again = checkpoint_activations(copy.deepcopy(network), architecture)
    again = copy.deepcopy(again)  # as teachers and averages are made
    assert list(again.state_dict()) == list(network.state_dict())
    for _ in range(2):
        (plain, much), (recomputed, little) = (step(each, lambda each=each: loss(each)) for each in (network, again))
        assert recomputed == plain
        assert little < 0.9 * much
        for (key, weight), other in zip(network.named_parameters(), again.parameters(), strict=True):
            assert (weight.grad is None) is (other.grad is None), key
            if weight.grad is not None:
                torch.testing.assert_close(other.grad, weight.grad, msg=key)
    # Batch normalisation has counted each image once.
    for (key, buffer), other in zip(network.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(buffer, other), key
    with torch.no_grad():
        assert torch.equal(loss(again.eval()), loss(network.eval()))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "vgg11"])
def test_a_step_of_a_classifier_is_the_same_and_keeps_less(name: str) -> None:
    images = torch.randn(2, 1, 40, 36)
    network = build_classifier(name, 2, 1, 3)
    check_the_same_step(network, name, lambda network: network(images).square().mean())


def test_a_step_in_16_bits_is_the_same_also_where_short_maps_stay_in_32() -> None:
    images = torch.randn(2, 1, 64, 32)  # whose last maps are as short as a kernel
    network = build_classifier("resnet10_quarter", 2, 1, 3)
    half = MixedPrecision(enabled=True)
    check_the_same_step(network, "resnet10_quarter", lambda network: half(images, network).float().square().mean())


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_step_of_a_segmenter_too(spatial_dims: int) -> None:
    images = torch.randn(3, 1, *[32] * spatial_dims)
    segmenter = build_segmenter("resnet10_quarter", spatial_dims, 1, 2)
    check_the_same_step(segmenter, "resnet10_quarter", lambda network: network(images).square().mean())


@pytest.mark.parametrize(
    ("name", "task"), [("resnet10_quarter", "rotation"), ("resnet10_quarter", "spark"), ("vit_tiny", "mae")]
)
def test_a_step_of_a_pre_training_too(name: str, task: str) -> None:
    # spark masks every layer within a context, which has to be there a second time.
    images = torch.randn(3, 1, 64, 64)
    model = build_pretext_model(build_backbone(name, 2), images.shape[2:], task)

    def loss(network: nn.Module) -> Tensor:
        torch.manual_seed(5)
        return network(images).loss

    check_the_same_step(model, name, loss)


def test_nothing_changes_where_it_is_off_and_vgg_says_that_it_has_no_blocks() -> None:
    network = build_classifier("resnet10_quarter", 2, 1, 3)
    kinds = [type(module) for module in network.modules()]
    assert [type(module) for module in checkpoint_activations(network, "resnet10_quarter", False).modules()] == kinds
    with pytest.raises(ValueError, match="vgg11 has no blocks to tell apart"):
        checkpoint_activations(build_classifier("vgg11", 2, 1, 3), "vgg11")


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "vgg11"])
def test_blocks_hold_most_weights_and_no_block_lies_in_another(name: str) -> None:
    network = build_classifier(name, max(ARCHITECTURES[name].spatial_dims), 1, 3)
    blocks = dict(named_blocks(network, name))
    assert not [name for name in blocks for other in blocks if name.startswith(f"{other}.")]
    total, within = (
        sum(weight.numel() for part in parts for weight in part.parameters()) for parts in ([network], blocks.values())
    )
    assert within > 0.5 * total


def test_layers_are_counted_from_the_output_as_in_beit() -> None:
    network = build_segmenter("vit_tiny", 2, 1, 2)
    above = layers_above(network, "vit_tiny")
    named = {name: above[weight] for name, weight in network.named_parameters()}
    for name, layers in named.items():
        inner = name.removeprefix("backbone.")
        if inner == name or inner.startswith("norm."):
            assert layers == 0, name  # the decoder, output layers, and the last normalisation
        elif inner.startswith("blocks."):
            assert layers == 12 - int(inner.split(".")[1]), name
        else:
            assert layers == 13, name  # patches, positions, class token
    model = build_pretext_model(build_backbone("resnet10_quarter", 2), (32, 32), "rotation")
    above = layers_above(model, "resnet10_quarter")
    found = {name.split(".")[2]: above[weight] for name, weight in model.backbone.named_parameters(prefix="backbone")}
    assert found == {"conv1": 5, "bn1": 5, "layer1": 4, "layer2": 3, "layer3": 2, "layer4": 1}
    assert all(above[weight] == 0 for weight in model.tasks.parameters())
