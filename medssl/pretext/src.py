"""Sampling route classification: along which route were these tiles visited? (Zhu et al. 2020, Sec. 2.1, 2.3)."""

from collections.abc import Sequence

from torch import Tensor, nn

from medssl.networks import Backbone

from .puzzles import RoutePuzzle, tile_features
from .task import PretextOutput, PretextTask, classification


class SRC(PretextTask):
    """Classify the route from the tiles' features, concatenated in the order of the visit, with one linear layer.

    Neighbouring tiles overlap by half, so two tiles may be matched by what they share: that is how the paper sets the
    puzzle, and it is what makes it solvable on an image without anatomy too.

    Args:
        backbone, image_size: see `PretextTask`.
        tile_size, routes_per_corner, pool_seed: see `RoutePuzzle`.

    Raises:
        UserError: see `RoutePuzzle`.
    """

    question = "along which route?"

    def __init__(
        self,
        backbone: Backbone,
        image_size: Sequence[int],
        tile_size: Sequence[int] | None = None,
        routes_per_corner: int = 6,
        pool_seed: int = 0,
    ) -> None:
        super().__init__()
        self.routes = RoutePuzzle(backbone, image_size, tile_size, routes_per_corner, pool_seed)
        self.head = nn.Linear(self.routes.route_length * backbone.out_channels, len(self.routes.routes))

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles ``[B, m, C, *tile_size]`` in the order of the visit and the route's number ``[B]``."""
        return self.routes(images)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Cross-entropy of the predicted route."""
        tiles, route = self.puzzle(images)
        return self.solve(tile_features(backbone, tiles), tiles, route)

    def solve(self, features: Tensor, tiles: Tensor, route: Tensor) -> PretextOutput:
        """The answer from the tiles' features ``[B, m, D]``."""
        return classification(self.head(features.flatten(1)), route, tiles[:, :, 0])

    def describe(self, target: Tensor) -> str:
        """The positions on the grid in the order of the visit."""
        places = self.routes.routes[int(target)].tolist()
        return f"route {int(target)}: " + " ".join("".join(map(str, place)) for place in places)
