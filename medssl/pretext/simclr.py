"""SimCLR: which two views show the same image? (Chen et al. 2020; used by Zhu et al. 2020, Sec. 5.2)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medssl.losses import nt_xent
from medssl.networks import Backbone

from .task import check_positive
from .view_pairs import Pairs, Positives, ViewPairs


class SimCLR(ViewPairs):
    """Bring the embeddings of two views of an image together and push those of other images away (NT-Xent, Eq. 1).

    The other images of the mini-batch are the negatives, so large batches teach more. The head is a perceptron with one
    hidden layer, thrown away afterwards like every head.

    Args:
        backbone, image_size: see `PretextTask`.
        out_channels: of the embedding.
        temperature: of NT-Xent; 0.5 is the original's.
        view, positives: see `ViewPairs`.

    Raises:
        UserError: when sizes do not fit, the temperature is not positive, or a value of the views means nothing.
    """

    question = "which two views belong together?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        out_channels: int = 128,
        temperature: float = 0.2,
        view: dict[str, Any] | None = None,
        positives: Positives = "image",
    ) -> None:
        super().__init__(backbone, image_size, view, positives)
        check_positive(temperature=temperature)
        self.temperature = temperature
        features = backbone.out_channels
        self.head = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, out_channels)
        )

    def compare(self, first: Tensor, second: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """NT-Xent of the embeddings."""
        z1, z2 = self.head(first), self.head(second)
        return nt_xent(z1, z2, self.temperature, pairs.groups), z1, z2
