"""Random views of an image for contrastive tasks.

Chen et al. 2020, Sec. 2.1; Chen & He 2021, Sec. 3; Dong et al. 2024, Sec. 6.2.4.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.errors import UserError

from .affine import rotations, sample
from .batch_augmentation import BatchAugmentation
from .intensity import blur, jitter_intensity, per_image, value_range

REFERENCE_SIDE = 224
"""Blur widths are given for images of this side, and shrink with it."""


class ContrastiveView(BatchAugmentation):
    """One random view of each image of a batch: resized crop, mirroring, brightness and contrast, blur; turn and noise.

    Dong et al. turn the grey image into RGB, augment it there as for photographs and turn it back. On an image whose
    three channels are equal, the parts of that recipe which change colour (saturation, hue, random greyscale) change
    nothing (5e-4 in torchvision, whose weights of the channels sum to 0.9999), so the views drawn here, in grey and at
    a third of the work, are the same.

    Values are mapped onto 0..1 for the changes of intensity and back onto the image's own range.

    Args:
        scale: share of the image's area (volume) that a crop keeps.
        ratio: lowest and highest proportion of a crop's sides, relative to the image's: 1/r and r.
        mirror_axes: spatial axes along which half of the views are mirrored; (1,) is left-right in a radiograph
            [rows, columns], (0,) in a volume in RAS order. None takes that of the two which fits the images.
        jitter: probability of a change of brightness and contrast.
        strength: their factors lie within 1 ± strength.
        blur: probability of a Gaussian blur.
        sigma: its lowest and highest width, in pixels of an image whose longest side is 224; smaller images get
            smaller widths.
        degrees: crops are turned by up to so many degrees, in every plane; what comes in from outside the image repeats
            its border. 0, as in the papers, for none.
        noise: highest standard deviation of Gaussian noise, as a share of the image's range, drawn for each view.
        renormalise: whether each view is brought to a mean of 0 and a deviation of 1, as images are that
            ``NormalizeIntensityd`` has seen; brightness then teaches nothing but clipping.

    Raises:
        UserError: for shares or probabilities outside 0..1, and other numbers that mean nothing.
    """

    def __init__(
        self,
        scale: Sequence[float] = (0.2, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        mirror_axes: Sequence[int] | None = None,
        jitter: float = 0.8,
        strength: float = 0.4,
        blur: float = 0.5,
        sigma: Sequence[float] = (0.1, 2.0),
        degrees: float = 0.0,
        noise: float = 0.0,
        renormalise: bool = False,
    ) -> None:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise UserError(f"scale must rise within 0 and 1, got {list(scale)}.")
        if not 0 < ratio[0] <= ratio[1] or not 0 <= sigma[0] <= sigma[1]:
            raise UserError(
                f"ratio and sigma must rise, the one above 0, the other from 0: {list(ratio)}, {list(sigma)}."
            )
        if not math.isclose(ratio[0] * ratio[1], 1, rel_tol=1e-3):
            raise UserError(f"ratio must be 1 / r and r, such as 3/4 and 4/3, got {list(ratio)}.")
        if not all(0 <= share <= 1 for share in (jitter, strength, blur)):
            raise UserError(f"jitter, strength and blur must lie in 0..1, got {jitter}, {strength} and {blur}.")
        if not 0 <= degrees <= 180 or not 0 <= noise < math.inf:
            raise UserError(f"degrees must lie in 0..180 and noise not below 0, got {degrees} and {noise}.")
        self.degrees, self.noise, self.renormalise = degrees, noise, renormalise
        self.scale, self.ratio, self.mirror_axes = tuple(scale), tuple(ratio), mirror_axes
        self.jitter, self.strength = jitter, strength
        self.blur, self.sigma = blur, tuple(sigma)

    def __call__(self, images: Tensor) -> Tensor:
        """A view of each image, see `BatchAugmentation`."""
        dims, device = images.ndim - 2, images.device
        centres, sides = draw_resized_crops(len(images), dims, self.scale, self.ratio, device)
        random = torch.rand(6, len(images), device=device)
        mirror_axes = ((1,) if dims == 2 else (0,)) if self.mirror_axes is None else self.mirror_axes
        if not all(0 <= axis < dims for axis in mirror_axes):
            raise UserError(f"mirror_axes must name spatial axes 0 to {dims - 1}, got {list(mirror_axes)}.")
        coins = torch.rand(len(images), dims, device=device) < 0.5
        allowed = torch.tensor([axis in mirror_axes for axis in range(dims)], device=device)
        low, span = value_range(images)
        turns = None
        if self.degrees:
            planes = dims * (dims - 1) // 2
            turns = torch.deg2rad(self.degrees * (2 * torch.rand(len(images), planes, device=device) - 1))
        views = resize_crops(images, centres, sides, coins & allowed, turns)
        views = (views - low) / torch.where(span > 0, span, 1)
        changed = random[0] < self.jitter
        brightness, contrast = (
            torch.where(changed, 1 + self.strength * (2 * number - 1), 1) for number in (random[1], random[2])
        )
        views = jitter_intensity(views, brightness, contrast, random[3] < 0.5)
        narrow, wide = (width * max(images.shape[2:]) / REFERENCE_SIDE for width in self.sigma)
        width = torch.where(random[4] < self.blur, narrow + random[5] * (wide - narrow), 0)
        views = blur(views, width, wide)
        if self.noise:
            deviation = self.noise * torch.rand(len(images), device=device)
            views = views + per_image(deviation, views).to(views.dtype) * torch.randn_like(views)
        if self.renormalise:
            axes = tuple(range(1, views.ndim))
            deviation, mean = torch.std_mean(views, dim=axes, keepdim=True, correction=0)
            # Of an even image there is nothing but rounding.
            return (views - mean) / torch.where((deviation > 1e-5) & (span > 0), deviation, 1)
        return views * span + low


def draw_resized_crops(
    batch_size: int, spatial_dims: int, scale: Sequence[float], ratio: Sequence[float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Crops of random size, proportion and place, each wholly inside the image.

    Args:
        batch_size: number of images.
        spatial_dims: 2 or 3.
        scale: lowest and highest share of the image's area (volume), drawn uniformly.
        ratio: lowest and highest proportion of any two sides, relative to those of the image; 1/r and r. Crops that
            are nearly as large as the image come closer to its own proportions.
        device: of the result.

    Returns:
        Centre and side of each crop, both ``[B, spatial_dims]``, in units of the image's sides: the whole image has the
        centre ½ and the side 1.
    """
    random = torch.rand(batch_size, 1 + 2 * spatial_dims, device=device)
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


def resize_crops(
    images: Tensor, centres: Tensor, sides: Tensor, mirrored: Tensor, turns: Tensor | None = None
) -> Tensor:
    """Cut out each image's crop, resized to the size of the image (bi- or trilinear), mirrored and turned as asked for.

    Args:
        images: ``[B, C, *spatial]``.
        centres, sides: ``[B, spatial_dims]``, see `draw_resized_crops`.
        mirrored: along which axes, ``[B, spatial_dims]`` (bool).
        turns: angles about the crop's centre in radians, see `rotations`: ``[B, 1]`` in 2D, ``[B, 3]`` in 3D.
    """
    signed = torch.where(mirrored, -sides, sides)
    matrices = torch.diag_embed(signed)
    if turns is not None:
        # Lengths count in voxels, not in sides of the image, or an oblong image would be sheared.
        lengths = torch.tensor(images.shape[2:], device=images.device, dtype=signed.dtype)
        matrices = rotations(turns) @ (matrices * lengths[:, None]) / lengths[:, None]
    return sample(images, matrices, 2 * centres - 1)
