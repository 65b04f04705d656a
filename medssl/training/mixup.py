"""MixUp of partially labelled images: what is unknown of one of two images stays unknown of their mixture."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from medssl.errors import UserError


def mix_up(images: Tensor, labels: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Each image of a batch mixed with another one, and the labels likewise (Zhang et al. 2018; Dong et al. 2022).

    An image x with the labels y becomes λ x + (1 - λ) x', with λ ~ Beta(α, α) of its own; a label that is known of both
    becomes λ y + (1 - λ) y', any other one unknown. (Taken for 0, as plain MixUp would, an unknown label of the other
    image would say that it is not there.) The other image is drawn among those that share the most known labels with
    it, for of random pairs in which each is labelled for one class of eleven only one in eleven has a label left. An
    image that shares none with any other remains as it is. MONAI's ``MixUpd`` pairs at random, knows no unknown label
    and has one λ a batch item drawn by NumPy on the CPU.

    Random numbers are torch's, on the images' device.

    Args:
        images: ``[B, …]``.
        labels: ``[B, K]`` of 1, 0, NaN (unknown).
        alpha: above 0; the larger, the more even the mixtures; 1: every λ is as likely.

    Returns:
        Images ``[B, …]`` and labels ``[B, K]`` from 0 to 1, NaN where unknown.
    """
    known = labels.isfinite()
    shared = known.to(images.dtype) @ known.to(images.dtype).T
    shared.fill_diagonal_(-1)
    # Below 1, so chance decides between equally good partners only.
    partner = (shared + 0.999 * torch.rand_like(shared)).argmax(dim=1)
    parameter = torch.tensor(alpha, device=images.device)
    share = torch.distributions.Beta(parameter, parameter).sample((len(images),))
    share = torch.where((known & known[partner]).any(dim=1), share, 1.0)
    of_images = share.view(-1, *[1] * (images.ndim - 1)).to(images.dtype)
    of_labels = share[:, None].to(labels.dtype)
    mixed = torch.where(of_labels < 1, of_labels * labels + (1 - of_labels) * labels[partner], labels)
    return torch.lerp(images[partner], images, of_images), mixed


class BatchMixUp:
    """What prepares the batches of a fine-tuning, with `mix_up` of each batch behind it.

    Args:
        prepare: from a batch to images ``[B, C, *spatial]`` and labels ``[B, K]`` on the device, as
            `medssl.training.prepare_labelled`.
        alpha: of the Beta distribution; 0: the batch remains as it is.

    Raises:
        UserError: for a negative alpha.
    """

    def __init__(self, prepare: Callable[..., tuple[Tensor, Tensor]], alpha: float = 0.0) -> None:
        if alpha < 0:
            raise UserError(f"mixup is the parameter of a Beta distribution, or 0 for none, got {alpha:g}.")
        self.prepare = prepare
        self.alpha = alpha

    def __call__(
        self,
        batch: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Images ``[B, C, *spatial]`` and labels ``[B, K]``, mixed where there are several."""
        images, labels = self.prepare(batch, device, non_blocking, **kwargs)
        return mix_up(images, labels, self.alpha) if self.alpha and len(images) > 1 else (images, labels)
