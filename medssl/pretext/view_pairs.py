"""What the tasks that look at two random views of each image have in common: the views belong together."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import UserError
from medssl.networks import Backbone
from medssl.transforms import ContrastiveView

from .task import Pictures, PretextOutput, PretextTask, accuracy_metrics, check_image_size, check_values


class ViewPairs(PretextTask):
    """Base of the tasks that compare two views of each image; a subclass says in :meth:`compare` how.

    Args:
        backbone: sees the views.
        image_size: spatial shape of the images.
        view: values for `medssl.transforms.ContrastiveView`, which draws the views.

    Raises:
        UserError: when sizes do not fit, or a value of the views means nothing.
    """

    smallest_batch = 2
    compares_images = True

    def __init__(self, backbone: Backbone, image_size: Sequence[int], view: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        check_image_size(image_size, backbone)
        check_values("view", ContrastiveView, view or {})
        try:
            self.view = ContrastiveView(**(view or {}))
        except UserError as error:
            raise UserError(f"view: {error}") from error
        dims, mirror_axes = backbone.spatial_dims, self.view.mirror_axes
        if not all(0 <= axis < dims for axis in mirror_axes or ()):
            raise UserError(f"view: mirror_axes must name axes 0 to {dims - 1}, got {mirror_axes}.")

    def puzzle(self, images: Tensor) -> tuple[Tensor, None]:
        """Two views of each image, ``[2 B, C, *spatial]``: a first view of every image, then a second.

        There is no target but one another.

        Raises:
            UserError: when the batch holds a single image.
        """
        if len(images) < 2:
            raise UserError(f"A batch of at least 2 images is needed, got {len(images)}: raise batch_size.")
        return self.view(torch.cat([images, images])), None

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Compare the pooled features of both views, from one pass of the backbone.

        Batch normalisation therefore takes its statistics over both views of all images, where the originals take them
        over each half alone. Both halves are drawn alike, so the two estimate the same, here from twice as many images;
        and no half can be told by its statistics.
        """
        views, _ = self.puzzle(images)
        first, second = backbone.pool(backbone(views)).chunk(2)
        loss, predicted, embedded = self.compare(first, second)
        metrics, answer = matching_metrics(predicted, embedded)
        panels = torch.stack(views.detach()[:, 0].chunk(2), dim=1)  # side by side; the target is the image's number
        return PretextOutput(loss, metrics, Pictures(panels, torch.arange(len(panels), device=views.device), answer))

    @abstractmethod
    def compare(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of both views' features ``[B, D]``, and whose `matching_metrics` are shown: two ``[B, E]``."""

    def describe(self, target: Tensor) -> str:
        """Whose view it is."""
        return f"a view of image {int(target) + 1}"


def matching_metrics(first: Tensor, second: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Is an image's second view the one most alike to its first, of all second views in the batch?

    Args:
        first: embedding of each first view, or what is predicted from it, ``[B, D]``.
        second: embedding of each second view, ``[B, D]``.

    Returns:
        ``accuracy``, ``chance`` (1/B) and ``spread`` (of ``second``, normalised: 1 when they point everywhere, 0
        when they have collapsed; Chen & He 2021, Sec. 4.1); and the second view most alike to each first, ``[B]``.
    """
    first, second = F.normalize(first.detach(), dim=1), F.normalize(second.detach(), dim=1)
    similarities = first @ second.T
    metrics = accuracy_metrics(similarities, torch.arange(len(first), device=first.device))
    metrics["spread"] = second.std(dim=0, unbiased=False).mean() * second.shape[1] ** 0.5
    return metrics, similarities.argmax(dim=1)
