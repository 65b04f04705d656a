"""A vision transformer as tokens and maps: MONAI's own answer on its own grid, other grids, visible tokens alone."""

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import ViT

from medssl.networks import build_backbone, find_architecture

NATIVE = {2: 224, 3: 96}
both_dims = pytest.mark.parametrize("spatial_dims", [2, 3])


@both_dims
def test_on_its_own_grid_the_map_is_what_monai_gives(spatial_dims: int) -> None:
    backbone = build_backbone("vit_tiny", spatial_dims).eval()
    values = find_architecture("vit_tiny", spatial_dims).defaults
    monai = ViT(in_channels=1, spatial_dims=spatial_dims, **values).eval()
    unused = monai.load_state_dict(backbone.network.state_dict(), strict=False)
    assert unused.unexpected_keys == []
    assert all(key.startswith("classification_head.") for key in unused.missing_keys)
    monai.classification_head = torch.nn.Identity()  # MONAI gives the class token alone, so its layers are asked
    images = torch.randn(1, 1, *[NATIVE[spatial_dims]] * spatial_dims)
    with torch.no_grad():
        _, layers = monai(images)
        maps = backbone.pyramid(images)
        expected = [layers[3][:, 1:], layers[7][:, 1:], monai.norm(layers[11])[:, 1:]]
    side = NATIVE[spatial_dims] // 16
    for tokens, found, factor in zip(expected, maps, (4, 2, 1), strict=True):
        for place in [(0,) * spatial_dims, (side - 1, 2, 1)[:spatial_dims]]:
            number = sum(index * side**power for power, index in enumerate(reversed(place)))
            cell = found[(0, slice(None), *(slice(factor * index, factor * (index + 1)) for index in place))]
            torch.testing.assert_close(cell.flatten(), tokens[0, number], rtol=1e-4, atol=1e-5)


@both_dims
def test_tokens_lie_where_their_patches_do_and_sides_are_filled_up(spatial_dims: int) -> None:
    backbone = build_backbone("vit_tiny", spatial_dims).double().eval()
    images = torch.randn(1, 1, *(40, 16, 50)[:spatial_dims], dtype=torch.float64)
    grid = (3, 1, 4)[:spatial_dims]
    with torch.no_grad():
        tokens = backbone.embed(images)
        last = backbone(images)
    assert last.shape == (1, 192, *grid)
    torch.testing.assert_close(backbone.encode(tokens).transpose(1, 2).unflatten(2, grid), last)
    # Written out: each patch times the kernel, and the positions of a 14 × 14 (6 × 6 × 6) grid spread over the image.
    embedding = backbone.network.patch_embedding
    kernel, known = embedding.patch_embeddings, embedding.position_embeddings[0]
    side = {2: 14, 3: 6}[spatial_dims]
    spread = F.interpolate(
        known.T.reshape(1, 192, *[side] * spatial_dims),
        grid,
        mode={2: "bicubic", 3: "trilinear"}[spatial_dims],
    )[0]
    filled = torch.zeros(*(16 * count for count in grid), dtype=torch.float64)
    filled[tuple(map(slice, images.shape[2:]))] = images[0, 0]
    for number, place in enumerate(torch.cartesian_prod(*map(torch.arange, grid)).tolist()):
        patch = filled[tuple(slice(16 * index, 16 * index + 16) for index in place)]
        expected = (kernel.weight[:, 0] * patch).flatten(1).sum(1) + kernel.bias + spread[(slice(None), *place)]
        torch.testing.assert_close(tokens[0, number], expected)


@both_dims
def test_visible_tokens_are_encoded_without_the_hidden_ones(spatial_dims: int) -> None:
    backbone = build_backbone("vit_tiny", spatial_dims).eval()
    images = torch.randn(2, 1, *[48] * spatial_dims)
    visible = torch.tensor([[0, 5, 7], [8, 2, 1]])
    changed = images.clone()
    changed[(0, 0, *[slice(16, 32)] * spatial_dims)] = 9  # a patch that the first image hides
    with torch.no_grad():
        picked = [backbone.embed(each).gather(1, visible[..., None].expand(-1, -1, 192)) for each in (images, changed)]
        answers = [backbone.encode(tokens) for tokens in picked]
        order = [2, 0, 1]
        shuffled = backbone.encode(picked[0][:, order])
    assert answers[0].shape == (2, 3, 192)
    assert torch.equal(answers[0], answers[1])
    torch.testing.assert_close(shuffled, answers[0][:, order], rtol=1e-4, atol=1e-5)  # the place is in the token


def test_a_network_without_tokens_says_so() -> None:
    backbone = build_backbone("resnet10_quarter", 2)
    with pytest.raises(ValueError, match="resnet10_quarter has no tokens: take a vision transformer"):
        backbone.embed(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="no tokens"):
        backbone.encode(torch.zeros(1, 4, 128))
