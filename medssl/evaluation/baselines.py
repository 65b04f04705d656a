"""Two trivial results to hold beside every real one, so that nobody takes a shortcut in the data for a finding.

A logistic regression on thumbnails sees brightness, exposure and outline of an image and no finding; the probe of a
backbone with random weights sees what any convolutions see. What they reach, the images give away.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.utils import CommonKeys
from torch import Tensor

from medssl.networks import Backbone, compute_features

from .logistic import linear_probe

BASELINES = {"pixels": "logistic regression on few pixels", "untrained": "probe of the untrained backbone"}
"""What `TrivialBaselines` gives, in words."""


def thumbnails(images: Tensor, side: int = 8) -> Tensor:
    """Each image as few pixels: the means over a grid of ``side`` cells along each axis.

    Args:
        images: ``[B, C, *spatial]``, 2D or 3D.
        side: cells along each axis.

    Returns:
        ``[B, C · side^dims]``.
    """
    pool = {4: F.adaptive_avg_pool2d, 5: F.adaptive_avg_pool3d}[images.ndim]
    return pool(images, side).flatten(1)


class TrivialBaselines:
    """The trivial results for the images of a loader.

    Args:
        network: a backbone with random weights; with those of another seed the result differs a little.
        training_loader: gives the training images once, as batches of ``image``, ``label`` and, so that the probes are
            regularised by folds over patients and not over images, ``patient``.
        device: to run the backbone on.
    """

    def __init__(
        self, network: Backbone, training_loader: Iterable[Mapping[str, Any]], device: torch.device | str
    ) -> None:
        self.network = network
        self.training_loader = training_loader
        self.device = device

    def __call__(self, loader: Iterable[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Fit to the training images, and judge those of ``loader``, which gives batches of the same kind.

        Returns:
            ``pixels`` (probe of the thumbnails) and ``untrained`` (probe of the backbone), each ``[N, K]`` in the order
            of the loader; constant for a class that is not known both positive and negative in training.
        """
        training, labels, patients = self._features(self.training_loader, "baselines: training images")
        features, *_ = self._features(loader, "baselines: images to judge")
        return {name: linear_probe(training[name], labels, features[name], patients) for name in training}

    def _features(
        self, loader: Iterable[Mapping[str, Any]], description: str
    ) -> tuple[dict[str, np.ndarray], np.ndarray, list[str] | None]:
        labels: list[Tensor] = []
        patients: list[str] = []

        def batches() -> Iterator[Mapping[str, Any]]:
            for batch in loader:
                labels.append(torch.as_tensor(batch[CommonKeys.LABEL]))
                patients.extend(map(str, batch.get("patient", ())))
                yield batch

        network = self.network.to(self.device)
        both = compute_features(network, self._extract, batches(), description=description).cpu().numpy()
        pixels, untrained = np.split(both, [-network.out_channels], axis=1)
        return {"pixels": pixels, "untrained": untrained}, torch.cat(labels).double().numpy(), patients or None

    def _extract(self, images: Tensor) -> Tensor:
        return torch.cat([thumbnails(images), self.network.pool(self.network(images))], dim=1)
