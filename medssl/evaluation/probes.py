"""Probes while a backbone is pre-trained: how well do its features tell the labels of images it was not trained on?"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from medssl.networks import Backbone, compute_features

from .logistic import USUAL, deal_folds, linear_probe
from .partial_metrics import partial_auroc

logger = logging.getLogger(__name__)
Item = TypeVar("Item")

TEMPERATURE = 0.07
"""Of the weights of the neighbours, as in the paper."""
METRICS = {"linear": "probe/linear_mAUROC", "knn": "probe/knn_mAUROC"}


def knn_probe(train_features: Tensor, train_labels: Tensor, features: Tensor, neighbours: int = 20) -> np.ndarray:
    """The share of positive cases among the nearest images, weighted by exp(cosine / 0.07) (Wu et al. 2018, Sec. 3.4).

    Args:
        train_features: `[M, D]`.
        train_labels: `[M, K]` of 1, 0, NaN; the neighbours of a class are images for which it is known.
        features: `[N, D]`.
        neighbours: fewer where fewer are known.

    Returns:
        Scores `[N, K]`; 0.5 for a class of which no image or one outcome only is known.
    """
    known_features, labels, queries = (np.asarray(part.cpu()) for part in (train_features, train_labels, features))
    scores = np.full((len(queries), labels.shape[1]), 0.5)
    for k, column in enumerate(labels.T):
        known = ~np.isnan(column)
        if len(np.unique(column[known])) == 2:
            nearest = KNeighborsClassifier(min(neighbours, known.sum()), metric="cosine", weights=_weights)
            nearest.fit(known_features[known], column[known])
            scores[:, k] = nearest.predict_proba(queries)[:, 1]
    return scores


def _weights(distances: np.ndarray) -> np.ndarray:
    # Relative to the nearest, which changes no share and keeps the numbers far from underflow.
    return np.exp((distances.min(axis=1, keepdims=True) - distances) / TEMPERATURE)


class OnlineProbe:
    """Put the mAUROC of a linear and of a nearest-neighbour probe on the validation images into the trainer's metrics.

    They are named `probe/linear_mAUROC` and `probe/knn_mAUROC` and stand there in the epochs in which they were
    computed. The features are standardised, and `C` of the linear probe is chosen of 0.001 … 1 by folds over the
    training patients (see `medssl.evaluation.choose_strength`). The backbone is looked at in evaluation mode, and no
    random number of the run is drawn, so a run ends as it does without probes. Where no class has both outcomes in both
    splits there is nothing to probe; the log says so.

    Args:
        backbone: in training.
        training: items of the datalist with `image`, `label` and `patient`, to fit the probes on.
        validation: items to judge them on.
        labels: names of the K classes.
        transform: from an item to one with an image `[C, *spatial]`; nothing random.
        interval: epochs between two probes; the last epoch has one; 0 for none at all.
        batch_size: images at once.
        workers: processes that load images.
        amp: whether to compute the features in mixed precision.
        most: images of each split at most, evenly spread over it, so that a probe stays cheap beside an epoch.
    """

    def __init__(
        self,
        backbone: Backbone,
        training: Sequence[Mapping[str, Any]],
        validation: Sequence[Mapping[str, Any]],
        labels: Sequence[str],
        transform: Callable,
        interval: int = 10,
        batch_size: int = 64,
        workers: int = 0,
        amp: bool = False,
        most: int = 5000,
    ) -> None:
        self.backbone = backbone
        self.training, self.validation = (
            evenly([item for item in items if not np.isnan(item["label"]).all()], most)
            for items in (training, validation)
        )
        self.labels = list(labels)
        self.usable = self._usable()
        self.transform = transform
        self.interval = interval
        self.batch_size = batch_size
        self.workers = workers
        self.amp = amp

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, before the handlers that read the metrics."""
        if self.interval:
            engine.add_event_handler(Events.STARTED, self.announce)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def announce(self, engine: Engine) -> None:
        """Say what there is to probe."""
        names = [name for name, usable in zip(self.labels, self.usable, strict=True) if usable]
        if names:
            count = f"{len(self.training)} training and {len(self.validation)} validation images"
            logger.info("Probing %s every %d epochs on %s.", ", ".join(names), self.interval, count)
            if (deal_folds(labels_of(self.training), patients_of(self.training)) < 0).all():
                logger.info(
                    "No label is known positive in two patients of training and negative in two, so the linear probe's "
                    "C is not chosen by folds over patients but %g.",
                    USUAL,
                )
        else:
            logger.info("No probes: no label has known positive and negative cases in both training and validation.")

    def __call__(self, engine: Engine) -> None:
        """Probe, if the epoch has come; else take the older figures away, which are not of this epoch."""
        for name in METRICS.values():
            engine.state.metrics.pop(name, None)
        due = engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs
        if due and self.usable.any():
            engine.state.metrics.update(self.probe())

    def probe(self) -> dict[str, float]:
        """The mAUROC of both probes, over the classes with both outcomes in both splits."""
        train_labels, labels = labels_of(self.training), labels_of(self.validation)
        train_features, features = self._features(self.training), self._features(self.validation)
        scores = {
            "linear": linear_probe(train_features.numpy(), train_labels, features.numpy(), patients_of(self.training)),
            "knn": knn_probe(train_features, torch.as_tensor(train_labels), features),
        }
        return {
            METRICS[name]: float(partial_auroc(values[:, self.usable], labels[:, self.usable]).mean())
            for name, values in scores.items()
        }

    def _usable(self) -> np.ndarray:
        """Whether a class has both outcomes in both splits, `[K]`."""
        usable = np.ones(len(self.labels), dtype=bool)
        for items in (self.training, self.validation):
            labels = labels_of(items)
            usable &= (labels == 0).any(axis=0) & (labels == 1).any(axis=0)
        return usable

    def _features(self, items: Sequence[Mapping[str, Any]]) -> Tensor:
        # Loaders draw their seed from torch's global generator, the training's; it gets back what they drew.
        with torch.random.fork_rng(devices=[]):
            dataset = Dataset(items, self.transform)
            return pooled_features(self.backbone, dataset, self.batch_size, self.workers, self.amp).cpu()


def pooled_features(
    backbone: Backbone, dataset: Dataset, batch_size: int, workers: int = 0, amp: bool = False
) -> Tensor:
    """The pooled features `[N, D]` of the images of a dataset, on the backbone's device."""
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers)
    return compute_features(backbone, lambda images: backbone.pool(backbone(images)), loader, amp)


def labels_of(items: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The labels of items, `[N, K]`."""
    return np.array([item["label"] for item in items], dtype=np.float64)


def patients_of(items: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """The patients of items; None where it is not known of each."""
    return [str(item["patient"]) for item in items] if all("patient" in item for item in items) else None


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly spread over them."""
    return [items[place] for place in np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)]
