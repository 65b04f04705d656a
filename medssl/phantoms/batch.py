"""Phantoms without findings as a batch, ready for a pretext task: for pictures, tests and measurements."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .head import draw_head
from .radiograph import draw_radiograph
from .write import head_spacing

HEAD_WINDOW = (-100, 200)


def draw_batch(image_size: Sequence[int], count: int, seed: int = 0) -> Tensor:
    """Normal chests (two equal sides) or heads (three sides), each with mean 0 and standard deviation 1.

    Args:
        image_size: spatial shape.
        count: number of images.
        seed: image ``i`` depends on it and on ``i`` alone.

    Returns:
        ``[count, 1, *image_size]``, float32.
    """
    images = []
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        if len(image_size) == 2:
            image = draw_radiograph([], generator, image_size[0])
        else:
            x, y, z = image_size
            head = draw_head([], generator, (x, y, z), head_spacing((x, y, z)))
            image = head.clip(*HEAD_WINDOW).astype(np.float32)
        images.append(torch.from_numpy((image - image.mean()) / image.std()))
    return torch.stack(images)[:, None]
