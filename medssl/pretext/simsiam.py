"""SimSiam, the instance discrimination of Dong et al. 2024 (Sec. 4.1.3, 6.2.4; Chen & He 2021)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medssl.losses import negative_cosine
from medssl.networks import Backbone

from .view_pairs import Pairs, Positives, ViewPairs, hidden_layer, projector


class SimSiam(ViewPairs):
    """Predict the embedding of one view of an image from that of another; what is predicted gets no gradient.

    Projector: FC(features, 1024) – BN – ReLU – FC(1024, 1024) – BN – ReLU – FC(1024, 2048) – BN; predictor:
    FC(2048, 1024) – BN – ReLU – FC(1024, 2048), as in Sec. 6.2.4. The loss is the symmetric
    negative cosine, −1 at best.

    There are no negatives, so a loss near −1 proves nothing: look at ``spread``, which falls to 0 when all images
    get the same embedding, and at ``accuracy``, how often a prediction is most alike to the other view of its own
    image, of all in the batch.

    Args:
        backbone, image_size: see `PretextTask`.
        hidden_channels: of the projector and the predictor.
        out_channels: of the embedding.
        view, positives: see `ViewPairs`.

    Raises:
        UserError: when sizes do not fit, or a value of the views means nothing.
    """

    question = "how will the other view look?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        hidden_channels: int = 1024,
        out_channels: int = 2048,
        view: dict[str, Any] | None = None,
        positives: Positives = "image",
    ) -> None:
        super().__init__(backbone, image_size, view, positives)
        self.projector = nn.Sequential(
            *hidden_layer(backbone.out_channels, hidden_channels),
            *hidden_layer(hidden_channels, hidden_channels),
            # A bias before a batch normalisation has no effect.
            nn.Linear(hidden_channels, out_channels, bias=False),
            nn.BatchNorm1d(out_channels),
        )
        self.predictor = projector(out_channels, hidden_channels, out_channels)

    def compare(self, first: Tensor, second: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """Negative cosine between prediction and embedding, both ways."""
        z1, z2 = self.projector(first), self.projector(second)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2, p1, z2
