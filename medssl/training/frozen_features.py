"""A linear classifier on the frozen backbone (Dong et al. 2024, Sec. 6.2.1: LCP), on features computed once."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.data import DataLoader
from monai.data import Dataset as ImageDataset
from torch import Tensor, nn
from torch.utils.data import Dataset

from medssl.evaluation import choose_strength
from medssl.evaluation.probes import patients_of
from medssl.networks import classifier_features, compute_features

from .batches import split_evenly_enough


class FeatureDataset(Dataset):
    """The features of images in place of the images, a whole mini-batch at once.

    A loader of it needs ``collate_fn=whole_batch``. It has its ``features`` ``[N, D]``, ``labels`` ``[N, K]`` and
    ``patients`` (None where they are not known) for a `StandardisedHead`.

    Args:
        features: ``[N, D]``.
        items: of the datalist, in the same order; their ``image`` gives way to the features.
    """

    def __init__(self, features: Tensor, items: Sequence[Mapping[str, Any]]) -> None:
        self.features = features
        self.labels = torch.stack([torch.as_tensor(item["label"]) for item in items]).to(features.device)
        self.patients = patients_of(items)
        self.others = [{key: item[key] for key in item if key not in ("image", "label")} for item in items]

    def __len__(self) -> int:
        return len(self.features)

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """The mini-batch of these items, which torch's loader asks for in one go."""
        others = [self.others[index] for index in indices]
        return {
            "image": self.features[indices],
            "label": self.labels[indices],
            **{key: [item[key] for item in others] for key in others[0]},
        }


def whole_batch(batch: dict[str, Any]) -> dict[str, Any]:
    """The ``collate_fn`` for items that are a mini-batch already."""
    return batch


def feature_dataset(
    dataset: ImageDataset, network: nn.Module, batch_size: int, workers: int = 0, amp: bool = False, name: str = ""
) -> FeatureDataset:
    """Run every image of a data set through a classifier's frozen backbone, once.

    Args:
        dataset: of items with ``image`` and ``label``, whose transform draws nothing at random.
        network: the classifier, on its device.
        batch_size: images at once.
        workers: processes that load images.
        amp: whether to compute in mixed precision.
        name: of the data, for the progress bar.
    """
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers)

    def extract(images: Tensor) -> Tensor:
        return classifier_features(network, images)

    features = compute_features(network, extract, loader, amp, f"features of {name}".strip())
    return FeatureDataset(features, dataset.data)


class StandardisedHead(nn.Module):
    """A classifier's output layer, trained on standardised features, as regularised as folds over patients say.

    Features of a network differ a thousandfold in size, and a step of Adam moves every weight by the same, so that
    without it a probe says as much about the scale of the features as about what they hold.

    In training, the layer ``standard`` answers, whose parameters are the ones to optimise. In evaluation it is folded
    into the output layer, which then answers: what is validated is what is saved, an ordinary network that sees
    features as they are.

    Args:
        output: the output layer of the classifier, with random weights, which ``standard`` begins with.
        features: ``[N, D]`` of the training images, on the device of the layer.
        labels: ``[N, K]`` of 1, 0, NaN.
        patients: of each image; None where each is of another.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, output: nn.Linear, features: Tensor, labels: Tensor, patients: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        deviation, mean = torch.std_mean(features, dim=0, correction=0)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", torch.where(deviation > 1e-6 * mean.abs(), deviation, 1))  # of a constant: 1
        self.standard = copy.deepcopy(output).to(features.device)
        self._output = (output,)  # no part of this module, for it is one of the classifier
        known = labels.cpu().double().numpy()
        self.strength = choose_strength(features.cpu().numpy(), known, patients)
        self.decay = _decay(known, self.strength)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[B, K]`` of features ``[B, D]``."""
        if self.training:
            logits: Tensor = self.standard((features - self.mean) / self.scale)
            return logits
        self.fold()
        return cast(Tensor, self._output[0](features))

    @torch.no_grad()
    def fold(self) -> None:
        """Give the output layer the weights that answer the same to features as they are."""
        output, weight = self._output[0], self.standard.weight / self.scale
        output.weight.copy_(weight)
        output.bias.copy_(self.standard.bias - weight @ self.mean)

    def groups(self) -> list[dict[str, Any]]:
        """The parameters for an optimiser: the weights with what regularises them, and the bias without."""
        return [
            {"params": [self.standard.weight], "weight_decay": self.decay},
            {"params": [self.standard.bias], "weight_decay": 0.0},
        ]


def _decay(labels: np.ndarray, strength: float) -> float:
    """The weight decay (added to the gradient, as in Adam) that regularises the mean loss as a regression's ``C`` does.

    A regression minimises ``C`` × the sum of its balanced losses + ½ |w|². Those of `PartialBCELoss` weigh
    2 · n₊ · n₋ / n² as much, of which the mean over the classes is taken, and are averaged over all known labels.
    """
    positive, negative = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)
    known = positive + negative
    both = (positive > 0) & (negative > 0)
    weighs = (2 * positive[both] * negative[both] / known[both] ** 2).mean() if both.any() else 0.5
    return float(weighs / (strength * max(1, known.sum())))


def fit_linear_layer(
    features: Tensor,
    labels: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    seed: int = 0,
    epochs: int = 300,
    learning_rate: float = 0.001,
    batch_size: int = 64,
    patients: Sequence[str] | None = None,
) -> nn.Linear:
    """The linear layer that the mix-in ``configs/linear_probe.yaml`` trains, without a bundle around it.

    It is trained as a `StandardisedHead`, and sees features as they are.

    Args:
        features: ``[N, D]``, on the device to train on.
        labels: ``[N, K]``.
        loss: from logits and labels ``[B, K]`` to a scalar.
        seed: of the first weights and of the order of the images; nothing else is random.
        epochs: over all features; the layer of the last one is returned.
        learning_rate: of Adam.
        batch_size: images of a mini-batch, see `medssl.training.EveryImage`.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(features.shape[1], labels.shape[1]).to(features.device)
    head = StandardisedHead(layer, features, labels, patients)
    optimizer = torch.optim.Adam(head.groups(), lr=learning_rate, fused=True)
    for _ in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for rows in split_evenly_enough(order, batch_size):
            optimizer.zero_grad()
            loss(head(features[rows]), labels[rows]).backward()
            optimizer.step()
    head.fold()
    return layer
