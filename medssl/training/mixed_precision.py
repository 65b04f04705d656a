"""Mixed precision for training, in the number type that the device computes in, on processors as well as on GPUs."""

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor


def half_type(device: torch.device) -> torch.dtype:
    """The type of 16 bits to train in: float16 on a GPU that does not compute in bfloat16, which needs no scaling."""
    return torch.bfloat16 if device.type != "cuda" or _gpu_computes_in_bfloat16() else torch.float16


def computes_in_half(device: torch.device) -> bool:
    """Whether 16 bits are quicker than 32: on GPUs, and on processors with AVX512_BF16 or AMX.

    Others imitate them: a training step then takes 2 to 65 times as long (``benchmarks/results/fast_defaults_cpu.md``).
    """
    if device.type == "cpu":
        # torch has no public name for it yet.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cuda"


def _gpu_computes_in_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


class MixedPrecision(Inferer):
    """The forward pass of training under autocast; on a processor too, which MONAI's ``amp`` does not know.

    With float16 the gradients have to be scaled as well, which MONAI's trainer does when its ``amp`` is true.

    Args:
        enabled: whether to use :func:`half_type` of the images' device; otherwise all stays as it is.
    """

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the network gives for images ``[B, C, *spatial]``."""
        with torch.autocast(inputs.device.type, half_type(inputs.device), enabled=self.enabled):
            return network(inputs, *args, **kwargs)
