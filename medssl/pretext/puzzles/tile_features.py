"""The Siamese network of all tasks that look at tiles: every tile of the mini-batch in one pass of the backbone."""

from torch import Tensor

from medssl.networks import Backbone


def tile_features(backbone: Backbone, tiles: Tensor) -> Tensor:
    """Pooled features ``[B, m, D]`` of tiles ``[B, m, C, *tile]`` (Zhu et al. 2020, Eq. 1).

    The tiles of all images go through the backbone as one batch, which is the Siamese network of the paper; batch
    normalisation therefore takes its statistics over all tiles of the mini-batch.
    """
    features = backbone.pool(backbone(tiles.flatten(0, 1)))
    return features.unflatten(0, tiles.shape[:2])
