"""What the tasks that look at random views of each image have in common: the views belong together."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone
from medssl.transforms import ContrastiveView

from .task import Pictures, PretextOutput, PretextTask, check_image_size, check_values

Positives = Literal["image", "volume", "study", "patient"]


@dataclass
class Pairs:
    """What there is to know of a mini-batch's pairs of views, beside their features.

    Attributes:
        views: ``[2 B, C, *spatial]``, a first view of every image, then the second of each pair.
        groups: numbers ``[B]``, equal for pairs that must not be told apart; None where all must be.
    """

    views: Tensor
    groups: Tensor | None = None


class Views(PretextTask):
    """Base of the tasks that look at views which belong together; `views` of each image.

    Args:
        backbone: sees the views.
        image_size: spatial shape of the images.
        view: values for `medssl.transforms.ContrastiveView`, which draws the views.
        positives: of what the views after the first are: of the same ``image``; or of another of the same ``volume``
            (another random crop), ``study`` (another projection or series, or crop) or ``patient`` (also from another
            day) where the mini-batch has one, else of the same. Images of one volume, study or patient are then not
            told apart either (Azizi et al. 2021, Sec. 3.2).

    Raises:
        UserError: when sizes do not fit, or a value means nothing.
    """

    smallest_batch = 2
    compares_images = True
    asks_groups = True
    views: int = 2

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        view: Mapping[str, Any] | None = None,
        positives: Positives = "image",
    ) -> None:
        super().__init__()
        self.view = build_view(view, image_size, backbone)
        if positives not in get_args(Positives):
            raise UserError(f"positives must be one of {', '.join(get_args(Positives))}, got {positives!r}.")
        self.positives = positives

    def draw_views(self, images: Tensor, groups: Mapping[str, Tensor] | None = None) -> Tensor:
        """Views of each image, ``[V B, C, *spatial]``: a first view of every image, then a second, and so on.

        Those after the first are of partners but with ``positives: image``, each time of others.

        Args:
            images: ``[B, C, *spatial]``.
            groups: which of them belong together, see `PretextTask`; not looked at with ``positives: image``.

        Raises:
            UserError: when the batch holds a single image, or nobody says which images belong together.
        """
        if len(images) < 2:
            raise UserError(f"A batch of at least 2 images is needed, got {len(images)}: raise batch_size.")
        own = self.own_groups(groups)
        others = (images if own is None else images[draw_partners(own)] for _ in range(self.views - 1))
        return self.view(torch.cat([images, *others]))

    def own_groups(self, groups: Mapping[str, Tensor] | None) -> Tensor | None:
        """Numbers ``[B]``, equal for images that must not be told apart; None where all must be."""
        if self.positives == "image":
            return None
        if self.positives not in (groups or {}):
            raise UserError(f"positives: {self.positives} needs images that say of which {self.positives} they are.")
        return (groups or {})[self.positives]

    def describe(self, target: Tensor) -> str:
        """Whose view it is."""
        return f"a view of image {int(target) + 1}"


class ViewPairs(Views):
    """Base of the tasks that compare two views which belong together; a subclass says in `compare` how.

    Args:
        backbone, image_size, view, positives: see `Views`.
    """

    def puzzle(self, images: Tensor, groups: Mapping[str, Tensor] | None = None) -> tuple[Tensor, None]:
        """Two views of each image, ``[2 B, C, *spatial]``, see `draw_views`. There is no target but one another."""
        return self.draw_views(images, groups), None

    def forward(self, backbone: Backbone, images: Tensor, groups: Mapping[str, Tensor] | None = None) -> PretextOutput:
        """Compare the pooled features of both views, from one pass of the backbone.

        Batch normalisation therefore takes its statistics over both views of all images, where the originals take them
        over each half alone. Both halves are drawn alike, so the two estimate the same, here from twice as many images;
        and no half can be told by its statistics.
        """
        views, _ = self.puzzle(images, groups)
        first, second = backbone.pool(backbone(views)).chunk(2)
        own = self.own_groups(groups)
        loss, predicted, embedded = self.compare(first, second, Pairs(views, own))
        metrics, answer = matching_metrics(predicted, embedded, own)
        panels = torch.stack(views.detach()[:, 0].chunk(2), dim=1)  # side by side; the target is the image's number
        return PretextOutput(loss, metrics, Pictures(panels, torch.arange(len(panels), device=views.device), answer))

    @abstractmethod
    def compare(self, first: Tensor, second: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of both views' features ``[B, D]``, and whose `matching_metrics` are shown: two ``[B, E]``."""


