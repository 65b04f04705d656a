"""Transformers and SegResNet's encoder begin with files of the names and shapes that others publish: the same features.

Files are filled at random. The ViT is written out here; Swin's and SegResNet's are MONAI's classes, as the others' are.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets.segresnet_ds import SegResEncoder
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor

from medssl.errors import UserError
from medssl.networks import build_backbone, describe_init

State = dict[str, Tensor]


def vit(width: int, channels: int, scaled: bool) -> State:
    """The weights of a ViT of twelve layers on patches of 16 pixels, under timm's names; of images of 224."""

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape) / shape[-1] ** 0.5

    state = {
        "cls_token": drawn(1, 1, width),
        "pos_embed": drawn(1, 197, width),
        "patch_embed.proj.weight": drawn(width, channels, 16, 16) / 16,
        "patch_embed.proj.bias": drawn(width),
    }
    for block in range(12):
        linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
        for name, (outputs, inputs) in linear.items():
            state[f"blocks.{block}.{name}.weight"] = drawn(outputs * width, inputs * width)
            state[f"blocks.{block}.{name}.bias"] = drawn(outputs * width)
        for name in ("norm1", "norm2"):
            state |= {f"blocks.{block}.{name}.weight": 1 + drawn(width), f"blocks.{block}.{name}.bias": drawn(width)}
        if scaled:
            state |= {f"blocks.{block}.ls{number}.gamma": drawn(width) for number in (1, 2)}
    return state | {"norm.weight": 1 + drawn(width), "norm.bias": drawn(width)}


