"""From a run to a checkpoint that nnU-Net begins with: the weights, and the plan that says what they are of.

The plan is that of nnssl (Wald et al. 2025, An OpenMind for 3D medical vision self-supervised learning), which
``nnUNetv2_preprocess_like_nnssl`` and ``nnUNetv2_train_pretrained`` read.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medssl.errors import UserError
from medssl.files import whole_file, write_json
from medssl.networks import nnunet_weights
from medssl.networks.trained_backbone import trained_backbone
from medssl.transforms import View

CHECKPOINT, PLAN = "checkpoint_final.pth", "adaptation_plan.json"
"""As nnU-Net looks for them in a folder or on Hugging Face."""
BACKBONE = "resenc_l"
STRIDE = 32
"""Voxels of which each side of a patch is a multiple."""
CITATIONS: tuple[dict[str, Any], ...] = (
    {
        "type": "Architecture",
        "name": "ResEncL",
        "apa_citations": [
            "Isensee, F., Wald, T., Ulrich, C., Baumgartner, M., Roy, S., Maier-Hein, K., & Jaeger, P. F. (2024). "
            "nnU-Net revisited: A call for rigorous validation in 3D medical image segmentation. MICCAI 2024."
        ],
    },
)


def export_for_nnunet(run: str | Path, to: str | Path) -> str:
    """Write the checkpoint of a run's backbone for nnU-Net, and its plan beside it once more.

    Args:
        run: output_dir of a pre-training of ``resenc_l`` on volumes, or of what was trained from it; or its weights.
        to: folder for both files; a new one, or that of an earlier export.

    Returns:
        What was done, and what to type next: for the screen.

    Raises:
        MissingFileError: there are no weights, or no description of them.
        UserError: they are of another network or of 2D images; or something else lies in the folder.
    """
    folder = Path(to)
    others = (
        sorted(path.name for path in folder.iterdir() if path.name not in (CHECKPOINT, PLAN)) if folder.is_dir() else []
    )
    if others:
        raise UserError(f"{folder} holds {others[0]}, which is no checkpoint for nnU-Net: name a new folder.")
    backbone, description = trained_backbone(run)
    if backbone.name != BACKBONE:
        raise UserError(f"{run} is a {backbone.name}, and nnU-Net takes {BACKBONE}: pre-train that one.")
    weights = nnunet_weights(backbone.network.state_dict())
    plan = adaptation_plan(View.from_dict(description, str(run)), backbone.in_channels)
    content = {"network_weights": weights, "citations": list(CITATIONS), "nnssl_adaptation_plan": plan}
    with whole_file(folder / CHECKPOINT) as part:
        torch.save(content, part)
    write_json(folder / PLAN, plan)
    return (
        f"The checkpoint for nnU-Net: {folder / CHECKPOINT} ({len(weights)} weights), its plan beside it.\n"
        f"Next: nnUNetv2_preprocess_like_nnssl -d DATASET -n NAME -pc {folder / CHECKPOINT} -am like_pretrained, then "
        "nnUNetv2_train_pretrained"
    )


def adaptation_plan(view: View, in_channels: int) -> dict[str, Any]:
    """What nnU-Net asks of a pre-trained network, as plain values; sizes in its order, Z, Y, X.

    Args:
        view: what the network saw of a volume.
        in_channels: channels of a volume.
    """
    patch = list(view.image_size[::-1])
    return {
        "architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs": None, "arch_kwargs_requiring_import": None},
        "pretrain_plan": {
            "dataset_name": "medssl",
            "plans_name": "medssl",
            "original_median_spacing_after_transp": _spacing(view) or [1.0, 1.0, 1.0],
            "image_reader_writer": "NibabelIOWithReorient",
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "configurations": {"medssl": _configuration(view, patch)},
            "experiment_planner_used": "medssl",
        },
        "pretrain_num_input_channels": in_channels,
        "recommended_downstream_patchsize": [STRIDE * math.ceil(side / STRIDE) for side in patch],
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
        "key_to_lpe": None,
    }


def _configuration(view: View, patch: list[int]) -> Mapping[str, Any]:
    spacing = _spacing(view)
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": False}
    return {
        "data_identifier": "medssl",
        "preprocessor_name": "DefaultPreprocessor",
        "spacing_style": "median" if spacing else "noresample",
        "normalization_schemes": ["CTNormalization" if view.window else "ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_mask": "resample_data_or_seg_to_shape",
        "resampling_fn_mask_kwargs": resampling | {"is_seg": True},
        "spacing": spacing,
        "patch_size": patch,
    }


def _spacing(view: View) -> list[float] | None:
    """Sides of a voxel in mm along Z, Y, X; None where volumes kept one of their own."""
    spacing = view.spacing or ()
    return list(spacing[::-1]) if spacing and min(spacing) > 0 else None
