"""Networks for segmentation: sizes, what each level sees, learning, weights in, and life without medssl's registry."""

import copy
import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from families import every_family
from monai.bundle import ConfigParser
from torch import Tensor

from medssl.networks import (
    PyramidDecoder,
    Segmenter,
    build_backbone,
    build_segmenter,
    fast_layout,
    find_architecture,
    load_backbone_weights,
    read_description,
    save_backbone,
    segmenter_description,
)


def network(spatial_dims: int = 2, num_classes: int = 3, deep_supervision: int = 0) -> Segmenter:
    return build_segmenter("resnet10_quarter", spatial_dims, 1, num_classes, deep_supervision)


@every_family
def test_logits_have_the_size_of_the_images_whatever_it_is(name: str, spatial_dims: int) -> None:
    segmenter = build_segmenter(name, spatial_dims, in_channels=2, num_classes=3).eval()
    assert segmenter.decoder.out_channels[0] == 16
    # Odd sides, few slices of many pixels, sides that several levels round up or (pooling) down.
    smallest = find_architecture(name).smallest_side
    for sides in ((33, 70), (64, 47)) if spatial_dims == 2 else ((smallest + 4, 47, 35), (64, 33, 32)):
        with torch.no_grad():
            logits = segmenter(torch.randn(1, 2, *sides))
        assert logits.shape == (1, 3, *sides)


@every_family
def test_a_config_names_the_network_by_monai_and_two_files_that_travel(name: str, spatial_dims: int) -> None:
    described = segmenter_description(name, spatial_dims, 1, 2)
    built = ConfigParser({"network_def": described}).get_parsed_content("network_def").eval()
    direct = build_segmenter(name, spatial_dims, 1, 2).eval()
    built.load_state_dict(direct.state_dict())  # strict
    images = torch.randn(1, 1, *[37] * spatial_dims)
    with torch.no_grad():
        assert torch.equal(built(images), direct(images))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_weight_gets_a_gradient_also_of_the_coarser_outputs(spatial_dims: int) -> None:
    segmenter = network(spatial_dims, deep_supervision=2)
    outputs = segmenter(torch.randn(2, 1, *(45, 40, 38)[:spatial_dims]))
    assert [each.shape[2] for each in outputs] == [45, 23, 12]  # fine to coarse
    assert all(each.shape[1] == 3 for each in outputs)
    sum(each.square().mean() for each in outputs).backward()
    assert [key for key, weight in segmenter.named_parameters() if weight.grad is None] == []
    assert isinstance(segmenter.eval()(torch.randn(1, 1, *[32] * spatial_dims)), Tensor)


@pytest.mark.parametrize(("deep_supervision", "channels"), [(5, None), (-1, None), (0, (32, 16)), (0, (8,) * 6)])
def test_levels_that_the_decoder_has_not_are_refused(deep_supervision: int, channels: tuple[int, ...] | None) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 4, .* got|must be 5 numbers .* got"):
        build_segmenter("resnet18", 2, 1, 2, deep_supervision, channels)


