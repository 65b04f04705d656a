"""Jigsaw puzzles: how were the tiles permuted? (Noroozi & Favaro 2016; 3D: Taleb et al. 2020)."""

from collections.abc import Sequence

from torch import Tensor, nn

from medssl.networks import Backbone

from .puzzles import TilePuzzle, tile_features
from .task import PretextOutput, PretextTask, classification


class Jigsaw(PretextTask):
    """Classify the permutation of 3 × 3 (× 3) tiles from their features, concatenated in the order shown, by one layer.

    Args:
        backbone, image_size: see `PretextTask`.
        grid: tiles along each axis; 2 makes an easier puzzle for small volumes.
        permutations: classes, as far from one another as can be.
        tile_size, pool_seed: see `TilePuzzle`.

    Raises:
        UserError: see `TilePuzzle`.
    """

    question = "which cell is each tile from?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        grid: int = 3,
        permutations: int = 64,
        tile_size: Sequence[int] | None = None,
        pool_seed: int = 0,
    ) -> None:
        super().__init__()
        self.tiles = TilePuzzle(backbone, image_size, grid, permutations, tile_size, pool_seed)
        self.head = nn.Linear(self.tiles.tiles * backbone.out_channels, permutations)

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles ``[B, tiles, C, *tile_size]`` in their new order and the number of the permutation ``[B]``."""
        return self.tiles(images)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Cross-entropy of the predicted permutation."""
        tiles, target = self.puzzle(images)
        return classification(self.head(tile_features(backbone, tiles).flatten(1)), target, tiles[:, :, 0])

    def describe(self, target: Tensor) -> str:
        """Which cell each tile comes from."""
        return "from cells " + " ".join(str(cell + 1) for cell in self.tiles.permutations[int(target)].tolist())
