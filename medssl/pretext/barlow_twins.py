"""Barlow Twins: do both views say the same, each feature something of its own? (Zbontar et al. 2021)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from medssl.losses import barlow_twins
from medssl.networks import Backbone

from .task import check_positive
from .view_pairs import Pairs, Positives, ViewPairs, projector


class BarlowTwins(ViewPairs):
    """Correlate the embeddings of two views over the mini-batch and draw the matrix towards the identity (Eq. 1).

    There are no negatives: the images of a mini-batch are what the features are correlated over. The projector is that
    of the paper (Sec. 2.2), with 2048 instead of 8192 channels.

    Args:
        backbone, image_size: see `PretextTask`.
        hidden_channels: of the projector's two hidden layers.
        out_channels: of the embedding; the more features, the more there is to tell apart.
        redundancy: weight of the correlations between different features, λ.
        view, positives: see `ViewPairs`.

    Raises:
        UserError: when sizes do not fit, λ is not positive, or a value of the views means nothing.
    """

    question = "what do both views say?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        hidden_channels: int = 2048,
        out_channels: int = 2048,
        redundancy: float = 5e-3,
        view: dict[str, Any] | None = None,
        positives: Positives = "image",
    ) -> None:
        super().__init__(backbone, image_size, view, positives)
        check_positive(redundancy=redundancy)
        self.redundancy = redundancy
        self.projector = projector(backbone.out_channels, hidden_channels, out_channels, hidden_layers=2)

    def compare(self, first: Tensor, second: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """How far the correlation of the embeddings is from the identity."""
        z1, z2 = self.projector(first), self.projector(second)
        return barlow_twins(z1, z2, self.redundancy), z1, z2