def build_view(values: Mapping[str, Any] | None, image_size: Sequence[int], backbone: Backbone) -> ContrastiveView:
    """What draws the views that a task gives to its backbone.

    Raises:
        UserError: when sizes do not fit, or a value of the views means nothing.
    """
    check_image_size(image_size, backbone)
    check_values("view", ContrastiveView, values or {})
    try:
        view = ContrastiveView(**(values or {}))
    except UserError as error:
        raise UserError(f"view: {error}") from error
    dims, mirror_axes = backbone.spatial_dims, view.mirror_axes
    if not all(0 <= axis < dims for axis in mirror_axes or ()):
        raise UserError(f"view: mirror_axes must name axes 0 to {dims - 1}, got {mirror_axes}.")
    return view


def projector(in_channels: int, hidden_channels: int, out_channels: int, hidden_layers: int = 1) -> nn.Sequential:
    """A perceptron whose hidden layers are batch-normalised: what features pass before they are compared."""
    layers: list[nn.Module] = []
    for _ in range(hidden_layers):
        layers += hidden_layer(in_channels, hidden_channels)
        in_channels = hidden_channels
    return nn.Sequential(*layers, nn.Linear(in_channels, out_channels))


def hidden_layer(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    """A layer of a perceptron with batch normalisation, before which a bias has no effect."""
    return nn.Linear(in_channels, out_channels, bias=False), nn.BatchNorm1d(out_channels), nn.ReLU(inplace=True)


def draw_partners(groups: Tensor) -> Tensor:
    """For every image another one of its group, at random; itself where it is alone.

    Each is the partner of one: a cyclic shift of each group's images in a random order. No device is waited for.

    Args:
        groups: equal numbers ``[B]`` for images of one group.

    Returns:
        The number of each image's partner, ``[B]``.
    """
    order = torch.randperm(len(groups), device=groups.device)
    order = order[groups[order].argsort(stable=True)]  # group by group, each in a random order
    places = torch.arange(len(groups), device=groups.device)
    begins = groups[order] != groups[order].roll(1)
    begins[0] = True
    first = torch.where(begins, places, 0).cummax(dim=0).values
    following = torch.where(begins.roll(-1), first, (places + 1).clamp(max=len(groups) - 1))
    return torch.empty_like(order).index_copy_(0, order, order[following])


def matching_metrics(first: Tensor, second: Tensor, groups: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
    """Is an image's second view the one most alike to its first, of all second views in the batch?

    Args:
        first: embedding of each first view, or what is predicted from it, ``[B, D]``.
        second: embedding of each second view, ``[B, D]``.
        groups: numbers ``[B]``; of each group an image's own second view alone is compared with. With groups there is
            ``company``, too: the share of images that are not alone in theirs.

    Returns:
        ``accuracy``, ``chance`` (1/B without groups) and ``spread`` (of ``second``, normalised: 1 when they point
        everywhere, 0 when they have collapsed; Chen & He 2021, Sec. 4.1); and the second view most alike to each first,
        ``[B]``.
    """
    first, second = F.normalize(first.detach(), dim=1), F.normalize(second.detach(), dim=1)
    similarities = first @ second.T
    own = torch.arange(len(first), device=first.device)
    metrics = {}
    chance = similarities.new_full((), 1 / len(first), dtype=torch.float32)
    if groups is not None:
        others = same_group(groups, groups, own)
        similarities = similarities.masked_fill(others, -torch.inf)
        chance = (1 / (~others).sum(dim=1)).mean()
        metrics["company"] = others.any(dim=1).float().mean()
    answer = similarities.argmax(dim=1)
    metrics |= {"accuracy": (answer == own).float().mean(), "chance": chance}
    metrics["spread"] = second.std(dim=0, unbiased=False).mean() * second.shape[1] ** 0.5
    return metrics, answer


def same_group(groups: Tensor, others: Tensor, own: Tensor) -> Tensor:
    """Which of the candidates are of one's group without being one's own, ``[B, N]`` (bool).

    Args:
        groups: of those who choose, ``[B]``.
        others: of the candidates, ``[N]``.
        own: the number of each one's own candidate, ``[B]``.
    """
    return (groups[:, None] == others).scatter(1, own[:, None], False)
