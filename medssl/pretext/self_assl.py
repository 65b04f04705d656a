"""Self-ASSL: a first network's tasks once more, with features that differ from its own (Zhu et al. 2020, Sec. 4)."""

from math import isfinite
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from medssl.errors import UserError
from medssl.losses import linear_cka, variance_floor
from medssl.networks import Backbone, load_backbone

from .task import PretextOutput, PretextTask

SELF_ASSL = "self_assl"
"""Under which the similarity stands among the tasks, in logs."""
SMALLEST_UNIT = 1e-6
"""A first network may see nothing in a mini-batch."""


class Complement(PretextTask):
    """Pooled features of the images that are unlike a first network's, and do not collapse to be so.

    It stands beside the tasks of a ``PretextModel``, in every step: L = L_p + weight × (LCKA + floor). Eq. 6 as printed
    gives the similarity a minus sign, so that minimising the loss would reward it; the text wants it to fall, hence the
    plus. The linear CKA is the unbiased one. The other, of a mini-batch, is near 1 for independent features (0.94 for
    1024 of 64 images), and what lowered it most was a collapse to a few directions (see `docs/tasks.md` for figures).
    The floor is VICReg's: no feature's deviation over the mini-batch should fall below the first network's (the root of
    its features' mean variance), so that features that do not vary, whose similarity is 0, are no way out. Look at
    ``effective_rank`` and ``probe`` beside it all the same: they stand in the logs of each epoch. In a short training
    the features of evaluation may stay more similar than ``similarity`` says, for the running statistics lag behind.

    The first network is frozen and always in evaluation mode. The new one sees the plain images in a pass of its own,
    because tasks show it puzzles; it does so in training mode, so the statistics of the plain images enter its running
    ones. Both terms are those of the mini-batch, on each process of its own images. The two passes over the plain
    images cost: a step of rotation takes 2.3 times as long (ResNet-18 on one core, 16 images of 128² and 8 of
    64 × 64 × 32 alike).

    Args:
        first: the first network's run or ``backbone.pt``, with its description beside it. The weights are kept in the
            state dict, so a resumed run goes on against the same network.
        spatial_dims: of the images.
        weight: of similarity and floor; 0 only watches them.

    Raises:
        MissingFileError: when the first network's weights or description are missing.
        UserError: when they are of a network for images of other dimensions, or the weight is negative.
    """

    question = "how else can the image be seen?"
    smallest_batch = 4  # of the unbiased estimator
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
        """Measure how similar the backbone's features are to the first network's, and how far below the floor."""
        inputs, target = self.puzzle(images)
        features = backbone.pool(backbone(inputs))
        similarity = linear_cka(features, target, unbiased=True)
        unit = target.float().var(dim=0).mean().sqrt().clamp(min=SMALLEST_UNIT)
        below_floor = variance_floor(features.float() / unit)
        metrics = {"similarity": similarity.detach(), "below_floor": below_floor.detach()}
        return PretextOutput(self.weight * (similarity + below_floor), metrics)
