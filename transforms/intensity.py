"""Changing the grey values of a batch of images: brightness and contrast, blur, Bézier curves.

Each change is a function of numbers that were drawn beforehand, by ``contrastive_view`` and ``genesis``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CURVE_KNOTS = 4096
"""Evenly spaced abscissae at which a curve is solved; between them it is linear."""
CURVE_PARTS = 16
"""Entries of a curve's table from one abscissa to the next, close enough to take the nearest one."""
CURVE_POINTS = CURVE_PARTS * (CURVE_KNOTS - 1) + 1
CHUNK = 2**15
"""Voxels of each image that a CPU sends through the curves at once, so that all in between stays in its cache."""


def per_image(numbers: Tensor, images: Tensor) -> Tensor:
    """Numbers ``[B]`` in a form that broadcasts over images ``[B, C, *spatial]``."""
    return numbers.view(-1, *[1] * (images.ndim - 1))


def to_unit_range(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each image mapped linearly onto 0..1, its lowest value and its range (both broadcastable over the images).

    A constant image becomes zeros. ``unit * span + low`` maps back.
    """
    low, span = value_range(images)
    return (images - low) / torch.where(span > 0, span, 1), low, span


def value_range(images: Tensor) -> tuple[Tensor, Tensor]:
    """Each image's lowest value, and how far its highest lies above it (both broadcastable over the images)."""
    flat = images.flatten(1)
    low, high = flat.amin(dim=1), flat.amax(dim=1)  # `aminmax` takes nine times as long
    return per_image(low, images), per_image(high - low, images)


def jitter_intensity(images: Tensor, brightness: Tensor, contrast: Tensor, contrast_first: Tensor) -> Tensor:
    """Brightness and contrast, one after the other, as torchvision's ``ColorJitter`` defines them.

    Brightness multiplies by its factor; contrast blends with the image's mean: ``f · x + (1 − f) · mean``. After each
    the values are clamped to 0..1.

    Args:
        images: ``[B, C, *spatial]`` in 0..1.
        brightness, contrast: factors ``[B]``, 1 for no change.
        contrast_first: which comes first, ``[B]`` (bool).
    """
    for is_contrast in (contrast_first, ~contrast_first):
        factor = per_image(torch.where(is_contrast, contrast, brightness), images).to(images.dtype)
        towards = per_image(torch.where(is_contrast, images.flatten(1).mean(dim=1), 0), images)
        images = torch.lerp(towards.expand_as(images), images, factor).clamp(0, 1)
    return images


def blur(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Gaussian blur of each image by its own width, with repeated borders, as scipy's ``gaussian_filter`` (nearest).

    MONAI's ``GaussianFilter`` has one width for the whole batch, and zeros beyond the border.

    Args:
        images: ``[B, C, *spatial]``.
        sigma: standard deviations in voxels, ``[B]``; 0 leaves an image as it is.
        largest: an upper bound of ``sigma``, which decides the size of the kernel without asking the device.
    """
    batch, channels, *spatial = images.shape
    radius = max(1, round(3 * largest))
    distance = torch.arange(-radius, radius + 1, device=images.device)
    # A width of 1e-3 is a kernel of exactly (0, 1, 0).
    kernel = torch.softmax(-(distance**2) / (2 * sigma.clamp(min=1e-3)[:, None] ** 2), dim=1).to(images.dtype)
    kernel = kernel.repeat_interleave(channels, dim=0)
    convolve = F.conv2d if len(spatial) == 2 else F.conv3d
    folded = images.reshape(1, batch * channels, *spatial)
    for axis in range(len(spatial)):
        padding = [0, 0] * len(spatial)
        padding[2 * (len(spatial) - 1 - axis)] = padding[2 * (len(spatial) - 1 - axis) + 1] = radius
        shape = [len(kernel), 1, *[2 * radius + 1 if other == axis else 1 for other in range(len(spatial))]]
        folded = convolve(F.pad(folded, padding, mode="replicate"), kernel.view(shape), groups=batch * channels)
    return folded.view_as(images)


def bezier_tables(control: Tensor, inverted: Tensor) -> Tensor:
    """Monotone grey value curves from (0, 0) to (1, 1) as tables (Zhou et al. 2019, Sec. 2.2).

    The curve is the cubic Bézier curve with two control points between its ends. Since their abscissae lie in 0..1, the
    abscissa grows along the curve, so the curve is a function.

    Args:
        control: ``[B, 2, 2]``, both control points (x, y) of each curve, in 0..1.
        inverted: which curves fall from 1 to 0 instead, ``[B]`` (bool).

    Returns:
        The curve at ``CURVE_POINTS`` evenly spaced abscissae in 0..1, ``[B, CURVE_POINTS]``.
    """
    t = torch.linspace(0, 1, CURVE_KNOTS, device=control.device)
    basis = torch.stack([3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t)])
    x, y = (torch.einsum("bpc,pt->cbt", control, basis) + t**3).unbind()
    knots = torch.linspace(0, 1, CURVE_KNOTS, device=control.device).expand(len(control), -1).contiguous()
    right = torch.searchsorted(x.contiguous(), knots).clamp(1, x.shape[1] - 1)
    x0, x1, y0, y1 = x.gather(1, right - 1), x.gather(1, right), y.gather(1, right - 1), y.gather(1, right)
    values = torch.lerp(y0, y1, ((knots - x0) / (x1 - x0).clamp(min=1e-12)).clamp(0, 1))
    values = torch.where(inverted[:, None], 1 - values, values)
    # `F.interpolate` takes three times as long.
    parts = torch.arange(CURVE_PARTS, device=control.device) / CURVE_PARTS
    rises = values.diff(dim=1, append=values[:, -1:])
    return torch.addcmul(values[..., None], rises[..., None], parts).flatten(1)[:, :CURVE_POINTS]


def apply_tables(images: Tensor, tables: Tensor) -> Tensor:
    """Send every grey value to the nearest entry of its image's curve.

    That is one look-up a voxel, where interpolating between the entries of a smaller table needs two. The error is at
    most half a step between entries times the curve's slope. No gradient flows back.

    Args:
        images: ``[B, C, *spatial]`` in 0..1; what lies outside gets the value at the end.
        tables: ``[B, points]``, the curve at evenly spaced abscissae.
    """
    last, flat = tables.shape[1] - 1, images.flatten(1).to(tables.dtype)
    sent = torch.empty_like(flat)
    chunk = CHUNK if images.device.type == "cpu" else flat.shape[1]  # a GPU would wait for every chunk
    for voxels, goal in zip(flat.split(chunk, dim=1), sent.split(chunk, dim=1), strict=True):
        nearest = (voxels * last).round_().long().clamp_(0, last)
        torch.gather(tables, 1, nearest, out=goal)
    return sent.view_as(images).to(images.dtype)
