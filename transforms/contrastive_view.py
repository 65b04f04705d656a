"""Random views of an image for contrastive tasks.

Chen et al. 2020, Sec. 2.1; Chen & He 2021, Sec. 3; Dong et al. 2024, Sec. 6.2.4.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.errors import UserError

from .intensity import blur, jitter_intensity, value_range
from .resized_crop import draw_resized_crops, resize_crops

REFERENCE_SIDE = 224
"""Blur widths are given for images of this side, and shrink with it."""


class ContrastiveView:
    """One random view of each image of a batch: resized crop, mirroring, brightness and contrast, blur.

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
        self.scale, self.ratio, self.mirror_axes = tuple(scale), tuple(ratio), mirror_axes
        self.jitter, self.strength = jitter, strength
        self.blur, self.sigma = blur, tuple(sigma)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A view of each image ``[B, C, *spatial]``, of the same shape; from ``generator`` or torch's global one."""
        dims, device = images.ndim - 2, images.device
        centres, sides = draw_resized_crops(len(images), dims, self.scale, self.ratio, device, generator)
        random = torch.rand(6, len(images), device=device, generator=generator)
        mirror_axes = ((1,) if dims == 2 else (0,)) if self.mirror_axes is None else self.mirror_axes
        if not all(0 <= axis < dims for axis in mirror_axes):
            raise UserError(f"mirror_axes must name spatial axes 0 to {dims - 1}, got {list(mirror_axes)}.")
        coins = torch.rand(len(images), dims, device=device, generator=generator) < 0.5
        allowed = torch.tensor([axis in mirror_axes for axis in range(dims)], device=device)
        low, span = value_range(images)
        views = resize_crops(images, centres, sides, coins & allowed)
        views = (views - low) / torch.where(span > 0, span, 1)
        changed = random[0] < self.jitter
        brightness, contrast = (
            torch.where(changed, 1 + self.strength * (2 * number - 1), 1) for number in (random[1], random[2])
        )
        views = jitter_intensity(views, brightness, contrast, random[3] < 0.5)
        narrow, wide = (width * max(images.shape[2:]) / REFERENCE_SIDE for width in self.sigma)
        width = torch.where(random[4] < self.blur, narrow + random[5] * (wide - narrow), 0)
        return blur(views, width, wide) * span + low
