"""nnU-Net's network with an exported checkpoint gives the features that the backbone gives, axis by axis."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import medssl.networks.nnunet as ours
from medssl.commands import main
from medssl.networks import Backbone, build_backbone, nnunet_weights, save_backbone
from medssl.release import export_for_nnunet

SEEN = {"image_size": [40, 32, 24], "spacing": [1.0, 1.5, 3.0], "window": [-100, 200], "modality": "CT"}
FEATURES, BLOCKS = (4, 6, 8, 8, 8, 8), (1, 2, 1, 1, 1, 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Path]:
    """A backbone whose kernels differ along each axis, and its checkpoint."""
    pytest.importorskip("dynamic_network_architectures")
    folder = tmp_path_factory.mktemp("run")
    assert (ours.FEATURES, ours.BLOCKS) == ((32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6))  # nnU-Net's ResEncL
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:  # a hundred million weights would take a minute
        patch.setattr(ours, "FEATURES", FEATURES)
        patch.setattr(ours, "BLOCKS", BLOCKS)
        backbone = build_backbone("resenc_l", 3).eval()
        save_backbone(backbone, folder / "backbone.pt", **SEEN)
        assert main(["export", str(folder), "--to", str(folder / "out"), "--nnunet"]) == 0
    return backbone, folder / "out" / "checkpoint_final.pth"


def nnunet() -> Any:
    """The network that nnU-Net builds by the name ResEncL, but narrower, with random weights."""
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    return ResidualEncoderUNet(
        input_channels=1,
        n_stages=6,
        features_per_stage=list(FEATURES),
        conv_op=nn.Conv3d,
        kernel_sizes=[[3, 3, 3]] * 6,
        strides=[[1, 1, 1], *[[2, 2, 2]] * 5],
        n_blocks_per_stage=list(BLOCKS),
        num_classes=2,
        n_conv_per_stage_decoder=[1] * 5,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )


def load_by_plan(network: Any, checkpoint: dict[str, Any]) -> None:
    """As nnU-Net does: what stands below the plan's keys goes below the network's."""
    plan = checkpoint["nnssl_adaptation_plan"]
    for theirs, own in ((plan["key_to_stem"], network.key_to_stem), (plan["key_to_encoder"], network.key_to_encoder)):
        part = {key.removeprefix(f"{theirs}."): value for key, value in checkpoint["network_weights"].items()}
        missing, _ = network.get_submodule(own).load_state_dict(
            {key: value for key, value in part.items() if f"{theirs}.{key}" in checkpoint["network_weights"]},
            strict=False,
        )
        assert not missing


def load_by_nnunet(network: Any, checkpoint: dict[str, Any], path: Path) -> None:
    """By nnU-Net's own trainer, which looks into the checkpoint first."""
    trainers = pytest.importorskip("nnunetv2.training.nnUNetTrainer.pretraining.pretrainedTrainer")
    plan = checkpoint["nnssl_adaptation_plan"]
    configuration = next(iter(plan["pretrain_plan"]["configurations"].values()))
    trainers.PretrainedTrainer.load_pretrained_weights(
        network,
        pretrained_weights_path=str(path),
        pt_input_channels=plan["pretrain_num_input_channels"],
        downstream_input_channels=1,
        pt_input_patchsize=configuration["patch_size"],
        downstream_input_patchsize=plan["recommended_downstream_patchsize"],
        pt_key_to_encoder="",
        pt_key_to_stem="",
        pt_keys_to_in_proj=(),
        pt_key_to_lpe="",
    )


@pytest.mark.parametrize("way", ["plan", "nnunet"])
def test_the_same_features_of_the_same_volume(exported: tuple[Backbone, Path], way: str) -> None:
    backbone, path = exported
    checkpoint = torch.load(path, weights_only=True)
    network = nnunet().eval()
    if way == "plan":
        load_by_plan(network, checkpoint)
    else:
        load_by_nnunet(network, checkpoint, path)
    volume = torch.randn(1, 1, 64, 32, 32)  # [X, Y, Z]

    def turned(values: Tensor) -> Tensor:
        return values.permute(0, 1, 4, 3, 2)

    with torch.no_grad():
        for own, theirs in zip(backbone.pyramid(volume), network.encoder(turned(volume)), strict=True):
            torch.testing.assert_close(turned(theirs), own, rtol=1e-5, atol=1e-5)


def test_the_plan_says_how_the_network_was_trained(exported: tuple[Backbone, Path]) -> None:
    _, path = exported
    checkpoint = torch.load(path, weights_only=True)
    plan = checkpoint["nnssl_adaptation_plan"]
    assert json.loads((path.parent / "adaptation_plan.json").read_text()) == plan
    assert set(plan) == {
        *("key_to_encoder", "key_to_stem", "keys_to_in_proj", "key_to_lpe", "pretrain_plan", "architecture_plans"),
        *("pretrain_num_input_channels", "recommended_downstream_patchsize"),
    }
    assert all({"type", "name", "apa_citations"} <= set(each) for each in checkpoint["citations"])
    assert plan["recommended_downstream_patchsize"] == [32, 32, 64]  # Z, Y, X, and multiples of the stride
    configuration = next(iter(plan["pretrain_plan"]["configurations"].values()))
    assert (configuration["patch_size"], configuration["spacing"]) == ([24, 32, 40], [3.0, 1.5, 1.0])
    for name in plan["keys_to_in_proj"]:
        assert checkpoint["network_weights"][f"{name}.weight"].shape == (4, 1, 3, 3, 3)


def test_what_nnunet_does_not_take_is_said(tmp_path: Path) -> None:
    save_backbone(build_backbone("resnet10_quarter", 3), tmp_path / "backbone.pt", **SEEN)
    with pytest.raises(ValueError, match="takes resenc_l"):
        export_for_nnunet(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match=r"holds backbone\.json"):
        export_for_nnunet(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="no weights of resenc_l"):
        nnunet_weights(build_backbone("resnet10_quarter", 3).network.state_dict())
    flat = {"stem.convs.0.conv.weight": torch.ones(1, 1, 3, 3), "stages.5.x": torch.ones(1)}
    with pytest.raises(ValueError, match="3D alone"):
        nnunet_weights(flat)
