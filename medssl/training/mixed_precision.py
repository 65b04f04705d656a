"""Mixed precision for training, in the number type that the device computes in, on processors as well as on GPUs."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = frozenset({torch.conv2d, torch.conv3d, torch.conv_transpose2d, torch.conv_transpose3d})


def half_type(device: torch.device) -> torch.dtype:
    """The type of 16 bits to train in: float16 on a GPU that does not compute in bfloat16, which needs no scaling."""
    in_bfloat16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if in_bfloat16 else torch.float16


def computes_in_half(device: torch.device) -> bool:
    """Whether 16 bits are quicker than 32: on GPUs, and on processors with AVX512_BF16 or AMX.

    Others imitate them: a training step then takes 2 to 65 times as long (``benchmarks/results/fast_defaults_cpu.md``).
    Whether a processor's gradients are right in them, too, is asked by :class:`CheckPrecision`.
    """
    if device.type == "cpu":
        # torch has no public name for it yet.
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cuda"


class MixedPrecision(Inferer):
    """The forward pass of training under autocast; on a processor too, which MONAI's ``amp`` does not know.

    With float16 the gradients have to be scaled as well, which MONAI's trainer does when its ``amp`` is true.

    Args:
        enabled: whether to use :func:`half_type` of the images' device; otherwise all stays as it is.

    Attributes:
        right: whether :class:`CheckPrecision` found the gradients right in 16 bits; None before it looked. Where they
            are not, all stays as it is, too. A checkpoint keeps it, so that a resumed run computes as the one before.
    """

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled
        self.right: bool | None = None

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the network gives for images ``[B, C, *spatial]``."""
        half = self.enabled and self.right is not False
        short_maps = _ShortMapsInFull() if half and inputs.device.type == "cpu" else nullcontext()
        with torch.autocast(inputs.device.type, half_type(inputs.device), enabled=half), short_maps:
            return network(inputs, *args, **kwargs)

    def state_dict(self) -> dict[str, bool | None]:
        """What was found."""
        return {"right": self.right}

    def load_state_dict(self, state: dict[str, bool | None]) -> None:
        """Keep to what was found before."""
        self.right = state["right"]


class _ShortMapsInFull(TorchFunctionMode):
    """Convolutions whose kernel is as long as their map along some axis stay in 32 bits, whatever autocast wants.

    In bfloat16 oneDNN (torch 2.13, AVX-512) leaves parts of such a weight gradient as they were in memory, or writes
    past its end; see ``benchmarks/results/bfloat16_convolutions.json``. Such maps are small, and so is the price.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if function in CONVOLUTIONS and len(args) > 1 and _kernel_spans(*args[:2]):
            with torch.autocast("cpu", enabled=False):
                return function(args[0].float(), *args[1:], **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _kernel_spans(images: Tensor, weight: Tensor) -> bool:
    sides = images.shape[2 - weight.ndim :]  # without a batch, too
    return any(kernel >= max(side, 2) for kernel, side in zip(weight.shape[2:], sides, strict=True))
