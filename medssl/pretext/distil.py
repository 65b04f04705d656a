"""Distillation: a small network learns to see images as a larger one does that was trained already."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from monai.networks.layers import Conv
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.losses import distance_distillation, negative_cosine
from medssl.networks import Backbone, build_backbone
from medssl.networks.trained_backbone import trained_backbone

from .task import Pictures, PretextOutput, PretextTask
from .view_pairs import build_view


class Distil(PretextTask):
    """Give the features that a larger network, the teacher, has of the same view of an image (Beyer et al. 2022).

    ``features``: each place of the last map, after one linear layer, points where the teacher's does; the loss is one
    minus their cosine. The teacher's channels are standardised over the mini-batch, or what they have in common would
    be most of the cosine. ``relations``: images are as far apart as they are for the teacher (Park et al. 2019, Eq. 6);
    nothing is asked of the features themselves, so no layer is needed.

    The teacher is frozen and always in evaluation mode. Its weights are kept in the state dict, so a resumed run goes
    on with the same one; the backbone that is saved is the student's alone.

    Args:
        backbone: the student; of any kind.
        image_size: see `PretextTask`.
        teacher: the run that trained it, or its weights with their description beside them; or weights of others, with
            ``architecture``; or the network itself.
        architecture: of a teacher without a description, see `build_backbone`.
        loss: ``features`` or ``relations``.
        view: values for `medssl.transforms.ContrastiveView`, which draws the view that both see.

    Raises:
        MissingFileError: there are no such weights, or no description beside them.
        UserError: there is no teacher; it is of another network, or for images of other dimensions; or a value means
            nothing.
    """

    question = "which image would the teacher find most alike?"
    smallest_batch = 2
    needs = ("teacher",)

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        teacher: str | Path | Backbone = "",
        architecture: str = "",
        loss: Literal["features", "relations"] = "features",
        view: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if loss not in ("features", "relations"):
            raise UserError(f"loss must be features or relations, got {loss!r}.")
        self.loss, self.compares_images = loss, loss == "relations"
        self.view = build_view(view, image_size, backbone)
        self.teacher = load_teacher(teacher, architecture, backbone).requires_grad_(False).eval()
        layer = Conv[Conv.CONV, backbone.spatial_dims]
        to_teacher = layer(backbone.out_channels, self.teacher.out_channels, kernel_size=1)
        self.head = to_teacher if loss == "features" else nn.Identity()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A view of each image ``[B, C, *spatial]``, and the teacher's last map of it ``[B, D, *places]``.

        Raises:
            UserError: when the batch holds a single image.
        """
        if len(images) < 2:
            raise UserError(f"A batch of at least 2 images is needed, got {len(images)}: raise batch_size.")
        views = self.view(images)
        with torch.no_grad():
            return views, self.teacher(views)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """The loss; ``accuracy``: is the image most alike to each the same one for both?"""
        views, target = self.puzzle(images)
        features = backbone(views)
        pooled, taught = backbone.pool(features), self.teacher.pool(target)
        if self.loss == "features":
            loss = 1 + negative_cosine(self.head(features), _standardised(target, features.shape[2:]))
        else:
            loss = distance_distillation(pooled, taught)
        wanted, answer = most_alike(taught), most_alike(pooled.detach())
        accuracy = (answer == wanted).float().mean()
        metrics = {"accuracy": accuracy, "chance": torch.full_like(accuracy, 1 / (len(images) - 1))}
        return PretextOutput(loss, metrics, Pictures(views.detach()[:, :1], wanted, answer))

    def describe(self, target: Tensor) -> str:
        """The number of the image that is most alike."""
        return f"image {int(target) + 1}"


def load_teacher(teacher: str | Path | Backbone, architecture: str, student: Backbone) -> Backbone:
    """The network from which a student learns.

    Args:
        teacher, architecture: see `Distil`.
        student: for images of the same dimensions.

    Raises:
        MissingFileError, UserError: see `Distil`.
    """
    if isinstance(teacher, Backbone):
        teacher = copy.deepcopy(teacher)
    elif not str(teacher):
        raise UserError('it needs a teacher, such as --tasks "{distil: {teacher: runs/large}}".')
    elif architecture:
        teacher = build_backbone(architecture, student.spatial_dims, init=teacher)
    else:
        teacher, _ = trained_backbone(teacher)
    if teacher.spatial_dims != student.spatial_dims:
        raise UserError(
            f"the teacher is a network for {teacher.spatial_dims}D images, and these have {student.spatial_dims} axes: "
            "give one that was trained on such images."
        )
    return teacher


def most_alike(features: Tensor) -> Tensor:
    """The number of the other image whose features ``[B, D]`` are most alike to each one's, ``[B]``."""
    features = F.normalize(features - features.mean(dim=0), dim=1)
    return (features @ features.T).fill_diagonal_(-torch.inf).argmax(dim=1)


def _standardised(features: Tensor, size: Sequence[int]) -> Tensor:
    """Each channel of ``[B, D, *places]`` with mean 0 and deviation 1 over the mini-batch, on a map of some size."""
    pool: Any = F.adaptive_avg_pool2d if features.ndim == 4 else F.adaptive_avg_pool3d
    with torch.autocast(features.device.type, enabled=False):
        return F.batch_norm(pool(features, tuple(size)), None, None, training=True)
