"""One answer for an image that a network sees several times: in boxes that cover it, and mirrored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from medssl.errors import UserError

from .mirror_image import mean_with_mirror_image

POOLINGS = ("max", "mean")
"""How the logits of an image's boxes become those of the image."""


class ImageInferer(Inferer):
    """The logits of images, each seen in one or several boxes of one channel, and mirrored too if wanted.

    Logits are joined, not probabilities: mean and maximum of logits commute with dividing by a temperature and adding a
    bias, so it does not matter whether a model is calibrated before (folded into its last layer, as for inference) or
    after (as in an evaluation), and what one fits the other keeps to.

    MONAI's ``TestTimeAugmentation`` draws transforms of one item at a time and inverts them on a segmentation, its
    ``SlidingWindowInferer`` stitches outputs that are maps: neither is of use for a classifier.

    Args:
        mirror: whether the mean with the mirror image counts, see `mean_with_mirror_image`. It doubles the time.
        pooling: of `POOLINGS`, over an image's boxes: the `max` of each finding, for a finding may be in one of them
            only, or the `mean`.
        at_once: boxes that pass through the network together; 0 for all.

    Raises:
        UserError: for another pooling.
    """

    def __init__(self, mirror: bool = False, pooling: str = "max", at_once: int = 0) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise UserError(f"pooling is {pooling!r}, and must be one of {', '.join(POOLINGS)}.")
        self.mirror = mirror
        self.pooling = pooling
        self.at_once = at_once

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Logits ``[B, K]`` of images ``[B, N, *spatial]``, N boxes of each; more arguments are the network's."""

        def logits_of(boxes: Tensor) -> Tensor:
            logits: Tensor = network(boxes, *args, **kwargs)
            return logits

        boxes = inputs.flatten(0, 1)[:, None]
        parts = boxes.split(self.at_once or len(boxes))
        see = partial(mean_with_mirror_image, logits_of, maps=False) if self.mirror else logits_of
        logits = torch.cat([see(part) for part in parts]).unflatten(0, inputs.shape[:2])
        return logits.amax(dim=1) if self.pooling == "max" else logits.mean(dim=1)
