"""Reverse vicinal risk minimisation: in which ratio were two images mixed? (Dong et al. 2024, Sec. 5.3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone

from .puzzles import cut_tiles, draw_crop_starts
from .task import Pictures, PretextOutput, PretextTask, check_image_size, check_positive


class RVRM(PretextTask):
    """Predict the MixUp coefficient λ from the two images and their mixture, with squared error (Eq. 6).

    The backbone takes three times the channels of an image. Afterwards a single image stands there three times, which
    ``medssl.networks.fold_input_copies`` turns into an ordinary first convolution without changing any output.

    As the paper defines it, λ can be read off any single pixel where the images differ, so a small error does not show
    that the backbone learned anatomy. ``disguise`` takes that shortcut away: each of the three images is then cropped
    at a place of its own, scaled in intensity and noised by itself, so that no pixel of the mixture stands over the
    pixels it was made of.

    Which to use: the paper's form to follow the paper, or beside other tasks on one backbone. It is learned quickly (an
    error of 0.004 after 250 steps on chest phantoms, where a constant answer has 0.083), but its features were then
    worth no more to a linear probe than untrained ones (``benchmarks/results/rvrm_shortcut.md``, three seeds).
    Disguised it is much harder (0.042; on small head volumes 250 steps taught next to nothing), and in so short a
    training its features were worth no more either. Whether it pays in a longer one is not measured: try it where the
    plain error falls to nearly nothing at once, and let a linear probe on your own labels decide.

    Args:
        backbone: with ``in_channels`` of three times the image's.
        image_size: spatial shape of the images.
        alpha: λ ~ Beta(alpha, alpha); 1 is uniform, as in Sec. 6.2.6.
        disguise: 0 for the paper's form; 1 shifts by up to 1/8 of each side, scales by a factor within 1 ± 0.3 and adds
            noise of 0.2 standard deviations of the image; values between do less, in proportion.

    Raises:
        UserError: when the backbone's channels are no multiple of three, ``alpha`` is not positive, ``disguise`` does
            not lie in 0..1, or the disguised images are too small for the backbone.
    """

    question = "mixed in which ratio?"
    smallest_batch = 2
    copies = 3  # the first image, the second, and their mixture

    def __init__(
        self, backbone: Backbone, image_size: Sequence[int], alpha: float = 1.0, disguise: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 <= disguise <= 1:
            raise UserError(f"disguise must lie in 0..1, got {disguise}.")
        self.crop_size = [side - int(disguise * side / 8) for side in image_size]
        check_image_size(self.crop_size, backbone)
        if backbone.in_channels % self.copies:
            raise UserError(
                f"rvrm sees two images and their mixture at once: the backbone needs three times an image's channels, "
                f"not {backbone.in_channels}. Set copies: {self.copies} in the config."
            )
        check_positive(alpha=alpha)
        self.alpha, self.disguise = alpha, disguise
        self.head = nn.Linear(backbone.out_channels, 1)
        # The mean of λ: the first steps need not be spent on finding it.
        nn.init.constant_(self.head.bias, 0.5)

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, 3 C, *spatial]``: each image, its partner and their mixture, and the coefficients λ ``[B]``.

        Raises:
            UserError: when the batch holds a single image.
        """
        partners = images[draw_partners(len(images), images.device)]
        coefficients = draw_coefficients(len(images), self.alpha, images.device)
        three = [images, partners, mix(images, partners, coefficients)]
        if self.disguise:
            three = [self._disguised(one) for one in three]
        return torch.cat(three, dim=1), coefficients

    def _disguised(self, images: Tensor) -> Tensor:
        # Cropping leaves no trace of the shift, as padding or interpolation would.
        starts = draw_crop_starts(len(images), images.shape[2:], self.crop_size, images.device)
        crops = cut_tiles(images, starts[:, None], self.crop_size)[:, 0]
        numbers = torch.rand(len(images), *[1] * (images.ndim - 1), device=images.device)
        spread = images.flatten(1).std(dim=1).view_as(numbers)
        noise = 0.2 * self.disguise * spread * torch.randn_like(crops)
        return crops * (1 + 0.3 * self.disguise * (2 * numbers - 1)) + noise

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Squared error of the predicted λ."""
        inputs, target = self.puzzle(images)
        answer = self.head(backbone.pool(backbone(inputs))).squeeze(1)
        loss = F.mse_loss(answer, target.to(answer.dtype))
        # A constant answer of 1/2 has the variance of Beta(alpha, alpha) as its error.
        metrics = {"error": loss.detach(), "baseline": torch.full_like(loss.detach(), 1 / (4 * (2 * self.alpha + 1)))}
        panels = inputs.detach()[:, :: images.shape[1]]
        return PretextOutput(loss, metrics, Pictures(panels, target, answer.detach()))

    def describe(self, target: Tensor) -> str:
        """The coefficient."""
        return f"λ = {target.item():.2f}"


def draw_partners(batch_size: int, device: torch.device) -> Tensor:
    """A partner for every image of the batch, never itself: ``[B]``, a cyclic shift of a random order.

    Raises:
        UserError: when the batch has fewer than two images.
    """
    if batch_size < 2:
        raise UserError(f"Mixing pairs of images needs a batch of at least 2, got {batch_size}: raise batch_size.")
    order = torch.randperm(batch_size, device=device)
    return torch.empty_like(order).index_copy_(0, order, order.roll(1))


def draw_coefficients(batch_size: int, alpha: float, device: torch.device) -> Tensor:
    """MixUp coefficients λ ~ Beta(alpha, alpha), one a pair: ``[B]`` in 0..1."""
    concentration = torch.full((batch_size,), alpha, device=device)
    return torch.distributions.Beta(concentration, concentration).sample()


def mix(first: Tensor, second: Tensor, coefficient: Tensor) -> Tensor:
    """The vicinal images of MixUp, ``λ · first + (1 − λ) · second`` (Eq. 4).

    Args:
        first: ``[B, C, *spatial]``.
        second: of the same shape.
        coefficient: λ, ``[B]``.
    """
    # lerp is one pass over memory where the written-out formula makes two temporaries.
    return torch.lerp(second, first, coefficient.to(first.dtype).view(-1, *[1] * (first.ndim - 1)))
