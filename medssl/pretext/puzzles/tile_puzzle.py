"""The puzzle that jigsaw and Rubik's cube share: tiles cut from a grid of cells and put in another order."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone

from ..task import check_image_size
from .tiles import cut_tiles, draw_cell_starts, normalise_tiles

TILE_PER_CELL = 64 / 75
"""Noroozi & Favaro 2016 cut tiles of 64 pixels out of cells of 75."""
ENUMERATED_ITEMS = 9
"""Up to 9! = 362 880 permutations are all looked at; of more items a sample stands for them."""
CANDIDATES = 100_000


class TilePuzzle(nn.Module):
    """Divide each image into cells, cut one tile out of each at a random place, and permute the tiles.

    Against shortcuts (Noroozi & Favaro 2016, Sec. 4.2): the gaps between tiles are random, so that edges do not go on
    from one to the next, and every tile is normalised by itself, so that brightness does not tell its place. The pool
    of permutations is a buffer, so a checkpoint keeps the numbering of its classes.

    Args:
        backbone: that will see the tiles.
        image_size: spatial shape of the images.
        grid: cells along each axis.
        permutations: how many are told apart, see `distant_permutations`.
        tile_size: sides of a tile; by default 64/75 of a cell's.
        pool_seed: of the draw of permutations.

    Raises:
        UserError: when tiles leave no gap or are too small for the backbone, or there are not as many permutations.
    """

    permutations: Tensor

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        grid: int,
        permutations: int,
        tile_size: Sequence[int] | None = None,
        pool_seed: int = 0,
    ) -> None:
        super().__init__()
        if grid < 2:
            raise UserError(f"grid must be at least 2, got {grid}.")
        cells = [side // grid for side in image_size]
        if tile_size is None:
            tile_size = [int(cell * TILE_PER_CELL) for cell in cells]
            if min(tile_size) < backbone.smallest_side and len(image_size) == backbone.spatial_dims:
                raise UserError(
                    f"{grid} tiles along each axis of {list(image_size)} are too small for {backbone.name}: it "
                    f"needs images of at least {grid * ceil(backbone.smallest_side / TILE_PER_CELL)} along every axis."
                )
        check_image_size(tile_size, backbone, what="tiles")
        if any(tile >= cell for tile, cell in zip(tile_size, cells, strict=True)):
            raise UserError(
                f"tiles of {list(tile_size)} leave no gap in cells of {cells}, so their edges would tell which "
                "are neighbours. Lower tile_size or raise image_size."
            )
        self.grid, self.tile_size = grid, tuple(tile_size)
        pool = distant_permutations(grid**backbone.spatial_dims, permutations, pool_seed)
        self.register_buffer("permutations", pool.clone())

    @property
    def tiles(self) -> int:
        """Tiles of an image."""
        return self.permutations.shape[1]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles ``[B, tiles, C, *tile_size]`` in their new order, and the number of the permutation ``[B]``.

        The tile at place ``i`` is the one from cell ``permutations[number, i]``.
        """
        device = images.device
        number = torch.randint(len(self.permutations), (len(images),), device=device)
        starts = draw_cell_starts(len(images), images.shape[2:], self.grid, self.tile_size, device)
        order = self.permutations[number][..., None].expand_as(starts)
        return normalise_tiles(cut_tiles(images, starts.gather(1, order), self.tile_size)), number


def every_permutation(items: int) -> Tensor:
    """All permutations of ``items`` things, ``[items!, items]`` (uint8)."""
    permutations = torch.zeros(1, 1, dtype=torch.uint8)
    for newest in range(1, items):
        new_column = permutations.new_full((len(permutations), 1), newest)
        inserted = [
            torch.cat([permutations[:, :place], new_column, permutations[:, place:]], dim=1)
            for place in range(newest + 1)
        ]
        permutations = torch.cat(inserted)
    return permutations


@lru_cache(maxsize=8)
def distant_permutations(items: int, count: int, seed: int = 0) -> Tensor:
    """Permutations that are easily told apart: of large Hamming distance, chosen greedily.

    The first is drawn at random; each further one is the candidate farthest from its nearest chosen one and, among
    those, the farthest on average. (Noroozi & Favaro 2016, Algorithm 1, look at the average alone, which lets two
    permutations come close.) Up to nine items all permutations are candidates, of more items 100 000 random ones.

    Args:
        items: things to permute, at least 2.
        count: permutations to choose.
        seed: of the random draws, which leave torch's global generator alone.

    Returns:
        ``[count, items]`` (int64), each row a permutation of 0 … items − 1, no two alike. Do not change it in place.

    Raises:
        UserError: when there are not as many permutations.
    """
    if items < 2:
        raise UserError(f"There is nothing to permute in {items} item.")
    generator = torch.Generator().manual_seed(seed)
    if items <= ENUMERATED_ITEMS:
        candidates = every_permutation(items)
    else:
        candidates = torch.rand(CANDIDATES, items, generator=generator).argsort(dim=1).to(torch.int16).unique(dim=0)
    if not 1 <= count <= len(candidates):
        raise UserError(f"{items} items have {len(candidates)} permutations to choose from, {count} were asked for.")
    columns = candidates.T.contiguous()
    chosen = [int(torch.randint(len(candidates), (), generator=generator))]
    nearest = torch.full((len(candidates),), items + 1, dtype=torch.int32)
    total = torch.zeros(len(candidates), dtype=torch.int32)
    while len(chosen) < count:
        distance = torch.zeros_like(total)
        for column in columns:
            distance += column != column[chosen[-1]]
        nearest = torch.minimum(nearest, distance)
        total += distance
        # Larger than any total: the distance to the nearest decides first.
        chosen.append(int((nearest * (items * count + 1) + total).argmax()))
    return candidates[torch.tensor(chosen)].long()
