"""MoCo: which of thousands of images is this view from? (He et al. 2020; head and temperature of Chen et al. 2020b)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.losses import gather_with_gradient, queue_info_nce, variance_floor
from medssl.networks import Backbone

from .task import check_positive
from .teacher import Teacher
from .view_pairs import Pairs, Positives, ViewPairs, projector, same_group


class MoCo(ViewPairs):
    """Find the teacher's embedding of an image's other view among those of the mini-batch and of a queue (Eq. 1).

    The queue makes the number of negatives independent of the mini-batch, so small batches, as of volumes, can do. The
    loss is taken both ways, and one embedding of each image enters the queue after the step.

    With the queue alone as negatives and a teacher whose batch normalisations look at the mini-batch, all images of a
    mini-batch may get the same embedding, which tells the mini-batch from those of the queue (Sec. 3.3 of the paper,
    which shuffles images between GPUs). So the other images of the mini-batch are negatives here, too, and the teacher
    looks at one image at a time. The head has batch normalisation, as without it embeddings are alike at first, and
    there is a floor under the variance. On chest phantoms (``resnet10_quarter``, 64 × 64, mini-batches of 64, a queue
    of 512, 300 steps of Adam at 1e-3) the effective rank fell from 40 to 4 without all of these, while the loss fell
    and the accuracy stayed at chance. Of the four the head's normalisation decided: with it alone the rank was 41 and
    the accuracy 8 times chance, with all of them 49 and 12 times.

    Args:
        backbone, image_size: see `PretextTask`.
        out_channels: of the embedding.
        temperature: of the loss.
        queue: embeddings kept; fewer than there are images, lest an image's own old embedding be its negative.
        momentum: of the teacher, see `Teacher`; 0.999 in the paper, over many more steps.
        variance: weight of a floor under the deviation of the embedding's features (VICReg's, Bardes et al. 2022,
            Eq. 1), which a sphere's even distribution reaches; 0 leaves it out.
        view, positives: see `ViewPairs`.

    Raises:
        UserError: when sizes do not fit, or a value means nothing.
    """

    question = "which of the queue belongs here?"
    queue: Tensor
    groups: Tensor
    place: Tensor

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        out_channels: int = 128,
        temperature: float = 0.2,
        queue: int = 4096,
        momentum: float = 0.99,
        variance: float = 1.0,
        view: dict[str, Any] | None = None,
        positives: Positives = "image",
    ) -> None:
        super().__init__(backbone, image_size, view, positives)
        check_positive(temperature=temperature, queue=queue)
        self.temperature, self.variance = temperature, variance
        self.head = projector(backbone.out_channels, backbone.out_channels, out_channels)
        self.teacher = Teacher(backbone, self.head, momentum)
        self.register_buffer("queue", F.normalize(torch.randn(int(queue), out_channels), dim=1))
        self.register_buffer("groups", torch.full((int(queue),), -1))  # of the embeddings; −1: none
        self.register_buffer("place", torch.zeros((), dtype=torch.long))
        self._newest: tuple[Tensor, Tensor | None] | None = None

    def compare(self, first: Tensor, second: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """InfoNCE of each view with the teacher's embedding of the other one, and the variance term."""
        first, second = self.head(first), self.head(second)
        key1, key2 = self.teacher(pairs.views).chunk(2)
        excluded = None
        if (groups := pairs.groups) is not None:
            everybody = torch.cat([gather_with_gradient(groups), self.groups])
            excluded = same_group(groups, everybody, torch.arange(len(groups), device=groups.device))
        loss = queue_info_nce(first, key2, self.queue, self.temperature, excluded)
        loss = (loss + queue_info_nce(second, key1, self.queue, self.temperature, excluded)) / 2
        if self.variance:
            on_sphere = F.normalize(torch.cat([first, second]).to(loss.dtype), dim=1) * first.shape[1] ** 0.5
            loss = loss + self.variance * variance_floor(on_sphere)
        self._newest = key2, groups
        return loss, first, key2

    @torch.no_grad()
    def after_step(self, backbone: Backbone) -> None:
        """The teacher follows, and the newest embeddings take the place of the oldest."""
        self.teacher.follow(backbone, self.head)
        if self._newest is None:  # the schedule drew another task
            return
        keys, groups = self._newest
        keys = F.normalize(gather_with_gradient(keys).to(self.queue.dtype), dim=1)[: len(self.queue)]
        places = (self.place + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys
        if groups is not None:
            self.groups[places] = gather_with_gradient(groups)[: len(keys)]
        self.place += len(keys)
        self._newest = None
