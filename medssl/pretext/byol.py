"""BYOL: what will the teacher say of the other view? (Grill et al. 2020)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from medssl.losses import negative_cosine
from medssl.networks import Backbone

from .teacher import Teacher
from .view_pairs import Pairs, Positives, ViewPairs, projector


class BYOL(ViewPairs):
    """Predict the embedding that a slow copy of the network gives to an image's other view (Eq. 2, up to its scale).

    The loss is the symmetric negative cosine, −1 at best. There are no negatives, so a loss near −1 proves nothing:
    look at ``spread`` and ``accuracy``, as with SimSiam. Projector and predictor have one hidden layer (Sec. 3.3),
    with 1024 channels instead of 4096.

    Args:
        backbone, image_size: see `PretextTask`.
        hidden_channels: of the projector and the predictor.
        out_channels: of the embedding.
        momentum: of the teacher, see `Teacher`; 0.996 in the paper, over many more steps.
        view, positives: see `ViewPairs`.

    Raises:
        UserError: when sizes do not fit, the momentum is none, or a value of the views means nothing.
    """

    question = "what will the teacher see?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        hidden_channels: int = 1024,
        out_channels: int = 256,
        momentum: float = 0.99,
        view: dict[str, Any] | None = None,
        positives: Positives = "image",
    ) -> None:
        super().__init__(backbone, image_size, view, positives)
        self.projector = projector(backbone.out_channels, hidden_channels, out_channels)
        self.predictor = projector(out_channels, hidden_channels, out_channels)
        self.teacher = Teacher(backbone, self.projector, momentum)

    def compare(self, first: Tensor, second: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """Negative cosine between the student's prediction and the teacher's embedding, both ways."""
        p1, p2 = (self.predictor(self.projector(features)) for features in (first, second))
        z1, z2 = self.teacher(pairs.views).chunk(2)
        return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2, p1, z2

    def after_step(self, backbone: Backbone) -> None:
        """The teacher follows."""
        self.teacher.follow(backbone, self.projector)
