"""Reverse vicinal risk minimisation: in which ratio were two images mixed? (Dong et al. 2024, Sec. 5.3)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.losses import mixture_info_nce
from medssl.networks import Backbone

from .puzzles import cut_tiles, draw_crop_starts
from .task import Pictures, PretextOutput, PretextTask, accuracy_metrics, check_image_size, check_positive
from .view_pairs import build_view


class RVRM(PretextTask):
    """Predict the MixUp coefficient λ from the two images and their mixture. Two forms:

    - ``printed``, the paper's: all three stand on the channel axis, and λ is answered with squared error (Eq. 6). The
      backbone takes three times the channels of an image. Afterwards a single image stands there three times, which
      ``medssl.networks.fold_input_copies`` turns into an ordinary first convolution without changing any output.
    - ``siamese``, ours: random views of the images and of their mixtures pass an ordinary backbone apart. Each mixture
      looks for its images among all of the mini-batch: cross-entropy of the cosine similarities over the temperature,
      with the target λ on the one and 1 − λ on the other. λ is what the two have of each other's similarity. Each image
      is in one mixture: 1.5 passes of the backbone an image, where SimCLR takes 2.

    As printed, λ can be read off any single pixel where the images differ, so a small error does not show that the
    backbone learned anatomy. ``disguise`` takes that shortcut away: each of the three images is then cropped at a place
    of its own, scaled in intensity and noised by itself, so that no pixel of the mixture stands over the pixels it was
    made of.

    Which to use: the paper's form to follow the paper, or beside other tasks on one backbone. It is learned quickly (an
    error of 0.004 after 250 steps on chest phantoms, where a constant answer has 0.083), but its features were then
    worth no more to a linear probe than untrained ones (``benchmarks/results/rvrm_shortcut.md``, three seeds).
    Disguised it is much harder (0.042; on small head volumes 250 steps taught next to nothing), and in so short a
    training its features were worth no more either. The siamese form is for single tasks: on radiographs, at SimCLR's
    cost, a probe on it came close to SimCLR's without reaching it. Mixtures looked for by the images too, as many
    mixtures as images, mixtures of views, or a smaller ``alpha`` were no better
    (``benchmarks/results/rvrm_siamese.md``).

    Args:
        backbone: ``in_channels`` of three times the image's for the printed form.
        image_size: spatial shape of the images.
        alpha: λ ~ Beta(alpha, alpha); 1 is uniform, as in Sec. 6.2.6.
        disguise: of the printed form. 0 for the paper's; 1 shifts by up to 1/8 of each side, scales by a factor within
            1 ± 0.3 and adds noise of 0.2 standard deviations of the image; values between do less, in proportion.
        form: ``printed`` or ``siamese``.
        out_channels: of the embedding that the siamese form compares.
        temperature: by which it divides the similarities.
        view: values for `medssl.transforms.ContrastiveView`, which draws its views.

    Raises:
        UserError: for an unknown form, or a value of the other one; when the backbone's channels are no multiple of
            three for the printed form, ``alpha`` or the temperature is not positive, ``disguise`` does not lie in 0..1,
            or the images are too small for the backbone.
    """

    question = "mixed in which ratio?"
    smallest_batch = 2
    copies = 3  # the first image, the second, and their mixture

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        alpha: float = 1.0,
        disguise: float = 0.0,
        form: Literal["printed", "siamese"] = "printed",
        out_channels: int = 128,
        temperature: float = 0.2,
        view: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_positive(alpha=alpha, temperature=temperature)
        if not 0 <= disguise <= 1:
            raise UserError(f"disguise must lie in 0..1, got {disguise}.")
        if form not in ("printed", "siamese"):
            raise UserError(f"form must be printed or siamese, got {form!r}.")
        if disguise and form == "siamese":
            raise UserError("disguise belongs to form: printed; form: siamese draws views, see view.")
        if view and form == "printed":
            raise UserError("view belongs to form: siamese; form: printed has disguise.")
        self.alpha, self.disguise, self.form, self.temperature = alpha, disguise, form, temperature
        self.compares_images = form == "siamese"
        self.copies = self.copies_for({"form": form})
        features = backbone.out_channels
        if form == "siamese":
            self.view = build_view(view, image_size, backbone)
            self.head: nn.Module = nn.Sequential(
                nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, out_channels)
            )
            return
        self.crop_size = [side - int(disguise * side / 8) for side in image_size]
        check_image_size(self.crop_size, backbone)
        if backbone.in_channels % self.copies:
            raise UserError(
                f"rvrm sees two images and their mixture at once: the backbone needs three times an image's channels, "
                f"not {backbone.in_channels}. Set copies: {self.copies} in the config."
            )
        self.head = nn.Linear(features, 1)
        # The mean of λ: the first steps need not be spent on finding it.
        nn.init.constant_(self.head.bias, 0.5)

    @classmethod
    def copies_for(cls, values: Mapping[str, Any]) -> int:
        """Three for the printed form, one for the siamese."""
        return 1 if values.get("form") == "siamese" else cls.copies

    def puzzle(self, images: Tensor) -> tuple[Tensor, Any]:
        """The printed form: ``[B, 3 C, *spatial]``, each image, its partner and their mixture; and the λ ``[B]``.

        The siamese form: ``[B + B // 2, C, *spatial]``, a view of each image, then of each mixture; and of the mixtures
        their images' numbers ``[2, B // 2]`` and λ ``[B // 2]``.

        Raises:
            UserError: when the batch holds a single image.
        """
        if self.form == "siamese":
            pairs = draw_pairs(len(images), images.device)
            coefficients = draw_coefficients(pairs.shape[1], self.alpha, images.device)
            mixtures = mix(images[pairs[0]], images[pairs[1]], coefficients)
            return self.view(torch.cat([images, mixtures])), (pairs, coefficients)
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
        """Loss, and the squared error of λ; ``accuracy`` of the siamese form: is the larger share's image found?"""
        inputs, target = self.puzzle(images)
        answers = self.head(backbone.pool(backbone(inputs)))
        if self.form == "siamese":
            return self._compare(answers, inputs, *target)
        answer = answers.squeeze(1)
        loss = F.mse_loss(answer, target.to(answer.dtype))
        panels = inputs.detach()[:, :: images.shape[1]]
        return PretextOutput(loss, self._errors(answer, target), Pictures(panels, target, answer.detach()))

    def _compare(self, embedded: Tensor, views: Tensor, pairs: Tensor, coefficients: Tensor) -> PretextOutput:
        images, mixtures = embedded.tensor_split([len(embedded) - len(coefficients)])
        loss, similarities = mixture_info_nce(mixtures, images, pairs, coefficients, self.temperature)
        first, second = similarities.detach().gather(1, pairs.T).unbind(dim=1)
        answer = (first - second).sigmoid()
        metrics = self._errors(answer, coefficients)
        metrics |= accuracy_metrics(similarities, torch.where(coefficients >= 0.5, pairs[0], pairs[1]))
        shown = views.detach()[:, 0]
        panels = torch.stack([*shown[pairs], shown[len(images) :]], dim=1)
        return PretextOutput(loss, metrics, Pictures(panels, coefficients, answer))

    def _errors(self, answer: Tensor, coefficients: Tensor) -> dict[str, Tensor]:
        error = F.mse_loss(answer.detach(), coefficients.to(answer.dtype))
        # A constant answer of 1/2 has the variance of Beta(alpha, alpha) as its error.
        return {"error": error, "baseline": torch.full_like(error, 1 / (4 * (2 * self.alpha + 1)))}

    def describe(self, target: Tensor) -> str:
        """The coefficient."""
        return f"λ = {target.item():.2f}"


def draw_partners(batch_size: int, device: torch.device) -> Tensor:
    """A partner for every image of the batch, never itself: ``[B]``, a cyclic shift of a random order.

    Raises:
        UserError: when the batch has fewer than two images.
    """
    order = _random_order(batch_size, device)
    return torch.empty_like(order).index_copy_(0, order, order.roll(1))


def draw_pairs(batch_size: int, device: torch.device) -> Tensor:
    """Pairs that share no image: ``[2, B // 2]``; an odd one is left over.

    Raises:
        UserError: when the batch has fewer than two images.
    """
    return _random_order(batch_size, device)[: batch_size // 2 * 2].view(2, -1)


def _random_order(batch_size: int, device: torch.device) -> Tensor:
    if batch_size < 2:
        raise UserError(f"Mixing pairs of images needs a batch of at least 2, got {batch_size}: raise batch_size.")
    return torch.randperm(batch_size, device=device)


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
