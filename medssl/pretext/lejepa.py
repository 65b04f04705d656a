"""LeJEPA: views of an image agree, and all images are spread like a Gaussian (Balestriero & LeCun 2025)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import UserError
from medssl.losses import lejepa
from medssl.networks import Backbone

from .task import Pictures, PretextOutput, check_positive, check_share
from .view_pairs import Positives, Views, matching_metrics, projector


class LeJEPA(Views):
    """Draw the embeddings of an image's views to their mean, and those of all images to an isotropic Gaussian.

    The second (SIGReg) keeps them from collapsing: there are no negatives, no teacher and no stopped gradients, and one
    weight to choose. Along random directions, new in every step, the embeddings of a mini-batch are held against
    N(0, 1). Values are those of the authors' minimal example. Their larger trainings have two views of 30 to 100 % of
    an image and six smaller ones of 5 to 30 % at less than half the resolution; here all views are drawn alike.

    Args:
        backbone, image_size: see `PretextTask`.
        views: of each image; a step takes as many passes of the backbone an image.
        hidden_channels: of the projector's two hidden layers.
        out_channels: of the embedding.
        weight: of the Gaussian beside the agreement, λ.
        directions: along which the spread is looked at in each step.
        view, positives: see `Views`.

    Raises:
        UserError: when sizes do not fit, or a value means nothing.
    """

    question = "what do all views say?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        views: int = 4,
        hidden_channels: int = 2048,
        out_channels: int = 16,
        weight: float = 0.02,
        directions: int = 256,
        view: dict[str, Any] | None = None,
        positives: Positives = "image",
    ) -> None:
        super().__init__(backbone, image_size, view, positives)
        if not isinstance(views, int) or views < 2:
            raise UserError(f"views must be a whole number, at least 2, got {views}.")
        check_share(weight=weight)
        check_positive(directions=directions)
        self.views, self.weight, self.directions = views, weight, directions
        self.out_channels = out_channels
        self.projector = projector(backbone.out_channels, hidden_channels, out_channels, hidden_layers=2)

    def puzzle(self, images: Tensor, groups: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Views ``[V B, C, *spatial]``, see `draw_views`, and the directions ``[D, S]``, of length 1."""
        views = self.draw_views(images, groups)
        return views, F.normalize(torch.randn(self.out_channels, self.directions, device=images.device), dim=0)

    def forward(self, backbone: Backbone, images: Tensor, groups: Mapping[str, Tensor] | None = None) -> PretextOutput:
        """The loss of all views' embeddings. The metrics: is a first view most alike to the mean of its own others?"""
        views, directions = self.puzzle(images, groups)
        embeddings = self.projector(backbone.pool(backbone(views))).unflatten(0, (self.views, len(images)))
        loss = lejepa(embeddings, directions, self.weight)
        metrics, answer = matching_metrics(embeddings[0], embeddings[1:].mean(dim=0), self.own_groups(groups))
        panels = torch.stack(views.detach()[:, 0].chunk(self.views), dim=1)  # side by side
        return PretextOutput(loss, metrics, Pictures(panels, torch.arange(len(panels), device=views.device), answer))
