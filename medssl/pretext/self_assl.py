"""Self-ASSL: a first network's tasks once more, with features that differ from its own (Zhu et al. 2020, Sec. 4)."""

from math import isfinite
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from medssl.errors import UserError
from medssl.losses import linear_cka
from medssl.networks import Backbone, load_backbone

from .task import PretextOutput, PretextTask

SELF_ASSL = "self_assl"
"""Under which the similarity stands among the tasks, in logs."""


class Complement(PretextTask):
    """Pooled features of the images that are unlike a first network's: the loss is their linear CKA, weighted.

    It stands beside the tasks of a ``PretextModel``, in every step: L = L_p + weight × LCKA. Eq. 6 as printed gives the
    similarity a minus sign, so that minimising the loss would reward it; the text wants it to fall, hence the plus.
    Features can differ by collapsing, too: watch ``effective_rank`` beside it. In a short training the features of
    evaluation may stay more similar than that, for the running statistics lag behind.

    The first network is frozen and always in evaluation mode. The new one sees the plain images in a pass of its own,
    because tasks show it puzzles; it does so in training mode, so the statistics of the plain images enter its running
    ones. The similarity is that of the mini-batch, on each process of its own images: larger than that of many images
    (see ``linear_cka``), and 1 for any two, whatever the networks are. The two passes over the plain images cost: a
    step of rotation takes 2.3 times as long (ResNet-18 on one core, 16 images of 128² and 8 of 64 × 64 × 32 alike).

    Args:
        first: the first network's run or ``backbone.pt``, with its description beside it. The weights are kept in the
            state dict, so a resumed run goes on against the same network.
        spatial_dims: of the images.
        weight: of the similarity; 0 only watches it.

    Raises:
        MissingFileError: when the first network's weights or description are missing.
        UserError: when they are of a network for images of other dimensions, or the weight is negative.
    """

    question = "how else can the image be seen?"
    smallest_batch = 3
    compares_images = True

    def __init__(self, first: str | Path, spatial_dims: int, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0 or not isfinite(weight):
            raise UserError(f"similarity_weight must be 0 or more, got {weight}.")
        backbone = load_backbone(first)
        if backbone.spatial_dims != spatial_dims:
            raise UserError(
                f"{first} is a network for {backbone.spatial_dims}D images, and these have {spatial_dims} axes: give "
                "a pre-training on such images."
            )
        self.first = backbone.requires_grad_(False).eval()
        self.weight = weight

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the first network stays in evaluation mode."""
        super().train(mode)
        self.first.eval()
        return self

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The images themselves, and the first network's features of them ``[B, D]``; nothing is random."""
        with torch.no_grad():
            return images, self.first.pool(self.first(images))

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Measure how similar the backbone's features are to the first network's."""
        inputs, target = self.puzzle(images)
        similarity = linear_cka(backbone.pool(backbone(inputs)), target)
        return PretextOutput(self.weight * similarity, {"similarity": similarity.detach()})
