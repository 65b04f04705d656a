"""Whole images through a network that sees boxes."""

from collections.abc import Callable
from typing import Any

from monai.inferers import Inferer, SlidingWindowInferer
from torch import Tensor

from medssl.errors import UserError
from medssl.transforms import View

from ..mirror_image import mean_with_mirror_image


class WindowInferer(Inferer):
    """The logits of whole images, box by box, each with its grey values as in training (`View.grey_values`).

    MONAI's ``SlidingWindowInferer`` joins the boxes, which count for less towards their borders. Of what `View.whole`
    loads it wants the file's own units: where each box is normalised by itself, that of the image would be another.

    Args:
        view: what the network sees.
        overlap: share of a side that neighbouring boxes have in common, from 0, below 1.
        at_once: boxes that pass through the network together.
        mirror: whether the mean with mirror images counts, see `mean_with_mirror_image`; it doubles the time.

    Raises:
        UserError: for another overlap, or no box at once.
    """

    def __init__(self, view: View, overlap: float = 0.5, at_once: int = 4, mirror: bool = False) -> None:
        super().__init__()
        if not 0 <= overlap < 1 or at_once < 1:
            raise UserError(
                f"overlap {overlap} must be a share from 0, below 1, and {at_once} boxes at once at least 1."
            )
        self.view = view
        self.mirror = mirror
        self._windows = SlidingWindowInferer(view.image_size, at_once, overlap, mode="gaussian", cval=view.fill)

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Logits ``[B, C, *spatial]`` of images ``[B, 1, *spatial]`` of any size; more arguments are the network's."""

        def logits_of(boxes: Tensor) -> Tensor:
            logits: Tensor = network(boxes, *args, **kwargs).float()
            return logits

        def see(boxes: Tensor) -> Tensor:
            boxes = self.view.grey_values(boxes)
            return mean_with_mirror_image(logits_of, boxes, maps=True) if self.mirror else logits_of(boxes)

        joined = self._windows(inputs, see)
        assert isinstance(joined, Tensor)
        return joined
