"""A convolutional network that sees the visible parts of images as if there were nothing else (Tian et al. 2023)."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd
from torch.overrides import TorchFunctionMode

from medssl.losses import gather_with_gradient
from medssl.losses.precision import at_least_single

SPATIAL = (_ConvNd, _AvgPoolNd, _MaxPoolNd)
"""Layers that carry what is visible into what is hidden."""
NORMALISATIONS = (_BatchNorm, _InstanceNorm, nn.GroupNorm)
"""Layers whose statistics would count what is hidden."""


class Masked(TorchFunctionMode):
    """Meanwhile a network gives zero wherever an image is hidden, and its statistics are those of visible voxels.

    That is what sparse convolutions compute, densely: the mask is applied again after each convolution and each pooling
    (Tian et al. 2023, Sec. 3.1), so that it does not fade from layer to layer, and zeros do not shift the statistics of
    the normalisations. A voxel of a coarse map is visible where any voxel of the image in it is.

    ``with Masked(backbone, visible): …``. It is a mode of torch, though it leaves torch's functions as they are, so
    that blocks that are computed again for the gradient (`checkpoint_activations`) find it again.

    Args:
        network: of convolutions, poolings, batch, instance and group normalisations, and layers that leave zero at
            zero; running statistics are updated as usual, by the visible voxels. What averages a whole map by itself,
            such as squeeze and excitation, counts the zeros.
        visible: ``[B, 1, *spatial]`` (bool), of the images that it will see, which are zero elsewhere.
    """

    def __init__(self, network: nn.Module, visible: Tensor) -> None:
        super().__init__()
        self.masks = _Masks(visible)
        self.spatial = [module for module in network.modules() if isinstance(module, SPATIAL)]
        self.normalisations = [module for module in network.modules() if isinstance(module, NORMALISATIONS)]

    def __enter__(self) -> Self:
        self.hooks = [module.register_forward_hook(self.masks.apply) for module in self.spatial]
        for module in self.normalisations:
            vars(module)["forward"] = partial(_normalise, module, self.masks)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for module in self.normalisations:
            del vars(module)["forward"]
        for hook in self.hooks:
            hook.remove()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


def visible_at(visible: Tensor, size: Sequence[int]) -> Tensor:
    """Which voxels of a map of some ``size`` hold a visible one of the images, ``[B, 1, *size]`` (float32)."""
    pool = F.adaptive_max_pool2d if visible.ndim == 4 else F.adaptive_max_pool3d
    return pool(visible.float(), tuple(size))


class _Masks:
    """Of each size and type that a layer asks for, made once."""

    def __init__(self, visible: Tensor) -> None:
        self.visible = visible
        self.made: dict[tuple[torch.Size, torch.dtype], Tensor] = {}

    def like(self, features: Tensor) -> Tensor:
        key = features.shape[2:], features.dtype
        if key not in self.made:
            self.made[key] = visible_at(self.visible, features.shape[2:]).to(features.dtype)
        return self.made[key]

    def apply(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output * self.like(output)


def _normalise(module: Any, masks: _Masks, features: Tensor) -> Tensor:
    """What the layer makes of features ``[B, C, *spatial]`` that are zero where hidden; zero there again."""
    mask = masks.like(features)
    groups = getattr(module, "num_groups", features.shape[1])
    running = isinstance(module, _NormBase) and module.running_mean is not None
    if running and not module.training:
        kept: tuple[Tensor, Tensor] = module.running_mean, module.running_var
        mean, variance = (part.view(1, -1, *[1] * (features.ndim - 1)) for part in kept)
    else:
        mean, variance, count = _moments(features.unflatten(1, (groups, -1)), mask.unsqueeze(1), module)
        if running:
            _follow(module, mean, variance, count)
    scale = (variance + module.eps).rsqrt()
    # A number for each channel, of each image or of all: [B or 1, C, 1, …].
    mean, scale = (
        part.expand(-1, -1, features.shape[1] // groups, *[-1] * (features.ndim - 2)).flatten(1, 2)
        for part in (mean, scale)
    )
    shape = 1, -1, *[1] * (features.ndim - 2)
    scale = scale if module.weight is None else scale * module.weight.view(shape)
    shift = -mean * scale if module.bias is None else module.bias.view(shape) - mean * scale
    # Features are zero where hidden: it is the shift that has to be masked.
    return torch.addcmul(shift * mask, features, scale).to(features.dtype)


def _moments(grouped: Tensor, mask: Tensor, module: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of the visible voxels, from those of all, for the hidden are zero; and how many there are.

    Args:
        grouped: ``[B, G, C / G, *spatial]``.
        mask: ``[B, 1, 1, *spatial]``.
        module: batch normalisations take the moments over all images, and where they are synchronised those of all
            processes.

    Returns:
        Moments ``[B or 1, G, 1, 1, …]`` and count ``[B or 1, 1, 1, 1, …]``, in float32 at least.
    """
    axes = tuple(range(2, grouped.ndim))
    if isinstance(module, _BatchNorm):
        axes = (0, *axes)
    grouped, mask = at_least_single(grouped), at_least_single(mask)
    # Half the time of `torch.var_mean` on two cores.
    mean, square, share = (part.mean(dim=axes, keepdim=True) for part in (grouped, grouped.square(), mask))
    voxels = grouped[:, 0].numel() if 0 in axes else grouped[0, 0].numel()
    if isinstance(module, nn.SyncBatchNorm):
        everywhere = [gather_with_gradient(part) for part in (mean, square, share)]
        mean, square, share = (part.mean(dim=0, keepdim=True) for part in everywhere)
        voxels *= len(everywhere[0])
    mean, square, count = mean / share, square / share, share * voxels
    return mean, (square - mean.square()).clamp(min=0), count


@torch.no_grad()
def _follow(module: Any, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Let running statistics follow those of a mini-batch, as the layer itself would."""
    module.num_batches_tracked += 1
    momentum = 1 / module.num_batches_tracked if module.momentum is None else module.momentum
    unbiased = variance * (count / (count - 1).clamp(min=1))
    for running, newest in ((module.running_mean, mean), (module.running_var, unbiased)):
        running.lerp_(newest.mean(dim=0).flatten().to(running.dtype), momentum)