def vit_features(state: State, images: Tensor, heads: int) -> Tensor:
    """The mean of the patches' tokens (Dosovitskiy et al. 2021, Eq. 1 to 4)."""

    def norm(name: str, values: Tensor) -> Tensor:
        return F.layer_norm(values, values.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(name: str, values: Tensor) -> Tensor:
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    patches = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16)
    tokens = torch.cat([state["cls_token"].expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
    tokens = tokens + state["pos_embed"]
    for block in (f"blocks.{number}" for number in range(12)):
        split = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", tokens)).unflatten(2, (3, heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(dim=-1)
        attended = linear(f"{block}.attn.proj", (weights @ value).transpose(1, 2).flatten(2))
        tokens = tokens + attended * state.get(f"{block}.ls1.gamma", torch.ones(1))
        hidden = linear(f"{block}.mlp.fc2", F.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", tokens))))
        tokens = tokens + hidden * state.get(f"{block}.ls2.gamma", torch.ones(1))
    return norm("norm", tokens)[:, 1:].mean(dim=1)


def features(name: str, spatial_dims: int, path: Path, images: Tensor, **values: Any) -> Tensor:
    backbone = build_backbone(name, spatial_dims, init=path, **values).eval()
    with torch.no_grad():
        return backbone.pool(backbone(images))


def check_same(found: Tensor, expected: Tensor, share: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < share * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "width", "heads", "scaled"), [("vit_small", 384, 6, False), ("vit_tiny", 192, 3, True)]
)
def test_vits_of_masked_autoencoders_and_of_dinov2(
    name: str, width: int, heads: int, scaled: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    state = vit(width, 3, scaled)
    decoder = {"mask_token": torch.ones(1, 1, 8), "decoder_embed.weight": torch.ones(8, width)}
    # As Medical MAE saves it: with the options of the training.
    torch.save({"model": state | decoder, "epoch": 799, "args": Namespace(mask_ratio=0.9)}, tmp_path / "vit.pth")
    images = torch.randn(2, 1, 224, 224)
    expected = vit_features(state, images.repeat(1, 3, 1, 1), heads)
    check_same(features(name, 2, tmp_path / "vit.pth", images), expected, 1e-4)  # another epsilon, see `monai_vit`
    described = describe_init(tmp_path / "vit.pth", name, 2)["init"]
    assert "Medical MAE" in described["family"]
    with pytest.raises(UserError, match="It is for vit_small or vit_base"):
        build_backbone("resnet10_quarter", 2, init=tmp_path / "vit.pth")


@pytest.mark.parametrize(("name", "v2"), [("swin", False), ("swin_v2", True)])
def test_the_encoder_of_swin_unetr_and_of_voco(name: str, v2: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"depths": [2, 2, 2, 2], "num_heads": [3, 6, 12, 24], "window_size": [7, 7, 7], "patch_size": [2, 2, 2]}
    network: Any = SwinTransformer(in_chans=1, embed_dim=48, spatial_dims=3, use_v2=v2, **sizes).eval()
    state = network.state_dict()
    if v2:  # VoCo: a whole SwinUNETR
        file: Any = {f"swinViT.{key}": value for key, value in state.items()} | {"out.conv.conv.bias": torch.ones(21)}
    else:  # SwinUNETR's own: in parallel on several GPUs, with its heads, and other names of the MLP
        older = {key.replace("mlp.linear", "mlp.fc"): value for key, value in state.items()}
        heads = {"rotation_head.weight": torch.ones(4, 768), "conv.weight": torch.ones(1, 48, 1, 1, 1)}
        file = {"epoch": 1, "state_dict": {f"module.{key}": value for key, value in (older | heads).items()}}
    torch.save(file, tmp_path / "swin.pt")
    images = torch.rand(1, 1, 64, 32, 32)
    with torch.no_grad():
        expected = network(images)[-1].flatten(2).mean(dim=2)
    check_same(features(name, 3, tmp_path / "swin.pt", 2 * images - 1), expected, 2e-5)
    other = {"swin": "swin_v2", "swin_v2": "swin"}[name]
    with pytest.raises(UserError, match="It is for swin, or swin_v2"):
        build_backbone(other, 3, init=tmp_path / "swin.pt")


def test_the_encoder_of_ct_fm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SegResEncoder(spatial_dims=3, in_channels=1, init_filters=32, blocks_down=(1, 2, 2, 4, 4))
    images = torch.randn(2, 1, 32, 16, 16)
    with torch.no_grad():
        network.train()(images)  # statistics that are no longer those of a new network
        expected = network.eval()(images)[-1].flatten(2).mean(dim=2)
    whole = {f"encoder.{key}": value for key, value in network.state_dict().items()}
    torch.save(whole | {"up_layers.0.head.weight": torch.ones(2, 256, 1, 1, 1)}, tmp_path / "segresnet.pt")
    check_same(features("segresnet", 3, tmp_path / "segresnet.pt", images), expected)
    torch.save(network.state_dict(), tmp_path / "encoder.pt")
    assert "CT-FM" in describe_init(tmp_path / "encoder.pt", "segresnet", 3)["init"]["family"]


EVA_BY_ITS_AUTHORS = {"mlp.norm": "mlp.ffn_ln", "mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2", "mlp.fc1.": "mlp.w12."}


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ("tiny", {"embed_dim": 192, "num_heads": 3}),
        ("base", {"embed_dim": 768, "num_heads": 12, "qkv_fused": False, "scale_mlp": True}),
    ],
)
def test_eva_x(size: str, sizes: dict[str, Any], tmp_path: Path) -> None:
    """timm's class with the values that EVA-X's authors give it, and a file with the names of their training."""
    eva = pytest.importorskip("timm.models.eva")
    torch.manual_seed(0)
    grid = {"img_size": 224, "patch_size": 16, "ref_feat_shape": (14, 14), "use_rot_pos_emb": True}
    network = eva.Eva(depth=12, mlp_ratio=4 * 2 / 3, swiglu_mlp=True, num_classes=0, **grid, **sizes).eval()
    state = {}
    for key, value in network.state_dict().items():
        for theirs, authors in (EVA_BY_ITS_AUTHORS | {"mlp.fc2": "mlp.w3", "_proj.bias": "_bias"}).items():
            key = key.replace(theirs, authors)
        state[key.replace("fc_norm", "norm")] = torch.nn.init.normal_(value, std=0.05)  # the network's own, too
    state |= {"mask_token": torch.ones(1, 1, 8), "lm_head.weight": torch.ones(8, 8), "rope.freqs_cos": torch.ones(8)}
    torch.save({"module": state}, tmp_path / "eva_x.pt")
    images = torch.randn(2, 1, 224, 224)
    with torch.no_grad():
        tokens = network.forward_intermediates(images.repeat(1, 3, 1, 1), indices=1, intermediates_only=True)[-1]
    check_same(features(f"eva_x_{size}", 2, tmp_path / "eva_x.pt", images), tokens.flatten(2).mean(dim=2))
    assert "EVA-X" in describe_init(tmp_path / "eva_x.pt", f"eva_x_{size}", 2)["init"]["family"]
    with pytest.raises(UserError, match="It is for eva_x_tiny, eva_x_small"):
        build_backbone("resnet10_quarter", 2, init=tmp_path / "eva_x.pt")


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "vit_small_patch14_dinov2", "resnet18"])
def test_networks_of_timm_take_its_own_files(model: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model(model, pretrained=False, **({} if model == "resnet18" else {"dynamic_img_size": True}))
    torch.save(network.state_dict(), tmp_path / "timm.pth")
    images = torch.randn(2, 1, 112, 112)
    with torch.no_grad():
        maps = network.eval().forward_intermediates(images.repeat(1, 3, 1, 1), intermediates_only=True)
    check_same(features(f"timm:{model}", 2, tmp_path / "timm.pth", images), maps[-1].flatten(2).mean(dim=2))
