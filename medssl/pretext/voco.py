"""VoCo: in which part of the image does a crop lie? (Wu, Zhuang & Chen 2024)."""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from medssl.errors import UserError
from medssl.losses import voco
from medssl.networks import Backbone

from .puzzles import cut_tiles, draw_crop_starts, grid_starts, tile_features
from .task import Pictures, PretextOutput, PretextTask, check_image_size, check_positive
from .view_pairs import projector


class VoCo(PretextTask):
    """Tell by how much a random crop overlaps with each base crop, from how alike their features are.

    The base crops divide the image into a grid; a random crop of their size is to be as similar to each as the share of
    it that lies there. Organs lie alike in all patients, which is what such features have to know. The original takes
    the bases' features from a slow copy of the network as well, and features of all scales of its transformer; here
    they are the backbone's last, of one network, as the paper prints it.

    Args:
        backbone, image_size: see `PretextTask`.
        grid: base crops along each axis, one number or one an axis; None for 4 × 4, in a volume 4 × 4 × 1.
        crops: random crops of each image.
        weight: of the term that keeps base crops apart, see `medssl.losses.voco`.
        hidden_channels: of the projector's two hidden layers.
        out_channels: of the embedding that is compared.

    Raises:
        UserError: when sizes do not fit, or a value means nothing.
    """

    question = "which part is it from?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        grid: int | Sequence[int] | None = None,
        crops: int = 4,
        weight: float = 1.0,
        hidden_channels: int = 1024,
        out_channels: int = 256,
    ) -> None:
        super().__init__()
        dims = len(image_size)
        chosen = (4, 4, 1)[:dims] if grid is None else (grid,) * dims if isinstance(grid, int) else tuple(grid)
        if len(chosen) != dims or not all(isinstance(cells, int) and cells > 0 for cells in chosen) or prod(chosen) < 2:
            raise UserError(f"grid must be {dims} whole numbers, and at least two base crops in all, got {grid}.")
        check_positive(crops=crops, weight=weight)
        self.grid = chosen
        self.tile_size = tuple(side // cells for side, cells in zip(image_size, chosen, strict=True))
        check_image_size(self.tile_size, backbone, what=f"base crops in a grid of {list(chosen)}, now")
        self.crops, self.weight = int(crops), weight
        self.covered = [tile * cells for tile, cells in zip(self.tile_size, chosen, strict=True)]
        self.register_buffer("bases", grid_starts(chosen, self.tile_size), persistent=False)
        self.projector = projector(backbone.out_channels, hidden_channels, out_channels, hidden_layers=2)

    bases: Tensor

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Base crops, then random ones, ``[B, N + K, C, *tile_size]``, and the overlaps ``[B, K, N]``."""
        count, device = len(images), images.device
        # The grid may leave a margin, of which no side is always the same.
        corner = draw_crop_starts(count, images.shape[2:], self.covered, device)[:, None]
        random = draw_crop_starts(count * self.crops, self.covered, self.tile_size, device).unflatten(0, (count, -1))
        tiles = cut_tiles(images, corner + torch.cat([self.bases.expand(count, -1, -1), random], dim=1), self.tile_size)
        return tiles, overlap_shares(random, self.bases, self.tile_size)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """The loss of all crops; ``accuracy``: is a crop most alike to the base with which it shares most?"""
        tiles, overlaps = self.puzzle(images)
        embedded = self.projector(tile_features(backbone, tiles).flatten(0, 1)).unflatten(0, tiles.shape[:2])
        bases, crops = embedded.tensor_split([len(self.bases)], dim=1)
        loss, similarities = voco(crops, bases, overlaps, self.weight)
        target, answer = overlaps.argmax(dim=2), similarities.detach().argmax(dim=2)
        accuracy = (answer == target).float().mean()
        metrics = {"accuracy": accuracy, "chance": torch.full_like(accuracy, 1 / len(self.bases))}
        shown = tiles.detach()[:, len(self.bases) :, 0]
        return PretextOutput(loss, metrics, Pictures(shown, target[:, 0], answer[:, 0]))

    def describe(self, target: Tensor) -> str:
        """In which cell of the grid the first crop lies for the most part."""
        cell = [int(place) + 1 for place in np.unravel_index(int(target), self.grid)]
        return f"the first mostly from cell {', '.join(map(str, cell))}"


def overlap_shares(crops: Tensor, bases: Tensor, tile_size: Sequence[int]) -> Tensor:
    """The share of each crop that lies in each base crop of the same size.

    Args:
        crops: first voxels of the crops, ``[B, K, spatial_dims]``.
        bases: of the base crops, ``[N, spatial_dims]``.
        tile_size: the sides of all of them.

    Returns:
        ``[B, K, N]`` in 0..1.
    """
    sides = torch.tensor(tile_size, device=crops.device)
    shared = (sides - (crops[:, :, None] - bases).abs()).clamp(min=0)
    return (shared / sides).prod(dim=3)
