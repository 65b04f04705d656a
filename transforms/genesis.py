"""The distortions that Models Genesis undoes: grey value curves, local shuffling, painting; and its flips.

Zhou et al. 2019, Sec. 2.2. Each changes a random share of the images of a batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from medssl.errors import UserError

from .batch_augmentation import BatchAugmentation
from .boxes import box_masks, draw_boxes
from .intensity import apply_tables, bezier_tables, per_image, to_unit_range, value_range
from .shuffling import KEYS, draw_keys, draw_windows, last_windows, seen_voxels, shuffle_within

MOST_FLIPS = 3


def check_probability(**probabilities: float) -> None:
    """Raise `UserError` when one of the named numbers does not lie in 0..1."""
    for name, value in probabilities.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name} must lie in 0..1, got {value}.")


class RandomFlips(BatchAugmentation):
    """Mirror each image along random axes, up to three times, as the authors' code does before it distorts.

    Args:
        prob: probability of each further time; the axis is drawn anew, so that two may undo one another.

    Raises:
        UserError: when it does not lie in 0..1.
    """

    def __init__(self, prob: float = 0.4) -> None:
        check_probability(prob=prob)
        self.prob = prob

    def __call__(self, images: Tensor) -> Tensor:
        """See `BatchAugmentation`."""
        if not self.prob:
            return images
        dims, device = images.ndim - 2, images.device
        times = (torch.rand(len(images), MOST_FLIPS, 1, device=device) < self.prob).cummin(dim=1).values
        drawn = torch.randint(dims, (len(images), MOST_FLIPS, 1), device=device)
        odd = (times & (drawn == torch.arange(dims, device=device))).sum(dim=1) % 2 == 1
        for axis in range(dims):
            images = torch.where(per_image(odd[:, axis], images), images.flip(2 + axis), images)
        return images


class BezierIntensity(BatchAugmentation):
    """Send grey values through a random Bézier curve, rising or falling; each image keeps its own range.

    Args:
        prob: probability that an image is changed.
        inverted: probability that a curve falls.

    Raises:
        UserError: when a probability does not lie in 0..1.
    """

    def __init__(self, prob: float = 0.9, inverted: float = 0.5) -> None:
        check_probability(prob=prob, inverted=inverted)
        self.prob, self.inverted = prob, inverted

    def __call__(self, images: Tensor) -> Tensor:
        """See `BatchAugmentation`."""
        random = torch.rand(2, len(images), device=images.device)
        control = torch.rand(len(images), 2, 2, device=images.device)
        unit, low, span = to_unit_range(images)
        curved = apply_tables(unit, bezier_tables(control, random[1] < self.inverted)) * span + low
        return torch.where(per_image(random[0] < self.prob, images), curved, images)


class LocalShuffle(BatchAugmentation):
    """Shuffle the voxels within windows of random size and place: texture is lost, shapes stay.

    The distribution is that of the published generator (Zhou et al. 2019, Sec. 2.2): windows of 1 to ⌊side / 10⌋ voxels
    along each axis, anywhere in the image; the original's voxels are permuted within each, and later windows overwrite
    earlier ones. It differs only along axes of less than 20 voxels: the published windows are one voxel thick there, or
    cannot be drawn; here they are up to two, so that small images and few slices are shuffled along all axes.

    Args:
        prob: probability that an image is changed.
        largest: longest side of a window as a share of the image's; at least two voxels.
        windows: number of windows in an image.

    Raises:
        UserError: when a share does not lie in 0..1 or there is no window.
    """

    def __init__(self, prob: float = 0.5, largest: float = 0.1, windows: int = 10_000) -> None:
        check_probability(prob=prob, largest=largest)
        if windows < 1:
            raise UserError(f"LocalShuffle needs at least one window, got {windows}.")
        self.prob, self.largest, self.windows = prob, largest, windows

    def __call__(self, images: Tensor) -> Tensor:
        """See `BatchAugmentation`."""
        chosen = torch.rand(len(images), device=images.device) < self.prob
        numbers = chosen.nonzero()[:, 0]
        # A CPU is quicker one by one, for then most lies in its cache; a GPU would wait for dozens of small kernels of
        # every image. A batch of more than 2^31 voxels cannot be counted through.
        together = 1 if images.device.type == "cpu" else max(1, 2**31 // images[0, 0].numel())
        shuffled = images.clone()
        for first in range(0, len(numbers), together):
            some = numbers[first : first + together]
            shuffled[some] = self._shuffle(images[some])
        return shuffled

    def _shuffle(self, images: Tensor) -> Tensor:
        image_size, device = images.shape[2:], images.device
        longest = [min(side, max(2, int(side * self.largest))) for side in image_size]
        starts, sides = draw_windows(len(images), self.windows, longest, image_size, device)
        last = last_windows(starts, sides, image_size)
        window, voxel = seen_voxels(last, starts, sides, image_size)
        return shuffle_within(images, last, window, voxel, draw_keys(len(window), device))


class Painting(BatchAugmentation):
    """Overwrite boxes with noise (in-painting), or everything but some boxes (out-painting).

    The numbers are those of the authors' code (github.com/MrGiovanni/ModelsGenesis, `pytorch/config.py`, `utils.py`):
    one image of five is in-painted; it gets up to five boxes, each further one with a probability of 0.95, so that now
    and then there is none. An out-painted image keeps one box at least, and up to four more. There boxes keep 3 voxels
    away from the border, which small images and few slices do not have: here they may touch it. The noise is uniform
    over the image's own range, in 65 536 steps; there over the window of grey values.

    Args:
        prob: probability that an image is painted over.
        inner: probability that such an image is in-painted, not out-painted.
        boxes: most boxes of an image; they may overlap.
        further: probability of each further box, in-painting's first included.
        inner_sides: shortest and longest side of a box of noise, as shares of the image's.
        outer_sides: shortest and longest side of a box that is left.

    Raises:
        UserError: when a probability does not lie in 0..1 or there is no box.
    """

    def __init__(
        self,
        prob: float = 0.9,
        inner: float = 0.2,
        boxes: int = 5,
        further: float = 0.95,
        inner_sides: Sequence[float] = (1 / 6, 1 / 3),
        outer_sides: Sequence[float] = (3 / 7, 4 / 7),
    ) -> None:
        check_probability(prob=prob, inner=inner, further=further)
        if boxes < 1:
            raise UserError(f"Painting needs at least one box, got {boxes}.")
        self.prob, self.inner, self.boxes, self.further = prob, inner, boxes, further
        self.inner_sides, self.outer_sides = tuple(inner_sides), tuple(outer_sides)

    def __call__(self, images: Tensor) -> Tensor:
        """See `BatchAugmentation`."""
        image_size, device = images.shape[2:], images.device
        random = torch.rand(2, len(images), device=device)
        inner = random[1] < self.inner
        (in_starts, in_sides), (out_starts, out_sides) = (
            draw_boxes(len(images), self.boxes, image_size, sides, device)
            for sides in (self.inner_sides, self.outer_sides)
        )
        starts = torch.where(inner[:, None, None], in_starts, out_starts)
        sides = torch.where(inner[:, None, None], in_sides, out_sides)
        wanted = torch.rand(len(images), self.boxes, device=device) < self.further
        wanted[:, 0] |= ~inner
        sides = sides * wanted.cummin(dim=1).values[..., None]  # a box without sides holds nothing
        painted = box_masks(starts, sides, image_size) == per_image(inner, images)  # outside of the boxes otherwise
        painted = painted & per_image(random[0] < self.prob, images)
        low, span = value_range(images)
        # `torch.rand` would take most of the time.
        noise = draw_keys(images.numel(), device).view(images.shape).float()
        noise = noise.add_(KEYS / 2).mul_(span / (KEYS - 1)).add_(low)
        return torch.where(painted, noise.to(images.dtype), images)
