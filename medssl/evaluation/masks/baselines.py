"""Two trivial results to hold beside every segmentation: grey values alone, and an untrained network's features.

What a band of grey values reaches needs no network; what a linear layer on the features of random weights reaches, no
training of one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from monai.networks import eval_mode
from monai.utils import CommonKeys
from torch import Tensor, nn

from medssl.networks import Segmenter
from medssl.transforms import View

from .intensity_bands import threshold_baseline
from .metric import MaskMetric, rows_of_batch
from .rows import MaskRow
from .windows import WindowInferer

MASK_BASELINES = {"intensity": "a band of grey values", "untrained": "a linear layer on the untrained network"}
"""What `MaskBaselines` gives, in words."""
VOXELS = 2000
"""Voxels of each training image and class that the linear layer is fitted to, at most, half of them in the class."""

NEVER = 1e4
"""A threshold that no logit reaches, of a class of which the training images show nothing; infinite ones make NaN."""


class MaskBaselines:
    """The trivial results for the images of an evaluator.

    Attach it before what writes them, and call it when the evaluator has ended.

    Args:
        network: a segmenter with random weights.
        inferer: that runs it on whole images.
        training: gives whole training images ``[B, 1, *spatial]`` in the file's units and their targets ``[B, C,
            *spatial]`` of 1, 0 and NaN, once an iteration; it is iterated twice.
        metric: of the evaluator, whose measures and names hold for them, too.
        device: to run the network on.
        seed: of the voxels that are drawn.
    """

    def __init__(
        self,
        network: Segmenter,
        inferer: WindowInferer,
        training: Iterable[tuple[Tensor, Tensor]],
        metric: MaskMetric,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.network, self.inferer, self.training, self.metric = network.to(device), inferer, training, metric
        self.seed = seed
        self._rows: dict[str, list[MaskRow]] = {}

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.STARTED, self.fit)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)

    def fit(self, engine: Engine) -> None:
        """Fit both to the training images."""
        self._rows = {name: [] for name in MASK_BASELINES}
        view: View = self.inferer.view
        self._bands = threshold_baseline((view.grey_values(images), targets) for images, targets in self.training)
        self._layer = _LinearVoxels(self.network)
        with eval_mode(self._layer):
            self._layer.fit(self._seen(), self.seed)

    def collect(self, engine: Engine) -> None:
        """Judge what both say of a batch."""
        output = cast(dict[str, Any], engine.state.output)
        images, targets = output[CommonKeys.IMAGE], output[CommonKeys.LABEL]
        with eval_mode(self._layer):
            masks = {
                "intensity": self._bands(self.inferer.view.grey_values(images)),
                "untrained": self.inferer(images, self._layer) > 0,
            }
        for name, predicted in masks.items():
            batch = engine.state.batch
            self._rows[name] += rows_of_batch(self.metric.measures, batch, predicted, targets, self.metric.base)

    def __call__(self) -> Mapping[str, list[MaskRow]]:
        """The rows of both."""
        return self._rows

    def _seen(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features and targets of the training images."""
        for images, targets in self.training:
            yield self.inferer(images, self._layer.features), targets


class _LinearVoxels(nn.Module):
    """A logistic regression of each class on the finest features of an untrained network and the grey value."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None

    def features(self, boxes: Tensor) -> Tensor:
        """``[B, D, *spatial]``."""
        levels = self.network.decoder(boxes, self.network.pyramid(self.network.backbone, boxes))
        return torch.cat([levels[0], boxes], dim=1)

    def forward(self, boxes: Tensor) -> Tensor:
        """Logits ``[B, C, *spatial]``."""
        assert self.weight is not None
        assert self.bias is not None
        features = self.features(boxes)
        flat = torch.einsum("cd,bdn->bcn", self.weight, features.flatten(2)) + self.bias[:, None]
        return flat.unflatten(2, features.shape[2:])

    def fit(self, training: Iterable[tuple[Tensor, Tensor]], seed: int) -> None:
        """Fit to some voxels of each image, weighted so that they stand for all; the threshold is that of best Dice."""
        random, half = torch.Generator().manual_seed(seed), VOXELS // 2
        drawn: list[list[tuple[Tensor, Tensor, Tensor]]] = []
        for features, targets in training:
            drawn = drawn or [[] for _ in range(targets.shape[1])]
            for number, columns in enumerate(drawn):
                for image, target in zip(features.flatten(2), targets[:, number].flatten(1), strict=True):
                    for value in (0, 1):
                        places = (target == value).nonzero()[:, 0]
                        if len(places):
                            some = places[torch.randint(len(places), (half,), generator=random).to(places.device)]
                            share = torch.full((len(some),), len(places) / len(some), device=places.device)
                            columns.append((image[:, some].T, target[some], share))
        nothing = torch.zeros(features.shape[1], device=features.device), features.new_tensor(-NEVER)
        fitted = [
            _logistic(*(torch.cat(parts) for parts in zip(*columns, strict=True))) if columns else nothing
            for columns in drawn
        ]
        self.weight, self.bias = (torch.stack(part) for part in zip(*fitted, strict=True))


def _logistic(features: Tensor, labels: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Weights ``[D]`` and bias of a logistic regression; voxels of a value count alike in the fit."""
    mean, spread = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    inputs = (features - mean) / spread
    half = torch.where(labels == 1, shares / shares[labels == 1].sum(), shares / shares[labels == 0].sum())
    layer = torch.zeros(inputs.shape[1] + 1, device=inputs.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([layer], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = inputs @ layer[1:] + layer[0]
        value = F.binary_cross_entropy_with_logits(logits, labels, half, reduction="sum")
        value = value + 1e-3 * layer[1:].square().sum()
        value.backward()
        return value

    if (labels == 1).any() and (labels == 0).any():
        with torch.enable_grad():
            optimizer.step(loss)
    layer = layer.detach()
    logits = inputs @ layer[1:] + layer[0]
    order = logits.argsort(descending=True)
    there, found = (shares * labels)[order].cumsum(0), shares[order].cumsum(0)
    dice = 2 * there / (found + (shares * labels).sum())
    threshold = logits[order[dice.argmax()]] - 1e-6 if (labels == 1).any() else logits.new_tensor(NEVER)
    weight = layer[1:] / spread
    return weight, layer[0] - weight @ mean - threshold
