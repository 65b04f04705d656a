"""Modified contrastive predictive coding: how will a route's last tile look? (Zhu et al. 2020, Sec. 2.2)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import UserError
from medssl.losses import gather_with_gradient, info_nce, predictive_ratio
from medssl.networks import Backbone

from .puzzles import RoutePuzzle, tile_features
from .task import Pictures, PretextOutput, PretextTask, accuracy_metrics, check_positive


class MCPC(PretextTask):
    """A recurrent network reads the features of the first m − 1 tiles and predicts those of the m-th (Eq. 2).

    The prediction has to be told from every other tile of the mini-batch, those of its own image included. Two losses:

    - ``info_nce``: InfoNCE on cosine similarities, which the paper's loss is "inspired by";
    - ``ratio``: the paper's Eq. 3, for the record only. It is the cross-entropy with the true features over that with
      other tiles. As printed (with its minus sign, minimised) it would reward a prediction for being *unlike* the true
      tile; here it has the sign that makes them match. As printed, too, the other tiles are the image's own, so that
      where a tile lies is all there is to learn; here they are also the last tiles of the other images. And the
      cross-entropy needs numbers in 0..1: pooled features, which are never negative, are standardised over the
      mini-batch and pass a sigmoid. All that does not make it a good loss, for it weighs easy negatives like hard ones.
      In short trials on phantoms it named the last tile of an unseen image hardly more often than chance.

    Args:
        backbone, image_size: see `PretextTask`.
        hidden_channels: width of the gated recurrent unit.
        loss: ``info_nce`` or ``ratio``.
        temperature: of InfoNCE.
        tile_size, routes_per_corner, pool_seed: see `RoutePuzzle`.

    Raises:
        UserError: for an unknown loss or a temperature that is not positive; see also `RoutePuzzle`.
    """

    question = "which tile ends the route?"
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
        if loss not in ("info_nce", "ratio"):
            raise UserError(f"loss must be info_nce or ratio, got {loss!r}.")
        check_positive(temperature=temperature)
        self.loss = loss
        self.temperature = temperature
        self.routes = RoutePuzzle(backbone, image_size, tile_size, routes_per_corner, pool_seed)
        self.recurrent = nn.GRU(backbone.out_channels, hidden_channels, batch_first=True)
        self.head = nn.Linear(hidden_channels, backbone.out_channels)

    def puzzle(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles ``[B, m, C, *tile_size]`` in the order of the visit, and each image's last among all B · m of them."""
        tiles, _ = self.routes(images)
        return tiles, self._last_tiles(tiles)

    def forward(self, backbone: Backbone, images: Tensor) -> PretextOutput:
        """Loss and accuracy of the predicted features."""
        tiles, _ = self.puzzle(images)
        return self.solve(tile_features(backbone, tiles), tiles)

    def solve(self, features: Tensor, tiles: Tensor) -> PretextOutput:
        """The prediction from the tiles' features ``[B, m, D]``."""
        summary, _ = self.recurrent(features[:, :-1])
        prediction = self.head(summary[:, -1])
        target = self._last_tiles(tiles)
        if self.loss == "ratio":
            standardised = F.batch_norm(features.flatten(0, 1), None, None, training=True).view_as(features)
            loss = predictive_ratio(prediction, standardised, gather_with_gradient(standardised[:, -1]))
            similarities = prediction @ standardised.flatten(0, 1).sigmoid().T
        else:
            loss, similarities = info_nce(prediction, features.flatten(0, 1), target, self.temperature)
        pictures = Pictures(tiles.detach()[:, :, 0], target, similarities.detach().argmax(dim=1))
        return PretextOutput(loss, accuracy_metrics(similarities, target), pictures)

    def describe(self, target: Tensor) -> str:
        """Which tile of which image of the mini-batch."""
        image, tile = divmod(int(target), self.routes.route_length)
        return f"tile {tile + 1} of image {image + 1}"

    def _last_tiles(self, tiles: Tensor) -> Tensor:
        batch_size, length = tiles.shape[:2]
        return torch.arange(batch_size, device=tiles.device) * length + length - 1
