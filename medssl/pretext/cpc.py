"""Contrastive predictive coding: which tile comes further down? (Hénaff et al. 2019; 3D: Taleb et al. 2020)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.losses import info_nce
from medssl.networks import Backbone

from .puzzles import cut_tiles, draw_crop_starts, half_overlapping_starts, tile_features
from .task import Pictures, PretextOutput, PretextTask, accuracy_metrics, check_image_size, check_positive

LARGEST_GRID = {2: 7, 3: 4}
SMALLEST_GRID = 3
SKIPPED = 2
"""A tile overlaps by half with the next one; the one after that is the first that shows nothing already seen."""


class CPC(PretextTask):
    """Read each column of a grid of tiles from its start, and tell the tiles further on from all others of the batch.

    Tiles overlap by half. A gated recurrent unit runs along the first axis (down the rows of a radiograph); from its
    state after row t a linear layer for each distance k ≥ 2 predicts the code of the tile in row t + k, and InfoNCE
    compares it with the codes of every tile of the mini-batch. The original's context is a masked convolution that
    also sees the neighbouring columns; the recurrent unit is that of Zhu et al. 2020 and of van den Oord et al. 2018.

    Args:
        backbone, image_size: see `PretextTask`.
        grid: tiles along each axis, at least 3 (the recurrent unit then reads a single row before it predicts); None
            takes 7 in 2D (as the original) and 4 in 3D, or as many as leave tiles that the backbone can take.
        hidden_channels: width of the gated recurrent unit.
        code_channels: width of the codes that are compared; 64, as in the original.
        temperature: of InfoNCE.

    Raises:
        UserError: when there are fewer than three tiles along an axis, they are too small for the backbone, or the
            temperature is not positive.
    """

    question = "which tile comes further down?"
    compares_images = True
    starts: Tensor

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        grid: int | None = None,
        hidden_channels: int = 256,
        code_channels: int = 64,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if grid is None:
            # A tile is two strides wide, and grid + 1 strides make the image.
            fitting = min(image_size) // max(1, -(-backbone.smallest_side // 2)) - 1
            grid = max(SMALLEST_GRID, min(LARGEST_GRID[backbone.spatial_dims], fitting))
        if grid < SMALLEST_GRID:
            raise UserError(f"grid must be at least {SMALLEST_GRID}, got {grid}.")
        check_positive(temperature=temperature)
        stride = [side // (grid + 1) for side in image_size]
        self.tile_size = tuple(2 * step for step in stride)
        check_image_size(self.tile_size, backbone, what=f"{grid} half-overlapping tiles along each axis, now")
        self.grid, self.temperature = grid, temperature
        self.covered = [step * (grid + 1) for step in stride]
        self.register_buffer("starts", half_overlapping_starts(grid, stride).flatten(0, -2), persistent=False)
        self.recurrent = nn.GRU(backbone.out_channels, hidden_channels, batch_first=True)
        self.code = nn.Linear(backbone.out_channels, code_channels)
        self.heads = nn.ModuleDict(
            {str(distance): nn.Linear(hidden_channels, code_channels) for distance in range(SKIPPED, grid)}
        )

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles ``[B, grid ** dims, C, *tile_size]``, and for each prediction the number of its tile in the batch.

        The predictions are ordered by distance, then image, column and row, as :meth:`forward` makes them.
        """
        crop = draw_crop_starts(len(images), images.shape[2:], self.covered, images.device)
        tiles = cut_tiles(images, crop[:, None] + self.starts, self.tile_size)
        numbers = self._columns(torch.arange(len(images) * len(self.starts), device=images.device))
        targets = [numbers[:, int(distance) :].flatten() for distance in self.heads]
        return tiles, torch.cat(targets)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """InfoNCE over all predictions."""
        tiles, target = self.puzzle(images)
        features = tile_features(backbone, tiles).flatten(0, 1)
        context, _ = self.recurrent(self._columns(features))
        predictions = [head(context[:, : -int(distance)]).flatten(0, 1) for distance, head in self.heads.items()]
        loss, similarities = info_nce(torch.cat(predictions), self.code(features), target, self.temperature)
        answer = similarities.detach().argmax(dim=1)
        return PretextOutput(loss, accuracy_metrics(similarities, target), self._pictures(tiles, target, answer))

    def describe(self, target: Tensor) -> str:
        """Which tile of which image of the mini-batch."""
        image, tile = divmod(int(target), len(self.starts))
        row, column = divmod(tile, len(self.starts) // self.grid)
        return f"row {row + 1}, column {column + 1} of image {image + 1}"

    def _columns(self, tiles: Tensor) -> Tensor:
        """``[B · tiles, …]`` → ``[B · columns, grid, …]``: each column from its start."""
        return tiles.unflatten(0, (-1, self.grid, len(self.starts) // self.grid)).transpose(1, 2).flatten(0, 1)

    def _pictures(self, tiles: Tensor, target: Tensor, answer: Tensor) -> Pictures:
        """The middle column of each image, and the prediction of its last tile from the rows that it may see."""
        columns = len(self.starts) // self.grid
        middle = columns // 2
        shown = self._columns(tiles.detach()[:, :, 0].flatten(0, 1)).unflatten(0, (-1, columns))[:, middle]
        # The first distance comes first: the last row that it reaches is the bottom one.
        rows = self.grid - SKIPPED
        last = (torch.arange(len(tiles), device=tiles.device) * columns + middle) * rows + rows - 1
        return Pictures(shown, target[last], answer[last])
