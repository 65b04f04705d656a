"""Local shuffling: voxels change places within small windows (Zhou et al. 2019, Sec. 2.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def window_numbers(window_size: Tensor, offset: Tensor, image_size: Sequence[int]) -> Tensor:
    """Which window each voxel lies in, for windows that tile the image without gaps.

    Args:
        window_size: sides of each image's windows in voxels, ``[B, spatial_dims]``.
        offset: how far the tiling is shifted, ``[B, spatial_dims]``, 0 ≤ offset < window_size.
        image_size: spatial shape.

    Returns:
        ``[B, voxels]`` (int64), voxels in the order of memory; windows at the border are smaller.
    """
    number = torch.zeros(len(window_size), *[1] * len(image_size), dtype=torch.long, device=window_size.device)
    for axis, side in enumerate(image_size):
        voxel = torch.arange(side, device=window_size.device) + offset[:, axis, None]
        along = voxel // window_size[:, axis, None]
        shape = [len(window_size), *[side if other == axis else 1 for other in range(len(image_size))]]
        number = number * (side + 1) + along.view(shape)
    return number.flatten(1)


def shuffle_within(images: Tensor, windows: Tensor, keys: Tensor) -> Tensor:
    """Rearrange the voxels of each window; all channels of a voxel stay together.

    Within a window the voxel of the smallest key moves to the first place, and so on. One sort of the whole image does
    what the paper's ten thousand overlapping blocks do, and every voxel stays within its own window.

    Args:
        images: ``[B, C, *spatial]``.
        windows: ``[B, voxels]``, see :func:`window_numbers`.
        keys: random integers, ``[B, voxels]``, below 2**32.
    """
    source = ((windows << 32) + keys).argsort(dim=1)
    target = windows.argsort(dim=1, stable=True)
    order = torch.empty_like(source).scatter_(1, target, source)
    flat = images.flatten(2)
    return flat.gather(2, order[:, None].expand_as(flat)).view_as(images)
