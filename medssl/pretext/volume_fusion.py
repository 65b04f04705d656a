"""Volume fusion: how much of another image is in each voxel? (Wang et al. 2023)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medssl.errors import UserError
from medssl.losses import soft_dice
from medssl.losses.precision import at_least_single
from medssl.networks import Backbone
from medssl.transforms.boxes import MOST_BOXES, draw_boxes, last_boxes

from .reconstruction import DecoderName, Reconstruction
from .rvrm import draw_partners
from .task import Pictures, PretextOutput, check_positive


class VolumeFusion(Reconstruction):
    """Mix each image with another one, by another share in each of many boxes, and segment the boxes by their shares.

    The share of the foreground is one of 0, 1/K, …, 1; the class of a voxel is which of them. It is a segmentation
    whose masks cost nothing: encoder and decoder are both trained, with cross-entropy and Dice, as a fine-tuning will
    train them. Numbers of boxes and their sides are those that nnssl has for volumes of 96 voxels a side.

    Args:
        backbone, image_size: see `PretextTask`.
        levels: K, so there are K + 1 classes.
        boxes: fewest and most boxes in an image; later ones lie upon earlier ones. Outside them is no foreground.
        sides: shortest and longest side of a box, as shares of the image's.
        decoder: ``pyramid``, which a segmentation can begin with; ``light``, ``linear``, or in 2D ``transposed``.
        image_channels: channels of an image.

    Raises:
        UserError: when sizes do not fit, or a value means nothing.
    """

    question = "mixed by how much?"
    smallest_batch = 2

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        levels: int = 4,
        boxes: Sequence[int] = (10, 40),
        sides: Sequence[float] = (1 / 12, 5 / 12),
        decoder: DecoderName = "pyramid",
        image_channels: int = 1,
    ) -> None:
        check_positive(levels=levels)
        super().__init__(backbone, image_size, decoder, image_channels, out_channels=int(levels) + 1)
        if len(boxes) != 2 or not 1 <= boxes[0] <= boxes[1] <= MOST_BOXES:
            raise UserError(f"boxes must rise from 1 to {MOST_BOXES} at most, got {list(boxes)}.")
        if len(sides) != 2 or not 0 < sides[0] <= sides[1] <= 1:
            raise UserError(f"sides must rise within 0 and 1, got {list(sides)}.")
        self.levels, self.boxes, self.sides = int(levels), tuple(boxes), tuple(sides)

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images ``[B, C, *spatial]`` and the class of each voxel ``[B, *spatial]``, K for foreground alone.

        Each image is the foreground once, and the background of another one.

        Raises:
            UserError: when the batch holds a single image.
        """
        background = images[draw_partners(len(images), images.device)]
        classes = self._draw_classes(len(images), images.shape[2:], images.device)
        return torch.lerp(background, images, (classes / self.levels).to(images.dtype)), classes.squeeze(1)

    def _draw_classes(self, batch_size: int, image_size: Sequence[int], device: torch.device) -> Tensor:
        fewest, most = self.boxes
        starts, sides = draw_boxes(batch_size, most, image_size, self.sides, device)
        counts = torch.randint(fewest, most + 1, (batch_size, 1, 1), device=device)
        sides = sides * (torch.arange(most, device=device)[:, None] < counts)
        drawn = torch.randint(self.levels + 1, (batch_size, most), device=device)
        drawn = F.pad(drawn, (1, 0))  # where there is no box
        top = last_boxes(starts, sides, image_size)
        return drawn.gather(1, top.flatten(1)).view_as(top)

    def measure(self, images: Tensor, inputs: Tensor, target: Tensor, answer: Tensor) -> PretextOutput:
        """Cross-entropy plus Dice loss, the mean over the classes; ``chance`` is the share of the commonest one."""
        with torch.autocast(answer.device.type, enabled=False):  # sums over voxels overflow half precision
            logits = at_least_single(answer)
            truth = F.one_hot(target, self.levels + 1).movedim(-1, 1).to(logits.dtype)
            counted = torch.ones(truth.shape[:2], dtype=torch.bool, device=truth.device)
            dice = soft_dice(logits.softmax(dim=1), truth, counted).mean()
            loss = F.cross_entropy(logits, target) + 1 - dice
        said = logits.detach().argmax(dim=1)
        chance = truth.mean(dim=(0, *range(2, truth.ndim))).amax()
        metrics = {"accuracy": (said == target).float().mean(), "chance": chance, "dice": dice.detach()}
        panels = inputs.detach()[:, :1]
        low, high = panels.aminmax()
        wanted, found = (low + (high - low) * classes / self.levels for classes in (target, said))  # as grey values
        return PretextOutput(loss, metrics, Pictures(panels, wanted, found))