def test_the_decoder_is_the_u_net_written_out() -> None:
    segmenter = network().eval()
    images = torch.randn(2, 1, 37, 50)
    backbone = build_backbone("resnet10_quarter", 2).eval()
    backbone.network.load_state_dict(segmenter.backbone.state_dict())
    with torch.no_grad():
        *skips, features = [images, *backbone.pyramid(images)]
        for block, skip in zip(segmenter.decoder.blocks, skips[::-1], strict=True):
            narrow = F.conv2d(features, block.narrow.weight, block.narrow.bias)
            rows, columns = (
                torch.tensor([place * coarse // fine for place in range(fine)])
                for coarse, fine in zip(features.shape[2:], skip.shape[2:], strict=True)
            )
            features = torch.cat([skip, narrow[:, :, rows][:, :, :, columns]], dim=1)
            for layer in block.convolutions:
                features = F.conv2d(features, layer.conv.weight, padding=1)
                norm = layer.adn.N
                features = F.relu(
                    F.batch_norm(features, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
                )
        (head,) = segmenter.head
        torch.testing.assert_close(segmenter(images), F.conv2d(features, head.weight, head.bias), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_it_learns_where_the_bright_ball_is_in_a_few_steps(spatial_dims: int) -> None:
    torch.manual_seed(0)
    segmenter = network(spatial_dims, num_classes=1).to(memory_format=fast_layout("resnet10_quarter", spatial_dims))
    optimizer = torch.optim.Adam(segmenter.parameters(), 1e-2)
    size = (32, 36) if spatial_dims == 2 else (20, 20, 16)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        axes = torch.meshgrid(*[torch.arange(side) for side in size], indexing="ij")
        centres = [5 + torch.rand(count, *[1] * spatial_dims) * (side - 10) for side in size]
        inside = sum((axis - centre) ** 2 for axis, centre in zip(axes, centres, strict=True)) < 25
        masks = inside[:, None].float()
        return masks + 0.5 * torch.randn_like(masks), masks

    for _ in range(25):
        images, masks = draw(4)
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(segmenter(images), masks).backward()
        optimizer.step()
    images, masks = draw(4)
    with torch.no_grad():
        found = segmenter.train()(images) > 0
    dice = 2 * (found * masks).sum() / (found.sum() + masks.sum())
    assert dice > 0.75  # a threshold on the image finds 0.6 at most


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_it_can_be_exported_for_any_size_and_copied() -> None:
    segmenter = network().eval()
    images, others = torch.randn(2, 1, 48, 48), torch.randn(2, 1, 45, 40)
    sizes = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    exported = torch.export.export(segmenter, (images,), dynamic_shapes=(sizes,)).module()
    traced = torch.jit.trace(segmenter, images)
    with torch.no_grad():
        for given in (images, others):
            expected = copy.deepcopy(segmenter)(given)
            torch.testing.assert_close(traced(given), expected)
            torch.testing.assert_close(exported(given), expected)


def pretrained(folder: Path, with_decoder: bool = True) -> PyramidDecoder:
    """A backbone in a folder, with its decoder beside it."""
    backbone = build_backbone("resnet10_quarter", 2)
    head = PyramidDecoder(backbone, (32, 32), 1)
    save_backbone(backbone, folder / "backbone.pt", decoder=head.decoder if with_decoder else None)
    return head


def test_the_pretrained_backbone_and_decoder_arrive_and_the_output_layer_is_new(tmp_path: Path) -> None:
    head = pretrained(tmp_path)
    segmenter = network(deep_supervision=1)
    before = copy.deepcopy(segmenter.state_dict())
    assert load_backbone_weights(segmenter, tmp_path) is segmenter
    assert read_description(tmp_path / "backbone.pt")["decoder"] == {"decoder_channels": [64, 32, 16, 16, 16]}
    backbone = torch.load(tmp_path / "backbone.pt", weights_only=True)
    for key, value in segmenter.state_dict().items():
        part, _, name = key.partition(".")
        source = {"backbone": backbone, "decoder": head.decoder.state_dict(), "head": before}[part]
        assert torch.equal(value, source[key if part == "head" else name]), key
    assert not torch.equal(before["decoder.blocks.0.narrow.weight"], head.decoder.blocks[0].narrow.weight)


@pytest.mark.parametrize("reason", ["none was kept", "not wanted", "no description"])
def test_without_a_decoder_the_segmenters_own_stays(
    reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pretrained(tmp_path, with_decoder=reason != "none was kept")
    if reason == "no description":
        (tmp_path / "backbone.json").unlink()
    segmenter = network()
    before = copy.deepcopy(segmenter.decoder.state_dict())
    load_backbone_weights(segmenter, tmp_path, decoder=reason != "not wanted")
    assert all(torch.equal(value, before[key]) for key, value in segmenter.decoder.state_dict().items())
    assert ("No decoder was pre-trained" in caplog.text) is (reason != "not wanted")


def test_a_decoder_of_other_channels_is_refused(tmp_path: Path) -> None:
    pretrained(tmp_path)
    segmenter = build_segmenter("resnet10_quarter", 2, 1, 2, decoder_channels=(64, 32, 16, 16, 8))
    with pytest.raises(ValueError, match=r"has decoder_channels \[64, 32, 16, 16, 16\], the segmenter \[64, .* 8\]"):
        load_backbone_weights(segmenter, tmp_path)


def test_a_segmenter_begins_with_public_weights_and_a_backbone_with_those_of_a_segmenter(tmp_path: Path) -> None:
    pretrained(tmp_path)
    weights = torch.load(tmp_path / "backbone.pt", weights_only=True)
    segmenter = build_segmenter("resnet10_quarter", 2, 1, 2, init=tmp_path / "backbone.pt")
    torch.save(segmenter.state_dict(), tmp_path / "segmenter.pt")
    backbone = build_backbone("resnet10_quarter", 2, init=tmp_path / "segmenter.pt")
    for part in (segmenter.backbone, backbone.network):
        assert all(torch.equal(value, weights[key]) for key, value in part.state_dict().items())
