"""The puzzle that SRC, MCPC and SC-ASSL share: tiles along a route through each image (Zhu et al. 2020, Sec. 2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.networks import Backbone

from ..task import check_image_size
from .routes import route_pool
from .tiles import cut_tiles, draw_crop_starts


class RoutePuzzle(nn.Module):
    """Crop each image at random, lay 3 × 3 (× 3) tiles with 50 % overlap over the crop, and visit them along a route.

    The crop has twice the side of a tile; tiles start at 0, ½ and 1 tile. Sides need not be equal. The pool of routes
    is a buffer, so a checkpoint keeps the numbering of its classes.

    Args:
        backbone: that will see the tiles.
        image_size: spatial shape of the images.
        tile_size: sides of a tile; by default 7/16 of the image's, so that the crop covers 7/8 of it along each axis,
            or what the backbone needs at least, up to half the image.
        routes_per_corner: six, as the paper: 24 routes in 2D (all there are), 48 in 3D.
        pool_seed: of the draw of routes in 3D.

    Raises:
        UserError: when tiles do not fit into half the image or are too small for the backbone.
    """

    routes: Tensor

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        tile_size: Sequence[int] | None = None,
        routes_per_corner: int = 6,
        pool_seed: int = 0,
    ) -> None:
        super().__init__()
        if tile_size is None:
            tile_size = [max(side * 7 // 16, min(backbone.smallest_side, side // 2)) for side in image_size]
        check_image_size(tile_size, backbone, what="tiles")
        if len(image_size) != len(tile_size) or any(
            2 * tile > side for tile, side in zip(tile_size, image_size, strict=True)
        ):
            raise UserError(
                f"tiles of {list(tile_size)} need images of at least {[2 * tile for tile in tile_size]}, "
                f"image_size is {list(image_size)}. Lower tile_size or raise image_size."
            )
        self.tile_size = tuple(tile_size)
        self.register_buffer("routes", route_pool(backbone.spatial_dims, routes_per_corner, pool_seed))

    @property
    def route_length(self) -> int:
        """m, the tiles on a route: 5 in 2D, 7 in 3D."""
        return self.routes.shape[1]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles ``[B, m, C, *tile_size]`` in the order of the route, and the route's number ``[B]``."""
        device = images.device
        route = torch.randint(len(self.routes), (len(images),), device=device)
        crop_size = [2 * tile for tile in self.tile_size]
        crop_starts = draw_crop_starts(len(images), images.shape[2:], crop_size, device)
        offsets = torch.tensor([[0, tile // 2, tile] for tile in self.tile_size], device=device)
        grid = self.routes[route]
        starts = torch.stack([offsets[axis][grid[..., axis]] for axis in range(grid.shape[-1])], dim=-1)
        return cut_tiles(images, crop_starts[:, None] + starts, self.tile_size), route
