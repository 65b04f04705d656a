"""Rotation prediction: by which quarter turn? (Gidaris et al. 2018; Dong et al. 2024, Sec. 4.1.1)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.networks import Backbone

from .puzzles import rotate, shape_preserving_rotations
from .task import Pictures, PretextOutput, PretextTask, accuracy_metrics, check_image_size


class Rotation(PretextTask):
    """Classify the rotation of each image with one linear layer (Dong et al. 2024, Sec. 6.2.2).

    A square image has four classes; a cube ten (the identity and three angles about each axis). Where the sides differ
    only the rotations that keep the shape are left: a 30-slice volume of square slices has six.

    Args:
        backbone: whose features are classified.
        image_size: spatial shape of the images, which decides the classes.

    Raises:
        UserError: when ``image_size`` does not fit the backbone.
    """

    question = "turned by how much?"

    def __init__(self, backbone: Backbone, image_size: Sequence[int]) -> None:
        super().__init__()
        check_image_size(image_size, backbone)
        self.spatial_dims = backbone.spatial_dims
        self.rotations = shape_preserving_rotations(image_size)
        self.head = nn.Linear(backbone.out_channels, len(self.rotations))

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated images ``[B, C, *spatial]`` and the index of each one's rotation ``[B]``."""
        # Drawn on the CPU: rotate() needs the numbers there, and asking a GPU for them would wait for it.
        index = torch.randint(len(self.rotations), (len(images),))
        return rotate(images, self.rotations, index), index.to(images.device)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Cross-entropy of the predicted rotation."""
        inputs, target = self.puzzle(images)
        logits = self.head(backbone.pool(backbone(inputs)))
        pictures = Pictures(inputs.detach(), target, logits.detach().argmax(dim=1))
        return PretextOutput(F.cross_entropy(logits, target), accuracy_metrics(logits, target), pictures)

    def describe(self, target: Tensor) -> str:
        """The angle, and in 3D the plane of the rotation."""
        rotation = self.rotations[int(target)]
        plane = "".join("xyz"[axis] for axis in rotation.plane) if rotation.turns and self.spatial_dims == 3 else ""
        return f"{rotation.degrees}° {plane}".strip()
