"""Rubik's cube: how were the cubes permuted and turned? (Zhuang et al. 2019; used by Zhu et al. 2020, Sec. 5.2)."""

from collections.abc import Sequence
from math import factorial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.networks import Backbone

from .puzzles import TilePuzzle, tile_features
from .task import Pictures, PretextOutput, PretextTask, accuracy_metrics

GRID = 2
HALF_TURN_PLANES: dict[int, tuple[tuple[int, int], ...]] = {2: ((0, 1),), 3: ((1, 2), (0, 2))}
"""Planes of the half turns a task tells apart: one in 2D; in 3D about the first and about the second axis."""


class RubiksCube(PretextTask):
    """Permute 2 × 2 × 2 cubes, turn each by 180° about two axes or not, and tell both (sum of two losses).

    The permutation is one of the pool (cross-entropy); whether each cube is turned about the first and about the second
    axis are two yes-no questions (binary cross-entropy). In 2D there are 2 × 2 tiles, all 24 permutations and one half
    turn. Half turns keep any shape, so cubes need not be cubic.

    Args:
        backbone, image_size: see `PretextTask`.
        permutations: classes; None takes 100 in 3D, as in the original, and all 24 in 2D.
        turn_weight: weight of the turns' loss beside that of the permutation.
        tile_size, pool_seed: see `TilePuzzle`.

    Raises:
        UserError: see `TilePuzzle`.
    """

    question = "from which cells? turned?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        permutations: int | None = None,
        turn_weight: float = 1.0,
        tile_size: Sequence[int] | None = None,
        pool_seed: int = 0,
    ) -> None:
        super().__init__()
        cubes = GRID**backbone.spatial_dims
        permutations = min(100, factorial(cubes)) if permutations is None else permutations
        self.tiles = TilePuzzle(backbone, image_size, GRID, permutations, tile_size, pool_seed)
        self.turn_weight = turn_weight
        self.planes = len(HALF_TURN_PLANES[backbone.spatial_dims])
        self.order_head = nn.Linear(cubes * backbone.out_channels, permutations)
        self.turn_head = nn.Linear(backbone.out_channels, self.planes)

    def puzzle(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Cubes ``[B, cubes, C, *tile_size]``; the permutation ``[B]`` and the turns ``[B, cubes, planes]`` (bool)."""
        cubes, number = self.tiles(images)
        turned = torch.rand(*cubes.shape[:2], self.planes, device=images.device) < 0.5
        return half_turns(cubes.flatten(0, 1), turned.flatten(0, 1)).view_as(cubes), (number, turned)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Cross-entropy of the permutation plus binary cross-entropy of the turns."""
        cubes, (number, turned) = self.puzzle(images)
        features = tile_features(backbone, cubes)
        order, turns = self.order_head(features.flatten(1)), self.turn_head(features)
        loss = F.cross_entropy(order, number)
        turn_loss = F.binary_cross_entropy_with_logits(turns, turned.to(turns.dtype))
        metrics = accuracy_metrics(order, number)
        answered = turns.detach() > 0
        metrics["turn_accuracy"] = (answered == turned).float().mean()
        metrics["turn_chance"] = torch.full_like(metrics["chance"], 0.5)
        pictures = Pictures(
            cubes.detach()[:, :, 0], _together(number, turned), _together(order.detach().argmax(dim=1), answered)
        )
        return PretextOutput(loss + self.turn_weight * turn_loss, metrics, pictures)

    def describe(self, target: Tensor) -> str:
        """Which cell each cube comes from, with a mark for each of its turns."""
        number, turns = target[0], target[1:].view(-1, self.planes)
        marks = ["".join(mark for mark, turn in zip("ab", row, strict=False) if turn) for row in turns.tolist()]
        cells = self.tiles.permutations[number].tolist()
        return (
            "from cells "
            + " ".join(f"{cell + 1}{mark}" for cell, mark in zip(cells, marks, strict=True))
            + " (a, b: turned)"
        )


def _together(number: Tensor, turned: Tensor) -> Tensor:
    """Permutation and turns as one row of integers for each image."""
    return torch.cat([number[:, None], turned.flatten(1).long()], dim=1)


def half_turns(images: Tensor, turned: Tensor) -> Tensor:
    """Turn each image by 180° in the planes that are marked for it; a half turn keeps any shape.

    Args:
        images: ``[B, C, *spatial]``.
        turned: ``[B, planes]`` (bool), planes as in ``HALF_TURN_PLANES``; two half turns make one about the third axis.
    """
    for plane, marked in zip(HALF_TURN_PLANES[images.ndim - 2], turned.unbind(dim=1), strict=True):
        flipped = images.flip([2 + axis for axis in plane])
        images = torch.where(marked.view(-1, *[1] * (images.ndim - 1)), flipped, images)
    return images
