"""SimCLR: which two views show the same image? (Chen et al. 2020; used by Zhu et al. 2020, Sec. 5.2)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medssl.losses import nt_xent
from medssl.networks import Backbone

from .puzzles import build_view, describe_view, draw_view_pairs, matching_metrics, view_features, view_pictures
from .task import PretextOutput, PretextTask, check_image_size, check_positive


class SimCLR(PretextTask):
    """Bring the embeddings of two views of an image together and push those of other images away (NT-Xent, Eq. 1).

    The other images of the mini-batch are the negatives, so large batches teach more. The head is a perceptron with one
    hidden layer, thrown away afterwards like every head.

    Args:
        backbone: sees the views.
        image_size: spatial shape of the images.
        out_channels: of the embedding.
        temperature: of NT-Xent.
        view: values for :class:`medssl.transforms.ContrastiveView`, which draws the views.

    Raises:
        UserError: when sizes do not fit, the temperature is not positive, or a value of the views means nothing.
    """

    question = "which two views belong together?"
    smallest_batch = 2
    compares_images = True

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        out_channels: int = 128,
        temperature: float = 0.5,
        view: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_image_size(image_size, backbone)
        check_positive(temperature=temperature)
        self.view = build_view(view, backbone.spatial_dims)
        self.temperature = temperature
        features = backbone.out_channels
        self.head = nn.Sequential(
            nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, out_channels)
        )

    def puzzle(self, images: Tensor) -> tuple[Tensor, None]:
        """Two views of each image, ``[2 B, C, *spatial]``; there is no target but one another.

        Raises:
            UserError: when the batch holds a single image.
        """
        return draw_view_pairs(self.view, images), None

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """NT-Xent of the embeddings."""
        views, _ = self.puzzle(images)
        first, second = (self.head(features) for features in view_features(backbone, views))
        metrics, answer = matching_metrics(first, second)
        return PretextOutput(nt_xent(first, second, self.temperature), metrics, view_pictures(views, answer))

    def describe(self, target: Tensor) -> str:
        """Whose view it is."""
        return describe_view(target)
