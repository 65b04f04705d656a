"""The few functions that MONAI's engines call for us in every step."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from torch import Tensor

from medssl.pretext import PretextModelOutput


def _plain(tensor: Tensor) -> Tensor:
    # Metadata that travels with a tensor is checked in every operation of the network; a step needs none of it.
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def prepare_images(
    batch: Mapping[str, Any], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, None]:
    """The images of a batch on the device, as a plain tensor; pre-training has no labels."""
    return _plain(batch["image"]).to(device, non_blocking=non_blocking, **kwargs), None


def prepare_labelled(
    batch: Mapping[str, Any], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """Images ``[B, C, *spatial]`` and labels ``[B, K]`` (1, 0, NaN) of a batch on the device, as plain tensors."""
    image = _plain(batch["image"]).to(device, non_blocking=non_blocking, **kwargs)
    return image, _plain(batch["label"]).to(device, non_blocking=non_blocking)


def step_output(engine: Engine) -> dict[str, Any]:
    """What MONAI's engines keep of the step that ended: image, label, pred and loss by ``CommonKeys``."""
    return cast(dict[str, Any], engine.state.output)


def pretext_loss(output: PretextModelOutput, _: None = None) -> Tensor:
    """The loss that a ``PretextModel`` computed already, for a trainer that wants a loss function."""
    return output.loss
