"""Gradient task affinity: would a step of the pretext task also be a step of the downstream task?

Dong et al. 2024 define it (Eq. 2) and leave it, because the two tasks are trained apart and one batch says little. A
linear head fitted to the features of the moment brings both gradients together, and batches can be averaged.

The head must see the features that it was fitted to. With batch normalisation those of evaluation are others than those
of training: a head fitted in the one mode had a loss of 0.29, in the other 0.97, where a constant has 0.35, so that its
gradient only led back to where the head had been fitted. Hence both are looked at in evaluation mode, after the
statistics, which a pre-training leaves as its puzzles had them, were taken anew from plain images.
"""

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from medssl.networks import Backbone
from medssl.pretext import PretextModel


@torch.no_grad()
def restate_batch_norm(backbone: Backbone, batches: Iterable[Tensor]) -> None:
    """Take the statistics of a backbone's batch normalisation anew, in place: the mean over some mini-batches.

    Args:
        backbone: in any mode, which it keeps; without batch normalisation nothing changes.
        batches: plain images ``[B, C, *spatial]``, on the backbone's device.
    """
    update_bn(batches, backbone)


def gradient_affinity(
    model: PretextModel,
    head: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Iterable[tuple[Tensor, ...]],
) -> Tensor:
    """The cosine between the two tasks' gradients with respect to the shared backbone, on each mini-batch.

    Both losses see the same images, in evaluation mode, in which the head must have been fitted: to features of this
    very backbone, after `restate_batch_norm`. The gradients are noisy, which draws the cosine towards 0, the more so
    the smaller the batches: values compare between models only at one batch size, and their sign says more than their
    size.

    Args:
        model: the pretext model as it is at some moment of its training; it stays as it is.
        head: from pooled features ``[B, D]`` to logits ``[B, K]``, on the model's device.
        loss: the downstream loss, from logits and labels to a scalar.
        batches: images ``[B, C, *spatial]`` and labels ``[B, K]``, on the model's device, and what else the model is
            given of a batch, as its patients.

    Returns:
        A cosine in −1 … 1 for each batch; 0 where a gradient vanishes, as it does when a batch has no known label.
    """
    model = copy.deepcopy(model).eval()
    parameters = list(model.backbone.parameters())
    cosines = []
    for images, labels, *others in batches:
        pretext = _gradient(model(images, *others).loss, parameters)
        features = model.backbone.pool(model.backbone(images))
        downstream = _gradient(loss(head(features), labels), parameters)
        cosines.append(_cosine(pretext, downstream))
    return torch.stack(cosines)


def _gradient(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Sequence[Tensor]:
    return torch.autograd.grad(loss, parameters, materialize_grads=True)


def _cosine(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    # Torch's cosine_similarity of the 11 million float32 of ResNet-18 gives 1.001 for a gradient and itself.
    product, square, other = (_product(*pair) for pair in ((first, second), (first, first), (second, second)))
    return product / (square * other).sqrt().clamp(min=torch.finfo(product.dtype).tiny)


def _product(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    products = [torch.dot(one.flatten(), two.flatten()) for one, two in zip(first, second, strict=True)]
    return torch.stack(products).double().sum()
