"""The puzzle that SimSiam and SimCLR share: two random views of each image, which belong together."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import UserError
from medssl.networks import Backbone
from medssl.transforms import ContrastiveView

from ..task import Pictures, accuracy_metrics, check_values


def build_view(values: Mapping[str, Any] | None, spatial_dims: int) -> ContrastiveView:
    """What draws the views, from the values of a config.

    Raises:
        UserError: for values that mean nothing;
    """
    check_values("view", ContrastiveView, values or {})
    try:
        view = ContrastiveView(**(values or {}))
    except UserError as error:
        raise UserError(f"view: {error}") from error
    if not all(0 <= axis < spatial_dims for axis in view.mirror_axes or ()):
        raise UserError(f"view: mirror_axes must name axes 0 to {spatial_dims - 1}, got {view.mirror_axes}.")
    return view


def draw_view_pairs(view: ContrastiveView, images: Tensor) -> Tensor:
    """Two views of each image, ``[2 B, C, *spatial]``: a first view of every image, then a second.

    Raises:
        UserError: for a single image;
    """
    if len(images) < 2:
        raise UserError(f"A batch of at least 2 images is needed, got {len(images)}: raise batch_size.")
    return view(torch.cat([images, images]))


def view_features(backbone: Backbone, views: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled features of the first and of the second views, ``[B, D]`` each, in one pass of the backbone.

    Batch normalisation therefore takes its statistics over both views of all images, where the originals take them
    over each half alone. Both halves are drawn alike, so the two estimate the same, here from twice as many images;
    and no half can be told by its statistics.
    """
    first, second = backbone.pool(backbone(views)).chunk(2)
    return first, second


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


def view_pictures(views: Tensor, answer: Tensor) -> Pictures:
    """Both views side by side; the target is the image's own number in the batch."""
    panels = torch.stack(views.detach()[:, 0].chunk(2), dim=1)
    return Pictures(panels, torch.arange(len(panels), device=views.device), answer)


def describe_view(target: Tensor) -> str:
    """Whose view it is."""
    return f"a view of image {int(target) + 1}"
