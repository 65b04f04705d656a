"""DINO: what will the teacher make of the whole, seen from a part? (Caron et al. 2021)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.losses import dino, gather_with_gradient
from medssl.networks import Backbone

from .task import Pictures, PretextOutput, PretextTask, check_positive, check_share
from .teacher import Teacher
from .view_pairs import build_view, matching_metrics, projector


class Prototypes(nn.Module):
    """Cosines of embeddings with K directions that are learned (the weight-normalised last layer, its norm kept at 1).

    Args:
        in_channels: of the embedding.
        count: K.
    """

    def __init__(self, in_channels: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, in_channels))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits ``[B, K]`` of embeddings ``[B, D]``."""
        return F.linear(F.normalize(embeddings, dim=1), F.normalize(self.weight, dim=1))


class DINO(PretextTask):
    """Give each view of an image, large or small, the answer that the teacher gives to its two large ones (Eq. 3).

    An answer is a distribution over prototypes that nobody named. There are no negatives: centring and sharpening of
    the teacher's answers alone keep all images from getting the same (Sec. 3.1), and with few images or small
    mini-batches they may not. Look at ``answers``, how many the teacher tells apart in a mini-batch: its views and its
    answers share the logarithm of that in information, so it is 1 where all have one answer, be that a prototype or
    all of them alike (the two collapses of Sec. 5.3). The log warns of that. A lower temperature of the teacher works
    against the second, a higher one against the first.

    What differs from the paper: the head has batch normalisation and ReLU, like those of the other tasks with a teacher
    here, which the paper's for transformers does without; 4096 prototypes instead of 65536 and four small views instead
    of eight, for sets of thousands of images; the teacher's temperature is 0.04 throughout, where the paper's rises to
    0.07; and the last layer learns from the first step on.

    Args:
        backbone, image_size: see `PretextTask`.
        prototypes: K.
        hidden_channels: of the head's two hidden layers.
        out_channels: of the embedding that is compared with the prototypes.
        student_temperature, teacher_temperature: see `medssl.losses.dino`.
        centre_momentum: the centre is a moving average of the teacher's logits that keeps so much of itself (Eq. 4).
        momentum: of the teacher, see `Teacher`; 0.996 rising to 1 in the paper, over many more steps.
        small_views: of each image, which the student alone sees; 0 for none.
        small_side: of a small view, as a share of the image's; no smaller than the backbone takes.
        small_scale: share of the image's area (volume) that a small view shows.
        view: values for `medssl.transforms.ContrastiveView`, which draws the views; its ``scale`` is of the large ones.

    Raises:
        UserError: when sizes do not fit, or a value means nothing.
    """

    question = "what will the teacher make of it?"
    smallest_batch = 2
    compares_images = True
    centre: Tensor

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        prototypes: int = 4096,
        hidden_channels: int = 1024,
        out_channels: int = 256,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        centre_momentum: float = 0.9,
        momentum: float = 0.99,
        small_views: int = 4,
        small_side: float = 0.43,
        small_scale: Sequence[float] = (0.05, 0.4),
        view: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_positive(
            prototypes=prototypes, student_temperature=student_temperature, teacher_temperature=teacher_temperature
        )
        check_share(centre_momentum=centre_momentum, small_side=small_side)
        if small_views < 0 or int(small_views) != small_views:
            raise UserError(f"small_views must be a whole number from 0 on, got {small_views}.")
        self.view = build_view({"scale": (0.4, 1.0), **(view or {})}, image_size, backbone)
        self.small_view = build_view({**(view or {}), "scale": small_scale}, image_size, backbone)
        self.small_views = int(small_views)
        self.small_size = [max(backbone.smallest_side, round(small_side * side)) for side in image_size]
        self.temperatures = student_temperature, teacher_temperature
        self.centre_momentum = centre_momentum
        embedding = projector(backbone.out_channels, hidden_channels, out_channels, hidden_layers=2)
        self.head = nn.Sequential(embedding, Prototypes(out_channels, int(prototypes)))
        self.teacher = Teacher(backbone, self.head, momentum)
        self.register_buffer("centre", torch.zeros(int(prototypes)))
        self._newest: Tensor | None = None

    def puzzle(self, images: Tensor) -> tuple[tuple[Tensor, Tensor], None]:
        """Two large views of each image, ``[2 B, C, *spatial]``, and its small ones, ``[V B, C, *small_size]``.

        A first view of every image comes before a second one. There is no target but what the teacher says.

        Raises:
            UserError: when the batch holds a single image.
        """
        if len(images) < 2:
            raise UserError(f"A batch of at least 2 images is needed, got {len(images)}: raise batch_size.")
        large = self.view(torch.cat([images, images]))
        if not self.small_views:
            return (large, images.new_empty(0, images.shape[1], *self.small_size)), None
        small = self.small_view(images.repeat(self.small_views, *[1] * (images.ndim - 1)))
        # What they show is smaller than the image, so that hardly anything is lost between the voxels.
        mode = "bilinear" if images.ndim == 4 else "trilinear"
        return (large, F.interpolate(small, self.small_size, mode=mode, align_corners=False)), None

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Answer with the student to all views, and with the teacher to the large ones."""
        (large, small), _ = self.puzzle(images)
        answers = [self.head(backbone.pool(backbone(views))) for views in (large, small) if len(views)]
        student = torch.cat(answers).unflatten(0, (-1, len(images)))
        teacher = self.teacher(large).unflatten(0, (2, -1))
        loss = dino(student, teacher, self.centre, *self.temperatures)
        self._newest = teacher.to(self.centre.dtype).mean(dim=(0, 1))
        metrics, answer = matching_metrics(student[0], teacher[1] - self.centre)
        shares = ((teacher - self.centre) / self.temperatures[1]).float().softmax(dim=2)
        metrics["answers"] = (_entropy(shares.mean(dim=(0, 1))) - _entropy(shares).mean()).exp()
        panels = torch.stack(large.detach()[:, 0].chunk(2), dim=1)
        return PretextOutput(loss, metrics, Pictures(panels, torch.arange(len(panels), device=large.device), answer))

    @torch.no_grad()
    def after_step(self, backbone: Backbone) -> None:
        """The teacher follows, and the centre moves to the mean of its newest logits, over all processes."""
        self.teacher.follow(backbone, self.head)
        if self._newest is not None:  # else the schedule drew another task
            self.centre.lerp_(gather_with_gradient(self._newest[None]).mean(dim=0), 1 - self.centre_momentum)
            self._newest = None

    def describe(self, target: Tensor) -> str:
        """Whose view it is."""
        return f"a view of image {int(target) + 1}"


def _entropy(shares: Tensor) -> Tensor:
    """Of distributions over the last axis, in nats."""
    return torch.special.entr(shares).sum(dim=-1)
