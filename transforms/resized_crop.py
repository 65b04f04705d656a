"""Random crops brought back to the size of the image, for a whole batch in one call."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def draw_resized_crops(
    batch_size: int,
    spatial_dims: int,
    scale: Sequence[float],
    ratio: Sequence[float],
    device: torch.device,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Crops of random size, proportion and place, each wholly inside the image.

    Args:
        batch_size: number of images.
        spatial_dims: 2 or 3.
        scale: lowest and highest share of the image's area (volume), drawn uniformly.
        ratio: lowest and highest proportion of any two sides, relative to those of the image; 1/r and r. Crops that
            are nearly as large as the image come closer to its own proportions.
        device: of the result.
        generator: instead of torch's global one.

    Returns:
        Centre and side of each crop, both ``[B, spatial_dims]``, in units of the image's sides: the whole image has the
        centre ½ and the side 1.
    """
    random = torch.rand(batch_size, 1 + 2 * spatial_dims, device=device, generator=generator)
    area = scale[0] + random[:, :1] * (scale[1] - scale[0])
    # Each side takes half of the logarithm, so that no proportion of two sides leaves ``ratio``.
    low, high = math.log(ratio[0]) / 2, math.log(ratio[1]) / 2
    stretch = low + random[:, 1 : 1 + spatial_dims] * (high - low)
    stretch = stretch - stretch.mean(dim=1, keepdim=True)
    # No side may exceed the image's; less stretch, not a smaller area, sees to that.
    room = -area.log() / spatial_dims
    stretch = stretch * (room / stretch.amax(dim=1, keepdim=True).clamp(min=1e-9)).clamp(max=1)
    sides = (stretch - room).exp().clamp(max=1)
    centres = sides / 2 + random[:, 1 + spatial_dims :] * (1 - sides)
    return centres, sides


def resize_crops(images: Tensor, centres: Tensor, sides: Tensor, mirrored: Tensor) -> Tensor:
    """Cut out each image's crop, resized to the size of the image (bi- or trilinear) and mirrored where asked for.

    Args:
        images: ``[B, C, *spatial]``.
        centres, sides: ``[B, spatial_dims]``, see :func:`draw_resized_crops`.
        mirrored: along which axes, ``[B, spatial_dims]`` (bool).
    """
    # affine_grid counts axes from the last and runs from −1 to 1.
    signed = torch.where(mirrored, -sides, sides)
    matrices = torch.cat([torch.diag_embed(signed.flip(1)), (2 * centres - 1).flip(1)[..., None]], dim=2)
    grid = F.affine_grid(matrices.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
