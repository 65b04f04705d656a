"""A student says what a teacher says: of other views of an image, or of how far images are apart."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import at_least_single


def dino(
    student: Tensor,
    teacher: Tensor,
    centre: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """The cross-entropy of a student's answers with a teacher's to other views of an image (Caron et al. 2021, Eq. 3).

    The teacher's logits are centred, which keeps one answer from being given to all images, and sharpened, which keeps
    it from being spread over all answers (Sec. 3.1, "Avoiding collapse"). No gradient flows into them.

    Args:
        student: logits ``[V, B, K]`` of V views; the first G are those that the teacher sees.
        teacher: logits ``[G, B, K]``, with G × V above G.
        centre: of the teacher's logits, ``[K]``.
        student_temperature: the student's logits are divided by it.
        teacher_temperature: smaller, so that the teacher is surer.

    Returns:
        The mean over the images and the pairs of different views, a scalar; float32 at least, under autocast too.
    """
    with torch.autocast(student.device.type, enabled=False):
        said = F.log_softmax(at_least_single(student) / student_temperature, dim=2)
        target = (at_least_single(teacher.detach()) - centre) / teacher_temperature
        target = F.softmax(target, dim=2).to(said.dtype)
        entropies = -torch.einsum("gbk,vbk->gv", target, said) / student.shape[1]
        pairs = len(teacher) * (len(student) - 1)
        return (entropies.sum() - entropies.diagonal().sum()) / pairs


def distance_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """The distances between images' features are the teacher's, up to scale (Park et al. 2019, Eq. 5 and 6).

    Each network's distances are divided by their mean over the mini-batch, then compared with the Huber loss, so that
    the two may have different numbers of features.

    Args:
        student: ``[B, D]``, of at least two images.
        teacher: of the same images, ``[B, E]``; no gradient flows into it.

    Returns:
        The mean over the pairs of images of this process, a scalar; float32 at least, under autocast too.
    """
    with torch.autocast(student.device.type, enabled=False):
        mine, theirs = (_relative_distances(at_least_single(part)) for part in (student, teacher.detach()))
        return F.smooth_l1_loss(mine, theirs.to(mine.dtype))


def _relative_distances(features: Tensor) -> Tensor:
    """Of all pairs, over their mean."""
    distances = F.pdist(features)
    return distances / distances.mean().clamp(min=1e-12)
