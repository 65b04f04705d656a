"""A head to begin with: what a probe of the backbone's features says of the training images, before any step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from medssl.evaluation.logistic import choose_strength
from medssl.networks import output_layer

from .frozen_features import feature_dataset


def fit_head(
    network: nn.Module,
    items: Sequence[Mapping[str, Any]],
    transform: Callable,
    batch_size: int = 64,
    workers: int = 0,
    exclusive: bool = False,
    balance: bool = True,
) -> None:
    """Give a classifier's output layer the weights of a logistic regression on its frozen features.

    A head of random weights sends gradients of no meaning through a pre-trained backbone in the first steps. No random
    number of the run is drawn.

    Args:
        network: the classifier, on its device; a wrapper for distributed training is taken off.
        items: to train on, with `image`, `label` `[K]` of 1, 0, NaN, and `patient` where that is known.
        transform: from an item to one with an image `[C, *spatial]`; nothing random.
        batch_size: images at once.
        workers: processes that load images.
        exclusive: whether each image has exactly one of the classes.
        balance: whether rare outcomes count for more, as in the loss.
    """
    inner: nn.Module = network.module if isinstance(network, DistributedDataParallel) else network
    with torch.random.fork_rng(devices=[]):  # loaders draw their seed from the global generator
        dataset = feature_dataset(Dataset(items, transform), inner, batch_size, workers, name="training for the head")
    patients = [str(item.get("patient", number)) for number, item in enumerate(items)]
    weights, biases, fitted = probe_weights(
        dataset.features.cpu().double().numpy(), dataset.labels.cpu().double().numpy(), patients, exclusive, balance
    )
    head = output_layer(inner)
    with torch.no_grad():
        rows = torch.from_numpy(fitted).to(head.weight.device)
        head.weight[rows] = torch.from_numpy(weights[fitted]).to(head.weight)
        head.bias[rows] = torch.from_numpy(biases[fitted]).to(head.bias)


def probe_weights(
    features: np.ndarray,
    labels: np.ndarray,
    patients: Sequence[str] | None = None,
    exclusive: bool = False,
    balance: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logistic regressions on standardised features, as weights for features as they are.

    Args:
        features: `[N, D]`.
        labels: `[N, K]` of 1, 0, NaN.
        patients: of each image, whose folds say how strongly to regularise.
        exclusive: whether the classes share one regression.
        balance: whether the outcomes weigh the same in sum.

    Returns:
        Weights `[K, D]`, biases `[K]`, and which classes they were fitted for, `[K]` (bool): those known both positive
        and negative.
    """
    count, width = labels.shape[1], features.shape[1]
    weights, biases, fitted = np.zeros((count, width)), np.zeros(count), np.zeros(count, dtype=bool)
    strength = choose_strength(features, labels, patients)

    def fit(rows: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaler = StandardScaler().fit(features[rows])
        regression = LogisticRegression(C=strength, class_weight="balanced" if balance else None, max_iter=1000)
        regression.fit(scaler.transform(features[rows]), target)
        own = regression.coef_ / scaler.scale_
        return own, regression.intercept_ - own @ scaler.mean_

    if exclusive:
        rows = (labels == 1).any(axis=1)
        target = np.nan_to_num(labels[rows]).argmax(axis=1)
        classes = np.unique(target)
        if len(classes) > 1:
            own, bias = fit(rows, target)
            if len(classes) == 2:  # scikit-learn gives one row, for the second class over the first
                own, bias = np.concatenate([-own, own]) / 2, np.concatenate([-bias, bias]) / 2
            weights[classes], biases[classes], fitted[classes] = own, bias, True
        return weights, biases, fitted
    for k, column in enumerate(labels.T):
        known = ~np.isnan(column)
        if len(np.unique(column[known])) == 2:
            own, bias = fit(known, column[known])
            weights[k], biases[k], fitted[k] = own[0], bias[0], True
    return weights, biases, fitted
