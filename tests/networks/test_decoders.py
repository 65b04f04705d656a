"""From feature maps back to images: which sizes come out, the paper's transposed convolution, and what lies where."""

from collections.abc import Sequence

import pytest
import torch
from families import FAMILIES, QUICK, skip_unless_for, slow_but
from torch import Tensor, nn

from medssl.networks import LightDecoder, TransposedDecoder, build_backbone, find_architecture


def slow_transposed(feature_map: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each place of the map stamps the kernel, 32 pixels from its neighbour; 16 pixels are cut off all round."""
    batch, _, rows, columns = feature_map.shape
    canvas = torch.zeros(batch, weight.shape[1], 32 * rows + 32, 32 * columns + 32, dtype=feature_map.dtype)
    for b in range(batch):
        for row in range(rows):
            for column in range(columns):
                stamp = sum(
                    value * kernel for value, kernel in zip(feature_map[b, :, row, column], weight, strict=True)
                )
                canvas[b, :, 32 * row : 32 * row + 64, 32 * column : 32 * column + 64] += stamp
    return canvas[:, :, 16:-16, 16:-16] + bias[:, None, None]


@pytest.mark.parametrize(
    "name", slow_but(QUICK, [name for name in FAMILIES if find_architecture(name).strides[-1] == 32])
)
@pytest.mark.parametrize("image_size", [(224, 224), (64, 96)])
def test_the_transposed_decoder_is_the_layer_of_the_paper(name: str, image_size: tuple[int, int]) -> None:
    backbone = build_backbone(name, 2).eval()
    decoder = TransposedDecoder(backbone, image_size, out_channels=2)
    (layer,) = decoder.children()
    assert type(layer) is nn.ConvTranspose2d
    assert (layer.in_channels, layer.out_channels) == (backbone.out_channels, 2)
    assert (layer.kernel_size, layer.stride, layer.padding) == ((64, 64), (32, 32), (16, 16))
    assert (layer.output_padding, layer.dilation, layer.groups) == ((0, 0), (1, 1), 1)
    with torch.no_grad():
        assert decoder(backbone(torch.randn(1, 1, *image_size))).shape == (1, 2, *image_size)


def test_the_transposed_decoder_stamps_its_kernel_at_every_place() -> None:
    backbone = build_backbone("resnet18", 2)
    decoder = TransposedDecoder(backbone, (64, 96), out_channels=2)
    feature_map = torch.randn(2, backbone.out_channels, 2, 3)
    with torch.no_grad():
        expected = slow_transposed(feature_map.double(), decoder.layer.weight.double(), decoder.layer.bias.double())
        torch.testing.assert_close(decoder(feature_map).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("spatial_dims", "image_size", "message"),
    [
        (2, (64, 40), r"multiples of 32 pixels, image_size is \[64, 40\]\. Change image_size, or set decoder: light"),
        (2, (31, 64), "multiples of 32 pixels"),
        (3, (64, 64, 64), "for 2D backbones of stride 32, not for resnet18 in 3D. Set decoder: light"),
    ],
)
def test_the_transposed_decoder_is_refused_elsewhere(
    spatial_dims: int, image_size: Sequence[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TransposedDecoder(build_backbone("resnet18", spatial_dims), image_size, out_channels=1)


@pytest.mark.parametrize("name", slow_but(QUICK, FAMILIES))
@pytest.mark.parametrize("image_size", [(33, 47), (96, 64), (33, 45, 37)])
def test_the_light_decoder_gives_images_of_any_size_and_is_light(name: str, image_size: tuple[int, ...]) -> None:
    dims = len(image_size)
    skip_unless_for(dims, name)
    backbone = build_backbone(name, dims).eval()
    decoder = LightDecoder(backbone, image_size, out_channels=2)
    with torch.no_grad():
        assert decoder(backbone(torch.randn(2, 1, *image_size))).shape == (2, 2, *image_size)
    weights, of_backbone = (sum(weight.numel() for weight in part.parameters()) for part in (decoder, backbone))
    assert weights < {2: 4e5, 3: 1e6}[dims]
    if name != "resnet10_quarter":  # which is no larger than a decoder itself
        assert weights < 0.11 * of_backbone  # what is thrown away afterwards is the small part


@pytest.mark.parametrize("kind", [TransposedDecoder, LightDecoder])
@pytest.mark.parametrize("image_size", [(128, 224), (128, 96, 64)])
def test_a_place_of_the_map_becomes_the_same_place_of_the_image(
    kind: type[nn.Module], image_size: tuple[int, ...]
) -> None:
    dims = len(image_size)
    if kind is TransposedDecoder and dims == 3:
        pytest.skip("the transposed decoder is for 2D")
    backbone = build_backbone("resnet18", dims)
    decoder = kind(backbone, image_size, 1).eval()
    cells = [side // 32 for side in image_size]
    feature_map = torch.rand(1, backbone.out_channels, *cells)
    with torch.no_grad():
        before = decoder(feature_map)
        for cell in ([0] * dims, [number - 1 for number in cells], [number // 2 for number in cells]):
            changed = feature_map.clone()
            changed[(0, slice(None), *cell)] += 1
            moved = (decoder(changed) - before).abs()[0, 0]
            for axis, (place, side) in enumerate(zip(cell, image_size, strict=True)):
                along = moved.sum(dim=[other for other in range(dims) if other != axis])
                # The middle of what moved lies in the cell, and nothing moved two cells away from it.
                middle = (along * torch.arange(side)).sum() / along.sum()
                assert 32 * place <= middle + 0.5 <= 32 * (place + 1)
                assert along[: max(0, 32 * (place - 2))].sum() == 0
                assert along[32 * (place + 3) :].sum() == 0


def test_the_light_decoder_doubles_the_resolution_up_to_a_quarter_and_deals_out_the_rest() -> None:
    decoder = LightDecoder(build_backbone("resnet18", 2), (224, 99), out_channels=1)
    assert decoder.sizes == [[14, 7], [28, 13], [56, 25]]
    # The sixteen channels of each place become its 4 × 4 pixels; the pixel too many is cut off.
    coarse = torch.arange(16 * 56 * 25.0).view(1, 16, 56, 25)
    decoder.exit, decoder.stages = nn.Identity(), nn.ModuleList([nn.Identity()] * 2 + [_Always(coarse)])
    images = decoder(torch.zeros(1, 512, 7, 4))
    assert images.shape == (1, 1, 224, 99)
    for row, column in ((0, 0), (1, 0), (0, 1), (101, 98), (223, 97)):
        channel = 4 * (row % 4) + column % 4
        assert images[0, 0, row, column] == coarse[0, channel, row // 4, column // 4]


def test_the_transposed_decoder_is_the_transposed_convolution() -> None:
    decoder = TransposedDecoder(build_backbone("resnet18", 2), (64, 96), out_channels=2)
    feature_map = torch.randn(3, 512, 2, 3, requires_grad=True)
    inputs = (feature_map, *decoder.parameters())
    weights = torch.randn(3, 2, 64, 96)
    expected = decoder.layer(feature_map)
    images = decoder(feature_map)
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad((output * weights).sum(), inputs) for output in (images, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


class _Always(nn.Module):
    """Gives the same whatever it gets."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, _: Tensor) -> Tensor:
        return self.output
