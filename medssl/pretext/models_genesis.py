"""Models Genesis: undo a chain of distortions (Zhou et al. 2019; used by Zhu et al. 2020, Sec. 5.2)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from medssl.networks import Backbone
from medssl.transforms import BezierIntensity, LocalShuffle, Painting, RandomFlips
from medssl.transforms.genesis import check_probability

from .reconstruction import DecoderName, Reconstruction, reconstruction_metrics, reconstruction_pictures
from .task import PretextOutput


class ModelsGenesis(Reconstruction):
    """Mirror; shuffle locally, bend the grey values, paint over; give back the mirrored image; squared error.

    The probabilities are those of the authors' code (github.com/MrGiovanni/ModelsGenesis, `pytorch/config.py`): of the
    painted images 20 % are in-painted and 80 % out-painted. Its encoder and decoder form a U-Net, as with
    ``decoder: pyramid``; by default the backbone's last feature map is decoded alone, which costs less.

    Args:
        backbone, image_size: see `PretextTask`.
        shuffle: probability that an image is locally shuffled, see `LocalShuffle`.
        intensity: probability that its grey values are bent, see `BezierIntensity`.
        paint: probability that it is painted over, see `Painting`.
        inner: probability that a painted image is in-painted, not out-painted.
        flip: probability that it is mirrored beforehand, and once more, see `RandomFlips`.
        decoder: ``light``, ``linear``, ``pyramid``, or in 2D ``transposed``.
        image_channels: channels of an image.

    Raises:
        UserError: when sizes do not fit, or a probability does not lie in 0..1.
    """

    question = "how did it look before?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        shuffle: float = 0.5,
        intensity: float = 0.9,
        paint: float = 0.9,
        inner: float = 0.2,
        flip: float = 0.4,
        decoder: DecoderName = "light",
        image_channels: int = 1,
    ) -> None:
        super().__init__(backbone, image_size, decoder, image_channels)
        check_probability(shuffle=shuffle, intensity=intensity, paint=paint, inner=inner, flip=flip)
        self.flips = RandomFlips(flip)
        self.distortions = (LocalShuffle(shuffle), BezierIntensity(intensity), Painting(paint, inner))

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Distorted images and what they looked like before, both ``[B, C, *spatial]``, mirrored alike."""
        distorted = images = self.flips(images)
        for distort in self.distortions:
            distorted = distort(distorted)
        return distorted, images

    def measure(self, images: Tensor, inputs: Tensor, target: Tensor, answer: Tensor) -> PretextOutput:
        """Mean squared error over the whole image; ``unchanged`` is that of giving back the distorted image."""
        metrics = {**reconstruction_metrics(target, answer), "unchanged": F.mse_loss(inputs, target).detach()}
        return PretextOutput(F.mse_loss(answer, target), metrics, reconstruction_pictures(inputs, target, answer))
