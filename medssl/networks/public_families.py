"""Weights of others that are recognised by their names: transformers and SegResNet's encoder, and how ours call them.

A family is what a file can be told to be. Where such files are published, and under which terms, stands beside it; look
there before you use one, for terms change.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

State = Mapping[str, Tensor]


class Family(NamedTuple):
    """Files of one kind."""

    name: str
    """Whose network it is."""
    backbone: str
    """Which of ours takes them."""
    published: tuple[str, ...]
    """Name, place and terms of known files."""
    stem: str
    """The convolution that the image meets first, by its name in the file behind any prefix."""
    besides: str
    """Another name that the file must have, behind the same prefix."""
    unused: str
    """Pattern of names, behind the prefix, that belong to no feature extractor."""
    convert: Callable[[State], dict[str, Tensor]]
    """From names and values of the file to those of our backbone."""
    change: str = ""
    """What that changes beside names, in words."""

    def prefix(self, state: State) -> str | None:
        """What stands before every name of the network in a file; None where it is of another family."""
        starts = [key.removesuffix(f"{self.stem}.weight") for key in state if key.endswith(f"{self.stem}.weight")]
        return next((start for start in starts if f"{start}{self.besides}" in state), None)


VIT_NAMES = {
    "patch_embed.proj.": "patch_embedding.patch_embeddings.",
    ".attn.proj.": ".attn.out_proj.",
    ".mlp.fc1.": ".mlp.linear1.",
    ".mlp.fc2.": ".mlp.linear2.",
}
"""What timm and MONAI call the same layers of a ViT."""
_SCALED = {"ls1.gamma": "attn.proj", "ls2.gamma": "mlp.fc2"}
"""Factors of DINOv2's layers, and the linear layer whose outputs they multiply."""


