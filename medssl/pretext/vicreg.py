"""VICReg: alike views, features that vary, and none that vary together (Bardes et al. 2022)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from medssl.losses import vicreg
from medssl.networks import Backbone

from .task import check_positive
from .view_pairs import Pairs, Positives, ViewPairs, projector


class VICReg(ViewPairs):
    """Bring two views of an image together while each feature keeps its variance and its own meaning (Eq. 6).

    There are no negatives and no teacher: the floor under the variance keeps the embeddings from collapsing. The
    expander is that of the paper (Sec. 4.2), with 2048 instead of 8192 channels.

    Args:
        backbone, image_size: see `PretextTask`.
        hidden_channels: of the expander's two hidden layers.
        out_channels: of the embedding.
        invariance: weight of the distance of the two views, λ.
        variance: weight of the floor under the features' deviations, μ.
        covariance: weight of the covariances, ν.
        view, positives: see `ViewPairs`.

    Raises:
        UserError: when sizes do not fit, a weight is not positive, or a value of the views means nothing.
    """

    question = "what do both views say?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        hidden_channels: int = 2048,
        out_channels: int = 2048,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        view: dict[str, Any] | None = None,
        positives: Positives = "image",
    ) -> None:
        super().__init__(backbone, image_size, view, positives)
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
        check_positive(**self.weights)
        self.projector = projector(backbone.out_channels, hidden_channels, out_channels, hidden_layers=2)

    def compare(self, first: Tensor, second: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """The three terms of the embeddings, summed with their weights."""
        z1, z2 = self.projector(first), self.projector(second)
        return vicreg(z1, z2, **self.weights), z1, z2
