"""Spatial context aggregative SSL: SRC and MCPC on one route, in one pass of the backbone (Zhu et al. 2020, Sec. 2)."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from medssl.networks import Backbone

from .mcpc import MCPC
from .puzzles import tile_features
from .src import SRC
from .task import PretextOutput, PretextTask


class SCASSL(PretextTask):
    """Name the route (global context) and predict its last tile (local context); the loss is the sum of the two.

    Args:
        backbone, image_size: see `PretextTask`.
        hidden_channels, loss, temperature: see `MCPC`.
        tile_size, routes_per_corner, pool_seed: see `RoutePuzzle`.

    Raises:
        UserError: see `MCPC` and `RoutePuzzle`.
    """

    question = "which route, and which last tile?"
    compares_images = True

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        hidden_channels: int = 256,
        loss: Literal["info_nce", "ratio"] = "info_nce",
        temperature: float = 0.1,
        tile_size: Sequence[int] | None = None,
        routes_per_corner: int = 6,
        pool_seed: int = 0,
    ) -> None:
        super().__init__()
        route = (tile_size, routes_per_corner, pool_seed)
        self.src = SRC(backbone, image_size, *route)
        self.mcpc = MCPC(backbone, image_size, hidden_channels, loss, temperature, *route)
        # One route serves both: a single pool of routes in memory and in the checkpoint.
        self.mcpc.routes = self.src.routes

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles ``[B, m, C, *tile_size]`` in the order of the visit and the route's number ``[B]``."""
        return self.src.puzzle(images)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Sum of both losses; the metrics of each part under its name, the route's accuracy as the task's own."""
        tiles, route = self.puzzle(images)
        features = tile_features(backbone, tiles)
        named, predicted = self.src.solve(features, tiles, route), self.mcpc.solve(features, tiles)
        metrics = dict(named.metrics)
        for part, output in (("src", named), ("mcpc", predicted)):
            metrics[f"{part}_loss"] = output.loss.detach()
        metrics["mcpc_accuracy"], metrics["mcpc_chance"] = predicted.metrics["accuracy"], predicted.metrics["chance"]
        return PretextOutput(named.loss + predicted.loss, metrics, named.pictures)

    def describe(self, target: Tensor) -> str:
        """The route's number and its positions on the grid."""
        return self.src.describe(target)