def renamed_weights(state: State, names: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights with parts of their names replaced, one after the other."""
    renamed = {}
    for key, value in state.items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        renamed[key] = value
    return renamed


def monai_vit(state: State) -> dict[str, Tensor]:
    """A ViT under timm's names, of MAE or DINOv2 too, as MONAI's ``ViT``.

    The position of the class token is added to it, and DINOv2's factors (LayerScale, Touvron et al. 2021) are taken
    into the linear layers before them: both are the same. MONAI's layer normalisation has an epsilon of 1e-5, theirs
    has 1e-6, so features differ in the fifth digit.
    """
    values = dict(state)
    for key in [key for key in values if key.endswith(tuple(_SCALED))]:
        block, factor = key.rpartition(".ls")[0], values.pop(key)
        layer = f"{block}.{_SCALED[key.removeprefix(f'{block}.')]}"
        values[f"{layer}.weight"] = values[f"{layer}.weight"] * factor[:, None]
        values[f"{layer}.bias"] = values[f"{layer}.bias"] * factor
    if "pos_embed" in values and "cls_token" in values:
        positions = values.pop("pos_embed")
        values["cls_token"] = values["cls_token"] + positions[:, :1]
        values["patch_embedding.position_embeddings"] = positions[:, 1:]
    converted = renamed_weights(values, VIT_NAMES)
    for key in [key for key in converted if re.fullmatch(r"blocks\.\d+\.norm2\.weight", key)]:
        unused = key.replace("norm2.weight", "norm_cross_attn")  # MONAI's blocks have it, and use it nowhere
        converted[f"{unused}.weight"] = torch.ones_like(converted[key])
        converted[f"{unused}.bias"] = torch.zeros_like(converted[key])
    return converted


def monai_swin(state: State) -> dict[str, Tensor]:
    """The encoder of a SwinUNETR as MONAI's ``SwinTransformer``, for images of −1 … 1 in place of 0 … 1; exact."""
    converted = renamed_weights(state, {".mlp.fc1.": ".mlp.linear1.", ".mlp.fc2.": ".mlp.linear2."})
    weight, name = converted["patch_embed.proj.weight"], "patch_embed.proj.bias"
    half = weight / 2
    # Patches do not overlap and nothing is padded, so a shift of the values is one of the bias.
    return converted | {"patch_embed.proj.weight": half, name: converted[name] + half.flatten(1).sum(dim=1)}


_EVA_NAMES = {
    ".mlp.ffn_ln.": ".mlp.norm.",
    ".mlp.w12.": ".mlp.fc1.",
    ".mlp.w1.": ".mlp.fc1_g.",
    ".mlp.w2.": ".mlp.fc1_x.",
    ".mlp.w3.": ".mlp.fc2.",
}


def timm_eva(state: State) -> dict[str, Tensor]:
    """An EVA-02 under the names of its authors as timm's ``Eva``; timm's own names stay."""
    converted = renamed_weights(state, _EVA_NAMES)
    if "blocks.0.attn.q_proj.weight" not in converted:
        return converted
    return renamed_weights(converted, {".attn.q_bias": ".attn.q_proj.bias", ".attn.v_bias": ".attn.v_proj.bias"})


FAMILIES = (
    Family(
        "EVA-X's transformer (EVA-02)",
        "eva_x_tiny, eva_x_small or eva_x_base where its patches have 16 pixels, or timm:NAME",
        ("EVA-X, chest radiographs: github.com/hustvl/EVA-X, MIT by its README",),
        stem="patch_embed.proj",
        besides="blocks.0.attn.q_bias",
        unused=r"mask_token|lm_head|head|norm\.|fc_norm|(.*\.)?rope",
        convert=timm_eva,
    ),
    Family(
        "a ViT (timm's, MAE's, Medical MAE's, DINOv2's)",
        "vit_small or vit_base where its patches have 16 pixels, or timm:NAME",
        (
            "Medical MAE, chest radiographs: github.com/lambert-x/medical_mae, Apache-2.0",
            "RAD-DINO, chest radiographs, its DINOv2 checkpoint: huggingface.co/microsoft/rad-dino, MIT (MSRLA before)",
            "DeiT, MAE and DINOv2, ImageNet and others: their repositories, each with terms of its own",
        ),
        stem="patch_embed.proj",
        besides="blocks.0.attn.qkv.weight",
        unused=r"mask_token|decoder_|head|fc_norm|pre_logits|dist_token|head_dist",
        convert=monai_vit,
    ),
    Family(
        "SwinUNETR's or VoCo's Swin transformer",
        "swin, or swin_v2 for VoCo's",
        (
            "SwinUNETR, CT: github.com/Project-MONAI/MONAI-extra-test-data (model_swinvit.pt), Apache-2.0",
            "VoCo and VoComni, CT: github.com/Luffy03/Large-Scale-Medical, Apache-2.0",
        ),
        stem="patch_embed.proj",
        besides="layers1.0.blocks.0.attn.qkv.weight",
        unused=r"mask_token|rotation_|contrastive_|conv\.|head|norm\.",
        convert=monai_swin,
        change="the stem takes −1 … 1 for theirs of 0 … 1, both of −175 … 250 HU",
    ),
    Family(
        "SegResNet's encoder (CT-FM's)",
        "segresnet",
        ("CT-FM, CT of −1024 … 2048 HU: github.com/project-lighter/CT-FM, MIT",),
        stem="conv_init",
        besides="layers.0.blocks.0.conv1.weight",
        unused=r"head",
        convert=dict,
    ),
)
"""In the order in which files are held against them."""


def recognise(state: State) -> tuple[Family, dict[str, Tensor], list[str]] | None:
    """Of which family a file is, its feature extractor without prefix, and the names of all else; None of none."""
    for family in FAMILIES:
        prefix = family.prefix(state)
        if prefix is None:
            continue
        unused = re.compile(f"{re.escape(prefix)}({family.unused})")
        own = {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith(prefix) and not unused.match(key)
        }
        return family, own, [key for key in state if not key.startswith(prefix) or unused.match(key)]
    return None
